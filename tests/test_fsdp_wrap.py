"""Which submodules FSDP's policies name: the same as PyTorch's."""

from __future__ import annotations

import functools
import importlib

import pytest

import jtorch


def library(name: str):
    root = jtorch if name == "jtorch" else pytest.importorskip("torch", reason="PyTorch, to compare with")
    return root, importlib.import_module(f"{name}.distributed.fsdp.wrap")


def model(nn):
    block = [nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8)) for _ in range(2)]
    return nn.Sequential(
        nn.Embedding(10, 8), nn.ModuleList(block), nn.MultiheadAttention(8, 2), nn.ModuleDict({"a": nn.Linear(8, 64)}),
        nn.Linear(8, 3),
    )  # fmt: skip


def wrapped(name: str, make_policy) -> list[str]:
    """The names of the modules that a policy names."""
    torch, wrap = library(name)
    nn = torch.nn

    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

    m = model(nn)
    policy = make_policy(wrap, nn)
    if hasattr(policy, "_run_policy"):
        names = {inner: n for n, inner in m.named_modules()}
        return sorted(names[inner] for inner in policy._run_policy(m, {m[4]}, {}))
    wrap._recursive_wrap(m, policy, Wrapper, {m[4]}, set(m[4].parameters()), only_wrap_children=True)
    return [n for n, inner in m.named_modules() if isinstance(inner, Wrapper)]


POLICIES = {
    "always": lambda wrap, nn: wrap.always_wrap_policy,
    "transformer": lambda wrap, nn: functools.partial(
        wrap.transformer_auto_wrap_policy, transformer_layer_cls={nn.Sequential}
    ),
    "lambda": lambda wrap, nn: functools.partial(
        wrap.lambda_auto_wrap_policy, lambda_fn=lambda m: getattr(m, "in_features", 0) == 8
    ),
    "size": lambda wrap, nn: functools.partial(wrap.size_based_auto_wrap_policy, min_num_params=280),
    "size, others excluded": lambda wrap, nn: functools.partial(
        wrap.size_based_auto_wrap_policy, min_num_params=100, force_leaf_modules={nn.ModuleList},
        exclude_wrap_modules={nn.Embedding},
    ),
    "either": lambda wrap, nn: functools.partial(
        wrap._or_policy, policies=[POLICIES["transformer"](wrap, nn), POLICIES["lambda"](wrap, nn)]
    ),
    "classes": lambda wrap, nn: wrap.ModuleWrapPolicy({nn.Linear, nn.Embedding}),
    "custom": lambda wrap, nn: wrap.CustomPolicy(
        lambda m: {"device_id": 0} if isinstance(m, nn.Linear) else isinstance(m, nn.Embedding)
    ),
}  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES)
def test_policies(policy):
    ours = wrapped("jtorch", POLICIES[policy])
    assert ours and ours == wrapped("torch", POLICIES[policy])


def test_wrapping_by_hand():
    _, wrap = library("jtorch")
    linear = jtorch.nn.Linear(1, 1)
    assert wrap.wrap(linear) is linear
    with wrap.enable_wrap(wrapper_cls=lambda m, **kwargs: (m, kwargs), a=1, b=2):
        assert wrap.wrap(linear, b=3) == (linear, {"a": 1, "b": 3})
        with pytest.raises(NotImplementedError), wrap.enable_wrap(wrapper_cls=dict):
            pass
    assert wrap.wrap(linear) is linear
    with pytest.raises(ValueError, match="returned 3"):
        wrap.CustomPolicy(lambda m: 3)._run_policy(linear, set(), {})
    checkpoint = importlib.import_module("jtorch.distributed.algorithms._checkpoint.checkpoint_wrapper")
    m = model(jtorch.nn)
    policy = wrap.ModuleWrapPolicy({jtorch.nn.Sequential})
    checkpoint.apply_activation_checkpointing(m, auto_wrap_policy=policy)
    found = [n for n, inner in m.named_modules() if isinstance(inner, checkpoint.CheckpointWrapper)]
    assert found == ["1.0", "1.1"]
