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


def test_the_error_is_called_as_pytorchs(torch):
    assert jtorch.linalg.LinAlgError.__name__ == torch.linalg.LinAlgError.__name__


def test_factors_that_would_be_rounded(torch):
    for t in (jtorch, torch):
        ones = t.ones(2, dtype=t.int32)
        for name in ("alpha", "beta"):
            for factor, message in ((2.0, "must not be a floating point number"), (True, "only supported for Boolean")):
                with pytest.raises(RuntimeError, match=message):
                    t.addr(ones, ones, ones, **{name: factor})
        with pytest.raises(ValueError, match="at least one operand"):
            t.einsum("", [])
        with pytest.raises(RuntimeError, match="Expected one or more matrices"):
            t.chain_matmul()
        with t.backends.opt_einsum.flags(enabled=False):
            assert not t.backends.opt_einsum.enabled
        assert t.backends.opt_einsum.enabled


def test_one_bad_matrix_of_a_batch():
    batch = jtorch.stack([jtorch.eye(2), jtorch.tensor(BAD)])
    with pytest.raises(jtorch.linalg.LinAlgError):
        jtorch.linalg.cholesky(batch)
    factor, info = jtorch.linalg.cholesky_ex(batch)
    assert info.tolist() == [0, 1] and factor[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_info_says_which_matrices_have_no_cholesky_factor(torch):
    """Rounding decides whether they have one, for the factor and for ``info`` alike."""
    x = jtorch.linspace(0, 1, 40)
    gram = jtorch.exp(-(((x[:, None] - x) / 0.5) ** 2))
    nearly_singular = gram + jtorch.logspace(-8, -4, 80)[:, None, None] * jtorch.eye(40)
    factor, info = jtorch.linalg.cholesky_ex(nearly_singular)
    bad = factor.isnan().any(-1).any(-1)
    assert bad.any() and not bad.all() and jtorch.equal(info > 0, bad)

    diagonals = [[1.0, 1, 1, 1, 1], [1, 1, 0, 1, -1], [-1, 1, 1, 1, 1], [1, 1, 1, 1, -1], [1, 1, float("nan"), 1, 1]]
    info = jtorch.linalg.cholesky_ex(jtorch.tensor(diagonals).diag_embed()).info
    assert info.tolist() == torch.linalg.cholesky_ex(torch.tensor(diagonals).diag_embed()).info.tolist()


def test_lu_of_a_singular_matrix(torch):
    """``linalg.lu_factor`` refuses it, the others give what there is."""
    for a in (BAD, [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]):
        ours, theirs = jtorch.tensor(a), torch.tensor(a)
        with pytest.raises(RuntimeError) as wanted:
            torch.linalg.lu_factor(theirs)
        with pytest.raises(RuntimeError) as found:
            jtorch.linalg.lu_factor(ours)
        assert str(found.value) == str(wanted.value)
        assert jtorch.lu(ours)[0].tolist() == torch.lu(theirs)[0].tolist()
        assert jtorch.linalg.lu_factor_ex(ours).info.tolist() == torch.linalg.lu_factor_ex(theirs).info.tolist()
    factors = jtorch.linalg.lu_factor(jtorch.eye(2))
    assert type(factors).__name__ == "linalg_lu_factor" and factors.pivots.tolist() == [1, 2]


def test_tolerances():
    """Singular values count as 0 by number, by matrix, and in the older spellings."""
    x = jtorch.diag(jtorch.tensor([4.0, 1.0, 0.1], dtype=jtorch.float64))
    rank = jtorch.linalg.matrix_rank
    assert [int(rank(x, atol=a)) for a in (0.05, 0.5, 2.0)] == [3, 2, 1]
    assert int(rank(x, 0.5)) == int(rank(x, tol=0.5, hermitian=True)) == 2
    assert rank(jtorch.stack([x, x]), atol=jtorch.tensor([0.05, 0.5])).tolist() == [3, 2]
    assert int(rank(x, atol=0.05, rtol=0.3)) == 1
    for inverse in (jtorch.linalg.pinv(x, atol=0.5), jtorch.linalg.pinv(x, 0.1), jtorch.linalg.pinv(x, rtol=0.1)):
        assert inverse.diagonal().tolist() == [0.25, 1.0, 0.0]


def test_results_written_into_out_are_named_so():
    x = jtorch.ones(2, 2)
    out = jtorch.empty(2), jtorch.empty(2, dtype=jtorch.int64)
    assert type(jtorch.max(x, 0, out=out)).__name__ == "max_out"
    assert type(jtorch.linalg.slogdet(x)).__name__ == "linalg_slogdet"
    assert [type(f(x)).__name__ for f in (jtorch.slogdet, jtorch.qr)] == ["slogdet", "qr"]
