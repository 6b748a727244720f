"""The scripts of examples/ported, unchanged, lose the same under jtorch as under PyTorch, step by step."""

from __future__ import annotations

import ast

import pytest

from . import ported

QUICK = {"digits_classifier": 4, "gcn": 6}
BY_NAME = {script.name: script for script in ported.SCRIPTS}


def compare(script, steps):
    pytest.importorskip("torch")
    absent = ported.missing(script)
    if absent:
        pytest.skip(f"jtorch does not have {', '.join(absent)} yet")
    ours, theirs = (ported.losses(script, library, steps) for library in ("jtorch", "torch"))
    assert ours == pytest.approx(theirs, rel=0, abs=ported.TOLERANCE)
    assert len(set(theirs)) > 1


@pytest.mark.parametrize("name", QUICK)
def test_first_losses(name):
    compare(BY_NAME[name], QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("script", ported.SCRIPTS, ids=lambda s: s.name)
def test_losses(script):
    compare(script, script.steps)


def test_every_script_is_listed():
    assert sorted(p.stem for p in ported.FOLDER.glob("*.py")) == sorted(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_scripts_are_plain_pytorch(name):
    source = (ported.FOLDER / f"{name}.py").read_text()
    assert "jtorch" not in source
    nodes = list(ast.walk(ast.parse(source)))
    assert "torch" in {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}


def test_a_wrong_loss_is_seen(monkeypatch):
    wrong = {"jtorch": [1.0, 0.9002], "torch": [1.0, 0.9]}
    monkeypatch.setattr(ported, "losses", lambda script, library, steps: wrong[library])
    with pytest.raises(AssertionError):
        compare(ported.Script("any", ""), 2)
