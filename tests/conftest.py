"""Options and fixtures that every test file shares."""

from __future__ import annotations

import os
import warnings

import pytest

# what is tested is how programs come about, not what another process kept of them
os.environ.setdefault("JTORCH_KEEP_PROGRAMS", "0")


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", default=False, help="also run the tests marked slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-slow"):
        return
    skip = pytest.mark.skip(reason="slow; run with --run-slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def compiled_at_once(monkeypatch):
    """Small programs are compiled when they are met, for tests that count programs or look at them."""
    from jtorch import config

    monkeypatch.setattr(config, "interpret", False)


@pytest.fixture
def torch():
    """PyTorch, without its warnings about what it will drop."""
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield torch
