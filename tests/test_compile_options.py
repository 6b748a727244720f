"""``torch.compiler`` and the options of ``compile``: stances, what is left out, explanations, settings."""

import importlib
import math
import random
import warnings

import pytest

import jtorch as torch

from .compiling import captured, fresh  # noqa: F401 (fresh is a fixture)


def test_disable_is_compiling_and_graph_break():
    flags = []

    @torch.compiler.disable
    def outside(x):
        flags.append(torch.compiler.is_compiling())
        return x + 1

    @torch.compile
    def f(x):
        flags.append(torch._dynamo.is_compiling())
        return outside(x) * 2

    assert f(torch.ones(1)).item() == 4 and flags == [True, False]
    assert not torch.compiler.is_compiling()

    @torch.compile(fullgraph=True)
    def g(x):
        torch._dynamo.graph_break()
        return x

    with pytest.raises(torch._dynamo.exc.Unsupported, match="graph_break"):
        g(torch.ones(1))
    with pytest.raises(torch._dynamo.exc.Unsupported, match="outside"):
        torch.compile(lambda x: outside(x), fullgraph=True)(torch.ones(1))


def test_options_are_checked():
    f = math.sin
    assert torch.compile(f, disable=True) is f
    with pytest.raises(RuntimeError, match="mode"):
        torch.compile(f, mode="fast")
    with pytest.raises(RuntimeError, match="Either mode or options"):
        torch.compile(f, mode="default", options={})
    with pytest.raises(torch._dynamo.exc.InvalidBackend, match="nothing"):
        torch.compile(f, backend="nothing")
    eager = torch.compile(lambda x: x + 1, backend="eager")
    for _ in range(4):
        assert eager(torch.ones(1)).item() == 2
    assert not captured(eager)
    assert "inductor" in torch._dynamo.list_backends()


def test_stances_reset_and_constants():
    f = torch.compile(lambda x: x * 3)
    for _ in range(3):
        f(torch.ones(2))
    assert captured(f)
    with torch.compiler.set_stance("fail_on_recompile"):
        assert f(torch.ones(2)).tolist() == [3, 3]
        with pytest.raises(RuntimeError, match="fail_on_recompile"):
            f(torch.ones(5))
    torch.compiler.reset()
    f(torch.ones(2))
    assert not captured(f)
    with torch.compiler.set_stance("fail_on_recompile"):
        assert f(torch.ones(2)).tolist() == [3, 3]  # called like this before, so PyTorch has it compiled by now
        with pytest.raises(RuntimeError, match="fail_on_recompile"):
            f(torch.ones(5))


def test_a_stance_switches_what_is_compiling_says():
    f = torch.compile(lambda x: x + 1 if torch.compiler.is_compiling() else x - 1)
    found = [f(torch.zeros(1)).item() for _ in range(3)]
    with torch.compiler.set_stance("force_eager"):
        found.append(f(torch.zeros(1)).item())
    with torch.compiler.set_stance("eager_on_recompile"):
        found += [f(torch.zeros(1)).item(), f(torch.zeros(2))[0].item()]
    assert found + [f(torch.zeros(1)).item()] == [1, 1, 1, -1, 1, -1, 1]

    @torch.compiler.assume_constant_result
    def constant():
        return random.random()

    g = torch.compile(lambda x: x + constant())
    assert len({g(torch.zeros(1)).item() for _ in range(5)}) <= 3 and captured(g)


def test_nested_and_sparse_arguments_are_recorded():
    f = torch.compile(lambda x: x * 2)
    assert [f(torch.ones(2)).tolist() for _ in range(3)][-1] == [2, 2] and captured(f)
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    assert [f(nested).values().tolist() for _ in range(2)] == [[2] * 5] * 2
    assert f(torch.eye(2).to_sparse()).to_dense().tolist() == [[2, 0], [0, 2]]
    assert f(torch.ones(2)).tolist() == [2, 2]


def test_explain_counts_programs_and_reasons():
    def f(x):
        if x.sum() > 0:
            return x + 1
        return x - 1

    found = torch._dynamo.explain(f)(torch.ones(2))
    assert found.graph_count == 2 and found.graph_break_count == 1 and "bool()" in found.break_reasons[0]


def test_settings_of_other_compilers():
    config = torch._dynamo.config
    assert config.optimize_ddp is True
    with config.patch(suppress_errors=True):
        assert config.suppress_errors
    assert config.suppress_errors is False
    with pytest.warns(UserWarning, match="no setting 'recompile_limt'"):
        config.recompile_limt = 3
    del config.recompile_limt
    with pytest.raises(AttributeError, match="no setting 'nonsense'"):
        _ = config.nonsense
    inductor = torch._inductor.config
    with pytest.raises(AttributeError, match="max_autotune"):
        _ = inductor.max_autotune
    with inductor.patch({"max_autotune": True, "triton.cudagraphs": False}):
        assert inductor.max_autotune and inductor.triton.cudagraphs is False
    assert not hasattr(inductor, "max_autotune") and not hasattr(inductor.triton, "cudagraphs")


def test_errors_where_a_case_is_new():
    f = torch.compile(lambda x: x * 2)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(3):
            f(torch.ones(2))
        with pytest.raises(torch._dynamo.exc.RecompileError, match="another case"):
            f(torch.ones(3))
        assert torch._dynamo.run(f)(torch.ones(3)).tolist() == [2, 2, 2]
    g = torch.compile(lambda x: x * 2, recompile_limit=1)
    g(torch.ones(2)), g(torch.ones(2))
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit, match="recompile_limit"):
            g(torch.ones(3))
    assert g(torch.ones(3)).tolist() == [2, 2, 2]


def test_errors_where_a_value_is_needed_in_a_region():
    def f(x):
        found = x.sum().item() + 1
        with torch._dynamo.error_on_graph_break(True):
            found = found + sum(x.tolist()) + 1
        return x + found

    with pytest.raises(torch._dynamo.exc.Unsupported, match="tolist"):
        torch.compile(f)(torch.ones(2))
    assert f(torch.ones(2)).tolist() == [7, 7]
    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        torch.compile(torch._dynamo.error_on_graph_break(True)(lambda x: x + sum(x.tolist()) + 1))(torch.ones(2))


def test_settings_are_a_module():
    import jtorch._dynamo.config

    assert importlib.import_module("jtorch._dynamo.config") is jtorch.compiler.config is torch._dynamo.config


def test_settings_have_pytorchs_defaults():
    theirs = pytest.importorskip("torch._dynamo.config")
    from jtorch.compiler.config import _WITHOUT_EFFECT

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of settings that PyTorch is about to drop
        assert {k: v for k, v in _WITHOUT_EFFECT.items() if getattr(theirs, k, v) != v} == {}
