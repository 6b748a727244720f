"""The example programs: the same numbers as PyTorch from the same source, one program per loop, other platforms."""

from __future__ import annotations

import os
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

import jtorch
from jtorch.trace import executor, explain
from jtorch.trace.jaxapi import export_program

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


def run(path, *args, **env) -> str:
    result = subprocess.run(
        [sys.executable, str(path), *args], capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), **env},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def losses(output: str) -> list[float]:
    return [float(x) for x in re.findall(r"^loss ([\d.]+)$", output, re.M)]


def under_torch(name: str, folder) -> pathlib.Path:
    """The example's own source with jtorch's name replaced by PyTorch's."""
    source = (EXAMPLES / name).read_text().replace("import jtorch as torch", "import torch").replace("jtorch", "torch")
    path = folder / name
    path.write_text(source)
    return path


def test_digits_cnn_gives_pytorchs_losses(tmp_path):
    """Same seed, same program: the first 50 losses agree to 4 decimals."""
    pytest.importorskip("torch")
    args = ("--epochs", "3", "--print-losses", "50")
    ours = losses(run(EXAMPLES / "digits_cnn.py", *args))
    theirs = losses(run(under_torch("digits_cnn.py", tmp_path), *args))
    assert len(ours) == len(theirs) == 50
    assert ours == pytest.approx(theirs, abs=5e-5)


def small_step(name: str) -> None:
    """Run an example's own program for a few steps in this process."""
    argv, path = sys.argv, list(sys.path)
    try:
        sys.argv = [
            name,
            *{"digits_cnn.py": ("--epochs", "1"), "vae.py": ("--epochs", "1")}.get(name, ("--steps", "2")),
        ]
        sys.path.insert(0, str(EXAMPLES))
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = argv, path


@pytest.mark.parametrize("name", ["digits_cnn.py", "char_gpt.py", "char_lstm.py", "vae.py"])
def test_training_program_lowers_for_cuda_and_tpu(name, monkeypatch, capfd):
    """The step each example trains with, lowered for other platforms from here."""
    pytest.importorskip("tqdm", reason="the examples' progress bar")
    steps = []
    flush = executor.run

    def keep(*args):
        result = flush(*args)
        cause = args[-1]
        if cause == "optimizer.step()":
            steps.append(explain.last())
        return result

    monkeypatch.setattr(executor, "run", keep)
    small_step(name)
    entry = steps[-1]
    exported = export_program(entry, ("cuda", "tpu"))
    assert exported.platforms == ("cuda", "tpu")
    assert len(exported.out_avals) >= len(entry.program.outputs)


def test_usual_loop_compiles_once_with_real_modules(monkeypatch):
    """200 steps, one program; a ragged last batch adds one; a schedule adds none."""
    monkeypatch.setattr(jtorch.config, "interpret", False)
    torch, nn = jtorch, jtorch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.99)
    x, y = torch.randn(20, 6), torch.randint(0, 3, (20,))
    jtorch.sync()
    before = executor.counters.compiles

    def step(n):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[:n].clone()), y[:n].clone())
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss.item()

    first = step(20)
    for _ in range(199):
        last = step(20)
    assert executor.counters.compiles - before == 1
    step(7)
    assert executor.counters.compiles - before == 2
    assert last < first
