"""``torch.utils.deterministic``: what deterministic mode does besides choosing operations."""

#: Accepted: ``torch.empty`` is filled with zeros here at any time, so nothing is ever uninitialised.
fill_uninitialized_memory: bool = True
