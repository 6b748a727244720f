"""The benchmarks run, and compare programs that compute the same thing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import jtorch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import common, generate, lengths, models, train_step  # noqa: E402
from benchmarks import ops as ops_benchmark  # noqa: E402

SLOW = ("resnet18", "resnet50", "unet", "bert", "gpt2")
NETWORKS = [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in (*models.NAMES, *models.LARGE)]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_the_same_in_both_libraries(name):
    """Equal outputs and losses from equal weights, which the same seed gives to begin with."""
    torch = pytest.importorskip("torch")
    ours, theirs = (models.build(name, library, tiny=True) for library in (jtorch, torch))
    weights = {k: jtorch.from_numpy(v.numpy().copy()) for k, v in theirs.model.state_dict().items()}
    ours.model.load_state_dict(weights)
    ours.model.eval(), theirs.model.eval()
    with jtorch.no_grad(), torch.no_grad():
        a, b = ours.model(*ours.inputs), theirs.model(*theirs.inputs)
        losses = ours.loss(a, *ours.targets).item(), theirs.loss(b, *theirs.targets).item()
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=2e-5)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("name", ["mlp", "gpt", "lstm", "vit", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_hand_written_jax_has_as_many_parameters(name):
    """The same network, but for the LSTM's second bias, which hand-written code leaves out."""
    jax = pytest.importorskip("jax")
    from benchmarks import jax_models

    params, _, _ = jax_models._prepare(name, models.sizes(name, tiny=True), [])
    count = sum(p.size for p in jax.tree.leaves(params))
    theirs = {k: p.numel() for k, p in models.build(name, jtorch, tiny=True).model.named_parameters()}
    assert count == sum(n for k, n in theirs.items() if "bias_hh" not in k)


def test_train_step_runs(capsys, monkeypatch):
    monkeypatch.setattr(jtorch.config, "interpret", False)  # the tiny network's steps would be run by NumPy
    table = train_step.main(["--models", "mlp", "--tiny", "--rounds", "2", "--seconds", "0.01"])
    (row,) = table.rows
    assert row[0] == "mlp" and row[1] > 0 and row[8] == 1
    (printed,) = common.read_tables(capsys.readouterr().out)
    assert printed["model"] == ["mlp"] and float(printed["jtorch ms"][0]) > 0


def test_lengths_runs(capsys):
    pytest.importorskip("torch")
    (row,) = lengths.main(["--models", "lstm", "--tiny"]).rows
    assert row[1] > 0 and row[7] == pytest.approx(row[8], rel=1e-4)


def test_ops_runs(capsys):
    pytest.importorskip("torch")
    ops_benchmark.main(["--sizes", "1,64", "--rounds", "1", "--only", "add,fused chain"])
    first, worst = common.read_tables(capsys.readouterr().out)
    assert first["operation"] == ["add", "fused chain"] and len(worst["operation"]) == 4


@pytest.mark.usefixtures("compiled_at_once")
def test_generation_with_a_cache_compiles_once_and_changes_nothing():
    """The benchmark itself raises where jtorch, compiled or not, PyTorch and the loop without a cache disagree."""
    table = generate.main(["--tiny", "--rounds", "1"])
    compiled = {row[0]: row[4] for row in table.rows}
    assert compiled["jtorch"] <= 2, "one program for the prompt, one for every later token"
    assert compiled["compiled"] == 0, "jtorch.compile runs the programs that are there"


def test_generation_that_differs_is_an_error():
    with pytest.raises(AssertionError, match="b and a made different tokens"):
        generate.agree({"a": [[1, 2]], "b": [[1, 3]]})


def test_example_generates(monkeypatch, capsys):
    """The script asserts that one program made all tokens, the same as without a cache."""
    import runpy

    name = "generate_kv_cache.py"
    monkeypatch.setattr(sys, "argv", [name, "--steps", "1", "--width", "16", "--tokens", "8", "--layers", "1"])
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    assert "1 program for 7 positions" in capsys.readouterr().out


def test_results_are_written_whole(tmp_path, capsys):
    """One script through ``python -m benchmarks``; a name it does not know is an error."""
    benchmark = importlib.import_module("benchmarks.__main__")
    with pytest.raises(SystemExit):
        benchmark.main(["--only", "nothing"])
    benchmark.main(["--tiny", "--only", "recording", "--out", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text()
    assert "- processor: " in text and "## Python per operation" in text and "x.reshape(-1)" in text
    assert not list(tmp_path.glob("*.new"))


def test_plot_or_the_reason_for_none(tmp_path):
    benchmark = importlib.import_module("benchmarks.__main__")
    columns, cells = (
        ("model", "/ torch", "/ jax", "compiled / torch", "compiled / jax"),
        ("mlp", "1.5", "-", "0.5", "-"),
    )
    table = "\n".join("| " + " | ".join(row) + " |" for row in (columns, ["--"] * 5, cells))
    said = benchmark.plot({"train_step": table}, tmp_path / "results.svg")
    if said.startswith("matplotlib is not installed"):
        pytest.skip(said)
    assert said == "![Training steps](results.svg)" and "<svg" in (tmp_path / "results.svg").read_text()


def test_thresholds_are_the_cheapest():
    from benchmarks.tune_lowerings import QUESTIONS, threshold
    from jtorch.ops import lowering_table

    assert threshold((1, 2, 4), below=[1.0, 1.0, 9.0], above=[3.0, 2.0, 1.0]) == 4
    assert threshold((1, 2, 4), below=[1.0] * 3, above=[2.0] * 3) == 8, "never"
    assert lowering_table.CPU.keys() == QUESTIONS.keys()


def test_table_source_is_the_table():
    from benchmarks.tune_lowerings import table_source
    from jtorch.ops import lowering_table

    made = {}
    exec(table_source(lowering_table.CPU, "a machine"), made)
    assert made["CPU"] == lowering_table.CPU


def test_tables_are_read_as_they_are_printed(capsys):
    table = common.Table("a", "b")
    table.row("x", 1234.5)
    table.row("y", None)
    assert common.read_tables(capsys.readouterr().out) == [{"a": ["x", "y"], "b": ["1234", "-"]}]


def test_ratios_are_medians_of_rounds():
    times = {"a": [2.0, 3.0, 8.0], "b": [1.0, 1.0, 1.0]}
    assert common.ratio(times, "a", "b") == 3.0
    assert common.ratio(times, "a", "missing") is None


def test_unknown_model_is_an_error():
    with pytest.raises(ValueError, match="no benchmark model 'alexnet'"):
        models.build("alexnet", jtorch)


def test_checkpointing_leaves_nothing_to_be_kept():
    """A checkpointed step's program returns what the plain one returns: no dead tensor waits for Python's collector."""
    import gc

    from benchmarks.memory import pytorch_api

    returned = []
    gc.disable()
    try:
        for checkpointed in (False, True):
            step, parameters = pytorch_api(jtorch, checkpointed, 2, 8, 16)
            for _ in range(3):
                step()
            memory = jtorch.debug.last_trace().memory()
            assert memory.alias_size_in_bytes >= 3 * parameters, "parameters and both moments are donated"
            returned.append(memory.output_size_in_bytes)
    finally:
        gc.enable()
    assert returned[0] == returned[1]
