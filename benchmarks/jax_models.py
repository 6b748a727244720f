"""The same networks by hand in JAX, in the idioms JAX users write, with optax's Adam, jitted whole and donated.

Each function returns ``(parameters, forward)``; images are channels-last. Running statistics are left out: in training
the norms use the batch's, in inference they are the affine map that stored statistics fold into.
"""

from __future__ import annotations

import functools
import inspect

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


def _affine(width):
    return {"g": np.ones(width, np.float32), "b": np.zeros(width, np.float32)}


def _linear(p, x):
    return x @ p["w"] + p["b"]


def _conv2d(x, w, stride=1, padding=None):
    pad = w.shape[0] // 2 if padding is None else padding
    pads = [(pad, pad)] * 2
    return lax.conv_general_dilated(x, w, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _layer_norm(p, x):
    m = x.mean(-1, keepdims=True)
    v = ((x - m) ** 2).mean(-1, keepdims=True)
    return (x - m) * lax.rsqrt(v + 1e-5) * p["g"] + p["b"]


def _batch_norm(p, x, train):
    if not train:
        return x * p["g"] + p["b"]
    m, v = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - m) * (lax.rsqrt(v + 1e-5) * p["g"]) + p["b"]


def _max_pool(x, size, stride, pad):
    pads = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), pads)


def mlp(rng, width, depth, classes):
    params = [_dense(rng, width, width) for _ in range(depth)] + [_dense(rng, width, classes)]

    def forward(params, x, train):
        for p in params[:-1]:
            x = jax.nn.relu(_linear(p, x))
        return _linear(params[-1], x)

    return params, forward


