"""A function under compile() is one program from its first call on: nothing is compiled a second time to replay it."""

from __future__ import annotations

import pytest

import jtorch
from benchmarks import models
from benchmarks.train_step import stepper
from jtorch.debug import counters

pytestmark = pytest.mark.usefixtures("compiled_at_once")


@pytest.mark.parametrize("name", ["mlp", "cnn", "gpt", "vit", "gnn"])
def test_one_program_in_the_first_calls(name):
    assert name in models.NAMES
    step, _ = stepper(jtorch, name, "step", tiny=True)
    jtorch.sync()
    before = counters()["compiles"]
    losses = [step().item() for _ in range(4)]
    assert counters()["compiles"] - before == 1
    assert step.captures == 1 and losses[-1] < losses[0]
