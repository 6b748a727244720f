"""The same networks by hand in JAX, in the idioms JAX users write, with optax's Adam, jitted whole and donated."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax


def _cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _dense(rng, i, o):
    bound = 1 / np.sqrt(i)
    return {
        "w": rng.uniform(-bound, bound, (i, o)).astype(np.float32),
        "b": rng.uniform(-bound, bound, o).astype(np.float32),
    }


def _conv(rng, i, o, k):
    return (rng.standard_normal((k, k, i, o)) * np.sqrt(2 / (i * k * k))).astype(np.float32)


def _linear(p, x):
    return x @ p["w"] + p["b"]


def _conv2d(x, w, stride=1, padding="SAME"):
    return lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def mlp(rng):
    params = [_dense(rng, 256, 256) for _ in range(3)] + [_dense(rng, 256, 10)]

    def loss(params, x, y):
        for p in params[:-1]:
            x = jax.nn.relu(_linear(p, x))
        return _cross_entropy(_linear(params[-1], x), y)

    return params, loss, lambda a: a


def cnn(rng):
    params = {
        "c1": _conv(rng, 1, 32, 3), "b1": np.zeros(32, np.float32), "c2": _conv(rng, 32, 64, 3),
        "b2": np.zeros(64, np.float32), "l1": _dense(rng, 64 * 144, 128), "l2": _dense(rng, 128, 10),
    }  # fmt: skip

    def loss(p, x, y):
        x = jax.nn.relu(_conv2d(x, p["c1"], padding="VALID") + p["b1"])
        x = jax.nn.relu(_conv2d(x, p["c2"], padding="VALID") + p["b2"])
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = jax.nn.relu(_linear(p["l1"], x.reshape(x.shape[0], -1)))
        return _cross_entropy(_linear(p["l2"], x), y)

    return params, loss, lambda a: a.transpose(0, 2, 3, 1) if a.ndim == 4 else a


def gpt(rng, layers=4, heads=4, width=128, length=64, vocabulary=128):
    def norm():
        return {"g": np.ones(width, np.float32), "b": np.zeros(width, np.float32)}

    params = {
        "tok": rng.standard_normal((vocabulary, width)).astype(np.float32),
        "pos": rng.standard_normal((length, width)).astype(np.float32),
        "blocks": [
            {"n1": norm(), "n2": norm(), "qkv": _dense(rng, width, 3 * width), "out": _dense(rng, width, width),
             "up": _dense(rng, width, 4 * width), "down": _dense(rng, 4 * width, width)}
            for _ in range(layers)
        ],
        "n": norm(), "head": _dense(rng, width, vocabulary)["w"],
    }  # fmt: skip

    def ln(p, x):
        m = x.mean(-1, keepdims=True)
        v = ((x - m) ** 2).mean(-1, keepdims=True)
        return (x - m) * lax.rsqrt(v + 1e-5) * p["g"] + p["b"]

    def loss(p, ids, y):
        b, t = ids.shape
        x = p["tok"][ids] + p["pos"][:t]
        for blk in p["blocks"]:
            q, k, v = jnp.split(_linear(blk["qkv"], ln(blk["n1"], x)), 3, -1)
            q, k, v = (a.reshape(b, t, heads, -1) for a in (q, k, v))
            a = jax.nn.dot_product_attention(q, k, v, is_causal=True)
            x = x + _linear(blk["out"], a.reshape(b, t, width))
            x = x + _linear(blk["down"], jax.nn.gelu(_linear(blk["up"], ln(blk["n2"], x)), approximate=False))
        return _cross_entropy(ln(p["n"], x) @ p["head"], y)

    return params, loss, lambda a: a


def lstm(rng, width=256, layers=2, vocabulary=1000):
    def cell():
        bound = 1 / np.sqrt(width)
        u = lambda *s: rng.uniform(-bound, bound, s).astype(np.float32)  # noqa: E731
        return {"wi": u(width, 4 * width), "wh": u(width, 4 * width), "b": u(4 * width)}

    params = {
        "embed": rng.standard_normal((vocabulary, width)).astype(np.float32), "cells": [cell() for _ in range(layers)],
        "head": _dense(rng, width, vocabulary),
    }  # fmt: skip

    def loss(p, ids, y):
        x = p["embed"][ids]
        for c in p["cells"]:
            projected = x @ c["wi"] + c["b"]

            def step(carry, xi, c=c):
                h, s = carry
                i, f, g, o = jnp.split(xi + h @ c["wh"], 4, -1)
                s = jax.nn.sigmoid(f) * s + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(s)
                return (h, s), h

            zero = jnp.zeros((ids.shape[1], width))
            _, x = lax.scan(step, (zero, zero), projected)
        return _cross_entropy(_linear(p["head"], x), y)

    return params, loss, lambda a: a


def resnet18(rng):
    def bn(c):
        return {"g": np.ones(c, np.float32), "b": np.zeros(c, np.float32)}

    def block(i, o, stride):
        p = {"c1": _conv(rng, i, o, 3), "n1": bn(o), "c2": _conv(rng, o, o, 3), "n2": bn(o)}
        if stride != 1 or i != o:
            p |= {"c3": _conv(rng, i, o, 1), "n3": bn(o)}
        return p

    plan, blocks, inner = [], [], 64
    for outer, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for s in (stride, 1):
            blocks.append(block(inner, outer, s))
            plan.append(s)
            inner = outer
    params = {"stem": _conv(rng, 3, 64, 3), "n": bn(64), "blocks": blocks, "head": _dense(rng, 512, 10)}

    def norm(p, x):
        m, v = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return (x - m) * (lax.rsqrt(v + 1e-5) * p["g"]) + p["b"]

    def loss(p, x, y):
        x = jax.nn.relu(norm(p["n"], _conv2d(x, p["stem"])))
        for b, s in zip(p["blocks"], plan, strict=True):
            h = jax.nn.relu(norm(b["n1"], _conv2d(x, b["c1"], s)))
            h = norm(b["n2"], _conv2d(h, b["c2"]))
            short = norm(b["n3"], _conv2d(x, b["c3"], s)) if "c3" in b else x
            x = jax.nn.relu(h + short)
        return _cross_entropy(_linear(p["head"], x.mean((1, 2))), y)

    return params, loss, lambda a: a.transpose(0, 2, 3, 1) if a.ndim == 4 else a


def build(name: str, batch):
    """A zero-argument function that runs one training step and returns the loss (not waited for)."""
    params, loss, adapt = globals()[name](np.random.default_rng(0))
    batch = [jnp.asarray(adapt(np.asarray(a))) for a in batch]
    batch = [b.astype(np.int32) if b.dtype == np.int64 else b for b in batch]
    params = jax.tree.map(jnp.asarray, params)
    optimizer = optax.adam(1e-3)
    state = optimizer.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, *batch):
        value, grads = jax.value_and_grad(loss)(params, *batch)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    def run():
        nonlocal params, state
        params, state, value = step(params, state, *batch)
        return value

    return run
