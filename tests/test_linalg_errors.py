"""Factorizations of matrices that have none."""

from __future__ import annotations

import pytest

import jtorch

BAD = [[-1.0, -2.0], [-2.0, -4.0]]


@pytest.mark.parametrize("name", ["linalg.cholesky", "cholesky", "linalg.inv", "inverse", "linalg.solve"])
def test_failure_is_raised_at_the_line_and_a_repair_can_follow(name):
    f = jtorch
    for part in name.split("."):
        f = getattr(f, part)
    arguments = (jtorch.ones(2),) if name == "linalg.solve" else ()
    bad = jtorch.tensor(BAD, requires_grad=True)
    with pytest.raises(jtorch.linalg.LinAlgError, match="singular|positive-definite"):
        f(bad, *arguments)
    repaired = bad + 10 * jtorch.eye(2)
    f(repaired, *arguments).sum().backward()
    assert bad.grad.isfinite().all()
    assert f(jtorch.eye(2, device="meta"), *[a.to("meta") for a in arguments]).is_meta


def test_one_bad_matrix_of_a_batch():
    batch = jtorch.stack([jtorch.eye(2), jtorch.tensor(BAD)])
    with pytest.raises(jtorch.linalg.LinAlgError):
        jtorch.linalg.cholesky(batch)
    factor, info = jtorch.linalg.cholesky_ex(batch)
    assert info.tolist() == [0, 1] and factor[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
