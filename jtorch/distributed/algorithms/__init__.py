"""Ways of training that go beyond one collective."""
