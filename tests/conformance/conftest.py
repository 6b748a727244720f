"""Without PyTorch there is nothing to compare with: each test file is then one visible skip."""

import pytest


@pytest.fixture
def whole(request) -> bool:
    """Whether to run whole tables (``--run-slow``), not only a slice."""
    return request.config.getoption("--run-slow")
