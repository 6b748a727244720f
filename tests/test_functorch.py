"""The older package ``functorch``: modules as functions of tuples, ensembles, and its import by unmodified programs."""

import subprocess
import sys

import pytest

import jtorch as torch
from jtorch import functorch, nn


@pytest.mark.filterwarnings("ignore:functorch is part of PyTorch:FutureWarning")
def test_make_functional():
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    x = torch.randn(4, 2)
    call, params = functorch.make_functional(module)
    torch.testing.assert_close(call(params, x), module(x))
    grads = functorch.grad(lambda p: call(p, x).sum())(params)
    module(x).sum().backward()
    for found, p in zip(grads, module.parameters(), strict=True):
        torch.testing.assert_close(found, p.grad)
    assert params[0] is not module[0].weight and params[0].requires_grad
    assert not functorch.make_functional(module, disable_autograd_tracking=True)[1][0].requires_grad
    with pytest.raises(RuntimeError, match="make_functional_with_buffers"):
        functorch.make_functional(nn.BatchNorm1d(2))


@pytest.mark.filterwarnings("ignore:functorch is part of PyTorch:FutureWarning")
def test_ensemble():
    models = [nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval() for _ in range(3)]
    x = torch.randn(4, 2)
    call, params, buffers = functorch.combine_state_for_ensemble(models)
    found = functorch.vmap(call, in_dims=(0, 0, None))(params, buffers, x)
    torch.testing.assert_close(found, torch.stack([m(x) for m in models]))
    one, params, buffers = functorch.make_functional_with_buffers(models[1])
    torch.testing.assert_close(one(params, buffers, x), models[1](x))


@pytest.mark.parametrize("chunks", [1, 3, 9])
def test_in_chunks(chunks):
    from jtorch.functorch.experimental import chunk_vmap

    x, y, lengths = torch.arange(14.0).view(2, 7), torch.arange(7.0), []

    def f(a, b):
        lengths.append(1)
        return a * b, a.sum()

    doubled, sums = chunk_vmap(f, in_dims=(1, 0), out_dims=(1, 0), chunks=chunks)(x, y)
    assert len(lengths) >= min(chunks, 4)
    torch.testing.assert_close(doubled, x * y)
    torch.testing.assert_close(sums, x.sum(0))


def test_unmodified_programs_import_it(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        "import torch, functorch\nfrom functorch import vmap\n"
        "from functorch.experimental import replace_all_batch_norm_modules_, control_flow\n"
        "print(vmap(torch.sin)(torch.zeros(2)))\n"
    )
    done = subprocess.run([sys.executable, "-m", "jtorch", script], capture_output=True, text=True, timeout=100)
    assert done.stdout == "tensor([0., 0.])\n", done.stderr
    assert "FutureWarning" in done.stderr


def test_make_fx_is_among_its_names():
    from jtorch.fx.experimental import proxy_tensor

    assert functorch.make_fx is proxy_tensor.make_fx


def test_its_names_are_deprecated():
    with pytest.warns(FutureWarning, match=r"use `torch.func.grad`"):
        assert functorch.grad(torch.sin)(torch.zeros(())).item() == 1
