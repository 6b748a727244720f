"""Spellings that are chosen by size, against the plain ones: what they compute does not depend on the choice."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jtorch
from jtorch.ops import attention, conv_lowering, winograd
from jtorch.ops.conv_lowering import Geometry
from jtorch.ops.registry import OPS
from jtorch.trace.aval import aval
from jtorch.trace.call import intern
from jtorch.trace.jaxapi import traced
from jtorch.trace.linearize import linearize


def _arrays(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(s), np.float32) for s in shapes]


def _close(a, b):
    scale = np.abs(np.asarray(b)).max()
    np.testing.assert_allclose(np.asarray(a) / scale, np.asarray(b) / scale, atol=3e-6, rtol=0)


@pytest.mark.parametrize("size, padding", [((8, 6), ((1, 1), (1, 1))), ((7, 9), ((0, 0), (2, 1)))])
def test_winograd_is_convolution(size, padding):
    geometry = Geometry((1, 1), padding, (1, 1))
    x, w, g = _arrays((2, *size, 5), (4, 5, 3, 3), (2, *geometry.windows(size, (3, 3)), 4))
    y, pullback = jax.vjp(lambda x, w: conv_lowering._xla(x, w.transpose(2, 3, 1, 0), geometry), x, w)
    dx, dw = pullback(g)
    _close(winograd.convolve(x, w, padding), y)
    _close(winograd.input_gradient(g, w, padding), dx)
    _close(winograd.weight_gradient(x, g, padding), dw)


def test_winograd_is_chosen_for_many_channels():
    plain = Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))
    x = jax.ShapeDtypeStruct((16, 16, 16, 128), np.float32)
    chosen = conv_lowering._by_winograd
    assert chosen(x, (128, 128, 3, 3), plain)
    assert not chosen(x, (128, 128, 3, 3), plain._replace(stride=(2, 2)))
    assert not chosen(x, (128, 128, 5, 5), plain)
    assert not chosen(x, (32, 128, 3, 3), plain)
    assert not chosen(jax.ShapeDtypeStruct(x.shape, np.float64), (128, 128, 3, 3), plain)
    assert not chosen(jax.ShapeDtypeStruct((64, 224, 224, 64), np.float32), (64, 64, 3, 3), plain)  # memory


@pytest.mark.parametrize("causal, mask", [(True, None), (False, (1, 200, 150)), (False, (4, 1, 150))])
def test_attention_in_blocks(monkeypatch, causal, mask):
    keys = 300 if causal else 150
    length = 300 if causal else 200
    q, k, v, g = _arrays((4, length, 8), (4, keys, 8), (4, keys, 6), (4, length, 6))
    bias = None if mask is None else _arrays(mask)[0]

    def all_of(q, k, v, bias):
        out, pullback = jax.vjp(lambda *a: attention.attend(*a, None, None, causal, 0.3), q, k, v, bias)
        return out, [d for d in pullback(g) if d is not None]

    whole = all_of(q, k, v, bias)
    for limit in ("WHOLE", "WHOLE_IF_CAUSAL"):
        monkeypatch.setattr(attention, limit, 30_000)
    assert attention._plan(q, k, causal) is not None
    jax.tree.map(_close, all_of(q, k, v, bias), whole)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_products_on_accelerators_are_exact_unless_asked_otherwise(platform):
    """Also those that a derivative saves something new for: its forward pass is a call of its own."""
    shapes = [(2, 3), (2, 4), (5, 3, 4)]
    call = intern(OPS["bilinear"], (), (*[aval(s, jtorch.float32) for s in shapes], None), platform)
    derivative = linearize(call, (True,) * 3)
    assert derivative.has_new
    for c in (call, derivative.forward, derivative.backward((True,))):
        products = re.findall(
            r"dot_general\[.*?precision=(\S+)", str(traced(c.jitted, [a.sds for a in c.in_avals])), re.S
        )
        assert products and all("HIGHEST" in p for p in products)