def cnn(rng, size, width, classes):
    pixels = ((size - 4) // 2) ** 2
    params = {
        "c1": _conv(rng, 1, width, 3), "b1": np.zeros(width, np.float32), "c2": _conv(rng, width, 2 * width, 3),
        "b2": np.zeros(2 * width, np.float32), "l1": _dense(rng, 2 * width * pixels, 4 * width),
        "l2": _dense(rng, 4 * width, classes),
    }  # fmt: skip

    def forward(p, x, train):
        x = jax.nn.relu(_conv2d(x, p["c1"], padding=0) + p["b1"])
        x = _max_pool(jax.nn.relu(_conv2d(x, p["c2"], padding=0) + p["b2"]), 2, 2, 0)
        return _linear(p["l2"], jax.nn.relu(_linear(p["l1"], x.reshape(x.shape[0], -1))))

    return params, forward


def _block(rng, width):
    return {
        "n1": _affine(width), "n2": _affine(width), "qkv": _dense(rng, width, 3 * width),
        "out": _dense(rng, width, width), "up": _dense(rng, width, 4 * width), "down": _dense(rng, 4 * width, width),
    }  # fmt: skip


def _run_block(p, x, heads, causal):
    b, t, c = x.shape
    q, k, v = jnp.split(_linear(p["qkv"], _layer_norm(p["n1"], x)), 3, -1)
    q, k, v = (a.reshape(b, t, heads, c // heads) for a in (q, k, v))
    a = jax.nn.dot_product_attention(q, k, v, is_causal=causal)
    x = x + _linear(p["out"], a.reshape(b, t, c))
    return x + _linear(p["down"], jax.nn.gelu(_linear(p["up"], _layer_norm(p["n2"], x)), approximate=False))


def gpt(rng, layers, heads, width, length, vocabulary):
    params = {
        "tok": rng.standard_normal((vocabulary, width)).astype(np.float32),
        "pos": rng.standard_normal((length, width)).astype(np.float32),
        "blocks": [_block(rng, width) for _ in range(layers)],
        "n": _affine(width), "head": _dense(rng, width, vocabulary)["w"],
    }  # fmt: skip

    def forward(params, ids, train):
        x = params["tok"][ids] + params["pos"][: ids.shape[1]]
        for p in params["blocks"]:
            x = _run_block(p, x, heads, True)
        return _layer_norm(params["n"], x) @ params["head"]

    return params, forward


def vit(rng, layers, heads, width, size, patch, classes):
    count = (size // patch) ** 2
    params = {
        "patch": _dense(rng, 3 * patch * patch, width), "summary": np.zeros((1, 1, width), np.float32),
        "pos": (rng.standard_normal((1, count + 1, width)) * 0.02).astype(np.float32),
        "blocks": [_block(rng, width) for _ in range(layers)], "n": _affine(width), "head": _dense(rng, width, classes),
    }  # fmt: skip

    def forward(params, x, train):
        b, side = x.shape[0], size // patch
        x = x.reshape(b, side, patch, side, patch, 3).transpose(0, 1, 3, 2, 4, 5).reshape(b, count, -1)
        summary = jnp.broadcast_to(params["summary"], (b, 1, width))
        x = jnp.concatenate((summary, _linear(params["patch"], x)), 1) + params["pos"]
        for p in params["blocks"]:
            x = _run_block(p, x, heads, False)
        return _linear(params["head"], _layer_norm(params["n"], x[:, 0]))

    return params, forward


def lstm(rng, width, layers, vocabulary):
    def cell():
        bound = 1 / np.sqrt(width)
        u = lambda *s: rng.uniform(-bound, bound, s).astype(np.float32)  # noqa: E731
        return {"wi": u(width, 4 * width), "wh": u(width, 4 * width), "b": u(4 * width)}

    params = {
        "embed": rng.standard_normal((vocabulary, width)).astype(np.float32), "cells": [cell() for _ in range(layers)],
        "head": _dense(rng, width, vocabulary),
    }  # fmt: skip

    def forward(p, ids, train):
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
        return _linear(p["head"], x)

    return params, forward


def _residual(rng, inner, outer, stride, *kernels_and_widths):
    """The parameters of one residual block; strides are Python numbers, kept apart from them."""
    now, convs = inner, []
    for kernel, width, _ in kernels_and_widths:
        convs.append({"w": _conv(rng, now, width, kernel), "n": _affine(width)})
        now = width
    same = stride == 1 and inner == outer
    short = None if same else {"w": _conv(rng, inner, outer, 1), "n": _affine(outer)}
    return {"convs": convs, "short": short}, (stride, [s for _, _, s in kernels_and_widths])


def _resnet(rng, stem, blocks, features, classes, start):
    params = {"stem": _conv(rng, 3, stem[1], stem[0]), "n": _affine(stem[1]), "head": _dense(rng, features, classes)}
    params["blocks"] = [p for p, _ in blocks]
    plan = [strides for _, strides in blocks]

    def forward(params, x, train):
        x = start(jax.nn.relu(_batch_norm(params["n"], _conv2d(x, params["stem"], stem[2]), train)))
        for p, (stride, strides) in zip(params["blocks"], plan, strict=True):
            h = x
            for i, (c, s) in enumerate(zip(p["convs"], strides, strict=True)):
                h = _batch_norm(c["n"], _conv2d(jax.nn.relu(h) if i else h, c["w"], s), train)
            short = p["short"]
            x = x if short is None else _batch_norm(short["n"], _conv2d(x, short["w"], stride), train)
            x = jax.nn.relu(h + x)
        return _linear(params["head"], x.mean((1, 2)))

    return params, forward


def resnet18(rng, width, classes):
    blocks, inner = [], width
    for level in range(4):
        outer = width * 2**level
        for stride in (1 if level == 0 else 2, 1):
            blocks.append(_residual(rng, inner, outer, stride, (3, outer, stride), (3, outer, 1)))
            inner = outer
    return _resnet(rng, (3, width, 1), blocks, inner, classes, lambda x: x)


def resnet50(rng, width, classes):
    blocks, inner = [], width
    for level, count in enumerate((3, 4, 6, 3)):
        middle = width * 2**level
        for i in range(count):
            stride = 2 if level and i == 0 else 1
            convs = (1, middle, 1), (3, middle, stride), (1, 4 * middle, 1)
            blocks.append(_residual(rng, inner, 4 * middle, stride, *convs))
            inner = 4 * middle
    return _resnet(rng, (7, width, 2), blocks, inner, classes, lambda x: _max_pool(x, 3, 2, 1))


FORMS = {f.__name__: f for f in (mlp, cnn, gpt, vit, lstm, resnet18, resnet50)}


def _prepare(name: str, sizes: dict, arrays):
    form = FORMS[name]
    params, forward = form(
        np.random.default_rng(0), **{k: sizes[k] for k in inspect.signature(form).parameters if k != "rng"}
    )
    arrays = [np.asarray(a) for a in arrays]
    arrays = [
        a.transpose(0, 2, 3, 1) if a.ndim == 4 else a.astype(np.int32) if a.dtype == np.int64 else a for a in arrays
    ]
    return jax.tree.map(jnp.asarray, params), forward, [jnp.asarray(a) for a in arrays]


def trainer(name: str, sizes: dict, batch):
    """A zero-argument function that runs one training step and returns the loss (not waited for)."""
    params, forward, batch = _prepare(name, sizes, batch)
    optimizer = optax.adam(1e-3)
    state = optimizer.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, x, y):
        value, grads = jax.value_and_grad(lambda p: _cross_entropy(forward(p, x, True), y))(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    def run():
        nonlocal params, state
        params, state, value = step(params, state, *batch)
        return value

    run.memory = lambda: step.lower(params, state, *batch).compile().memory_analysis()
    return run


def predictor(name: str, sizes: dict, inputs):
    """A zero-argument function that runs one forward pass and returns the output (not waited for)."""
    params, forward, inputs = _prepare(name, sizes, inputs)
    run = jax.jit(functools.partial(forward, train=False))
    return lambda: run(params, *inputs)
