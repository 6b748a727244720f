"""jtorch functions and modules as JAX functions, and the other way round."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jtorch
from jtorch import nn
from jtorch.interop.jax import JaxModule, as_jax_function, as_jax_module, jax_function


def _model():
    jtorch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


def test_a_module_under_jit_grad_vmap_and_export():
    model, x = _model(), jtorch.randn(4, 1, 8, 8)
    wanted = model(x).detach().numpy()
    apply, params = as_jax_module(model)
    given = x.numpy()
    for found in (
        apply(params, given),
        jax.jit(apply)(params, given),
        jax.vmap(lambda v: apply(params, v[None])[0])(given),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    found = jax.grad(lambda p: (apply(p, given) ** 2).sum(), allow_int=True)(params)
    (model(x) ** 2).sum().backward()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(found[name], p.grad.numpy(), rtol=1e-4, atol=1e-4)
    shape = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 1, 8, 8"), np.float32)
    exported = jax.export.export(jax.jit(apply))(params, shape)
    np.testing.assert_allclose(exported.call(params, given[:3]), wanted[:3], rtol=1e-5, atol=1e-6)


def test_sizes_that_enter_as_numbers():
    def f(x):
        b, t = x.shape
        return (x.view(b * t, 1) * t + jtorch.arange(b * t)[:, None]).sum(1), jtorch.zeros(2 * b + 1)

    shape = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, t"), np.float32)
    exported = jax.export.export(jax.jit(as_jax_function(f)))(shape)
    x = np.random.RandomState(0).randn(5, 6).astype("f")
    for found, wanted in zip(exported.call(x), f(jtorch.from_numpy(x)), strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-6)
    for refused in (lambda x: x / float(x.shape[0]), lambda x: x if x.shape[0] < 6 else -x):
        with pytest.raises(RuntimeError):
            jax.export.export(jax.jit(as_jax_function(refused)))(shape)


def test_buffers_and_random_numbers():
    model, x = _model().train(), np.ones((4, 1, 8, 8), np.float32)
    apply, params = as_jax_module(model)
    with pytest.raises(RuntimeError, match="eval"):
        apply(params, x)
    before = model[1].running_mean.tolist()
    _, written = as_jax_module(model, mutable=True)[0](params, x)
    assert model[1].running_mean.tolist() == before
    model(jtorch.from_numpy(x))
    np.testing.assert_allclose(written["1.running_mean"], model[1].running_mean.numpy(), rtol=1e-5)
    with pytest.raises(RuntimeError, match="random"):
        as_jax_function(lambda v: v * jtorch.rand(3))(np.ones(3, np.float32))
    with pytest.raises(KeyError, match="missing"):
        apply({}, x)


def test_a_jax_function_with_nested_arguments_and_as_a_module():
    f = jax_function(lambda d, k: {"a": d["x"] * k, "b": (jnp.sin(d["x"]),)})
    x = jtorch.ones(3, requires_grad=True)
    found = f({"x": x}, 2.0)
    (found["a"].sum() + found["b"][0].sum()).backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 + np.cos(np.ones(3)), rtol=1e-6)

    params = {"w": np.full((3, 2), 0.2, np.float32), "b": {"c": np.zeros(2, np.float32)}}
    module = JaxModule(lambda p, v: jnp.tanh(v @ p["w"] + p["b"]["c"]), params)
    assert sorted(n for n, _ in module.named_parameters()) == ["b_c", "w"]
    optimizer = jtorch.optim.SGD(module.parameters(), lr=0.1)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = (module(jtorch.ones(3)) ** 2).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
