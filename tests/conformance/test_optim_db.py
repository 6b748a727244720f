"""jtorch.optim against every row of PyTorch's ``optim_db``; every fifth by default, all with ``--run-slow``."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed; it is the reference here")

from . import optimizers  # noqa: E402


@pytest.mark.parametrize("name", optimizers.ENTRIES)
def test_training_equals_pytorch(name, whole):
    if reason := optimizers.missing(name):
        pytest.skip(reason)
    result = optimizers.report(name, every=1 if whole else 5)
    assert not result.failed and not result.missing, "\n".join(result.failed + result.missing)


@pytest.mark.parametrize("name", optimizers.ENTRIES)
def test_errors_are_pytorchs(name):
    if reason := optimizers.missing(name):
        pytest.skip(reason)
    for row in optimizers.error_rows(name):
        optimizers.check_error(name, row)


@pytest.mark.parametrize("name", [n for n, i in optimizers.ENTRIES.items() if "differentiable" in i.supported_impls])
def test_gradient_through_a_step_equals_pytorch(name, whole):
    """``differentiable=True``: of each row, the gradient that a step passes on."""
    if reason := optimizers.missing(name):
        pytest.skip(reason)
    for row in optimizers.rows(name)[:: 1 if whole else 5]:
        if not (row.kwargs.get("fused") or row.kwargs.get("foreach")):
            optimizers.check_differentiable(name, row.kwargs)
