"""Operations are traced with JAX's own functions inlined, and their loops stay loops."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import pytest

import jtorch
import jtorch.nn.functional as F
from jtorch.trace import explain
from jtorch.trace.jaxapi import is_jaxpr, jaxpr_parts, traced

pytestmark = pytest.mark.usefixtures("compiled_at_once")


def primitives(jaxpr) -> set[str]:
    found = set()
    for equation in jaxpr_parts(jaxpr)[0].eqns:
        found.add(equation.primitive.name)
        for x in equation.params.values():
            for inner in x if isinstance(x, (tuple, list)) else (x,):
                found |= primitives(inner) if is_jaxpr(inner) else set()
    return found


def of(make) -> set[str]:
    """The primitives of the program that computes ``make()``."""
    jtorch.manual_seed(0)
    result = make()
    (result[0] if isinstance(result, tuple) else result).sum().item()
    found = set()
    for step in explain.last().program.steps:
        found |= primitives(traced(step.call.jitted, [a.sds for a in step.call.in_avals]))
    return found


INLINED = {
    "where": lambda x: jtorch.where(x > 0, x, 0.0),
    "softmax": lambda x: x.softmax(-1),
    "layer_norm": lambda x: F.layer_norm(x, (6,)),
    "index": lambda x: x[jtorch.tensor([0, 2])],
    "std": lambda x: x.std(-1),
}
LOOPS = {
    "lstm": lambda x: jtorch.nn.LSTM(6, 3)(x[None]),
    "gru": lambda x: jtorch.nn.GRU(6, 3)(x[None]),
    "ctc_loss": lambda x: F.ctc_loss(
        jtorch.randn(9, 2, 5).log_softmax(-1),
        jtorch.randint(1, 5, (2, 3)),
        jtorch.tensor([9, 9]),
        jtorch.tensor([3, 3]),
    ),
    "householder_product": lambda x: jtorch.linalg.householder_product(x, jtorch.rand(4)),
    "matrix_exp": lambda x: jtorch.matrix_exp(x @ x.T),
    "logcumsumexp": lambda x: jtorch.complex(x, x).logcumsumexp(0).real,
    "a function of the user's": jtorch.jax_function(lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y * 2, x)),
}


@pytest.mark.parametrize("name", INLINED)
def test_inlined(name):
    assert not {"jit", "pjit"} & of(lambda: INLINED[name](jtorch.rand(4, 6)))


@pytest.mark.parametrize("name", LOOPS)
def test_loops_stay(name):
    shape = (6, 4) if name == "householder_product" else (4, 6)
    with jtorch.no_grad():
        assert {"scan", "while"} & of(lambda: LOOPS[name](jtorch.rand(shape)))


def test_loops_are_those_that_stay():
    folder = Path(jtorch.__file__).parent / "ops"
    unrolled = re.compile(r"lax\.(scan|map|fori_loop|while_loop|cond|switch)\(")
    found = [p.name for p in folder.glob("*.py") if p.name != "loops.py" and unrolled.search(p.read_text())]
    assert not found, f"take these loops from ops/loops.py: {found}"
