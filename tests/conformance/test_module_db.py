"""jtorch.nn against the samples of PyTorch's ``module_db``; every tenth by default, all with ``--run-slow``."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed; it is the reference here")

from . import modules  # noqa: E402


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", modules.ENTRIES)
def test_module_equals_pytorch(name, training, whole):
    if reason := modules.missing(name):
        pytest.skip(reason)
    result = modules.report(name, training, every=1 if whole else 10)
    assert not result.failed, "\n".join(result.failed)
    if result.missing and not result.passed:
        pytest.skip("; ".join(result.missing))
