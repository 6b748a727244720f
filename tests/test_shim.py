"""``python -m jtorch``: programs that say ``import torch`` get jtorch, in this process and in its children."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import pathlib
import subprocess
import sys
import textwrap
import types

import pytest

import jtorch
from jtorch.shim import children, finder
from jtorch.shim.version import TorchVersion

ROOT = pathlib.Path(__file__).parents[1]


def launch(*arguments, cwd, code=0):
    """Run ``python -m jtorch`` with these arguments; returns the finished process."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), JAX_PLATFORMS="cpu")
    done = subprocess.run(
        [sys.executable, "-m", "jtorch", *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True,
        timeout=100,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


def write(path, source):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source))
    return path


def test_names_resolve_to_jtorch(tmp_path):
    script = write(
        tmp_path / "script.py",
        """
        import importlib.metadata, importlib.util, io, os, pickle, sys

        spec = importlib.util.find_spec("torch")
        assert spec is not None and "torch" not in sys.modules
        version = importlib.metadata.version("torch")

        import torch
        import torch.nn as nn
        import torch.optim.lr_scheduler as schedulers
        from torch.nn import functional as F
        from torch.utils.data import DataLoader
        import jtorch
        import torch.nn.quantized.dynamic, torch.nn.intrinsic.qat, torch.quantization.quantize_fx
        from torch.ao.quantization.quantize import quantize_dynamic

        assert torch.nn.quantized is jtorch.ao.nn.quantized and quantize_dynamic is torch.quantization.quantize_dynamic
        assert callable(torch.ao.quantization.quantize) and callable(torch.quantization.fuse_modules)
        assert sys.modules["torch"] is torch and repr(torch).startswith("<module 'torch'")
        assert torch.__version__ == version == jtorch.version.torch_api and torch.__version__ >= (2, 0)
        assert jtorch.__version__ != torch.__version__
        assert nn is torch.nn is jtorch.nn is sys.modules["torch.nn"] is sys.modules["jtorch.nn"]
        assert nn.__spec__.name == "jtorch.nn" and F is jtorch.nn.functional
        assert schedulers is jtorch.optim.lr_scheduler and DataLoader is jtorch.utils.data.DataLoader
        assert torch.Tensor is jtorch.Tensor and pickle.loads(pickle.dumps(torch.float16)) is jtorch.float16
        assert importlib.util.find_spec("torch.nn.functional").origin == F.__file__
        here = [type(x) for x in (torch.ones(1), torch.Size(), torch.int8, torch.device("cpu"), nn.Linear(1, 1).bias)]
        assert [c.__module__ for c in here] == ["torch"] * 4 + ["torch.nn.parameter"]
        assert pickle.loads(pickle.dumps(here)) == here and repr(here[0]) == "<class 'torch.Tensor'>"
        assert repr(torch.ones(1)) == "tensor([1.])" and torch.save({"x": here[0]}, io.BytesIO()) is None

        # What is set on torch is set on jtorch; what jtorch lacks is said to be missing from it.
        torch.extra = 1
        assert jtorch.extra == 1
        del torch.extra
        assert not hasattr(jtorch, "extra") and not hasattr(torch, "extra")
        try:
            torch.no_such_name
        except AttributeError as error:
            assert "no_such_name" in str(error)

        # A function is not replaced by the file it is written in, nor is a file loaded twice under two names.
        for name in "torch.no_such", "torch.nn.no_such.deeper", "torch.trace", "torch.nn.functional.dropout":
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                assert error.name in (name, "torch.nn.no_such"), error.name
            else:
                raise AssertionError(name)
        assert callable(torch.trace) and callable(F.dropout)
        assert importlib.util.find_spec("torch.no_such") is None

        stars = {}
        exec("from torch import *", stars)
        assert stars["tensor"] is torch.tensor and stars["nn"] is torch.nn
        assert "__getattr__" not in stars

        imported = [getattr(m, "__file__", None) or "" for m in list(sys.modules.values())]
        assert not any("/site-packages/torch/" in f for f in imported)
        print("done", torch.tensor([1.0, 2.0]).sum().item())
        """,
    )
    assert launch(script, cwd=tmp_path).stdout == "done 3.0\n"


def test_script_runs_as_main(tmp_path):
    write(tmp_path / "scripts/neighbour.py", "VALUE = 5")
    script = write(
        tmp_path / "scripts/script.py",
        """
        import pickle, sys
        import neighbour

        class Thing:
            pass

        assert type(pickle.loads(pickle.dumps(Thing()))) is Thing
        assert __name__ == "__main__" and sys.modules["__main__"].Thing is Thing
        print(sys.argv, __file__, neighbour.VALUE)
        sys.exit(3)
        """,
    )
    done = launch("scripts/script.py", "--flag", "x", cwd=tmp_path, code=3)
    assert done.stdout == f"{['scripts/script.py', '--flag', 'x']} {script.relative_to(tmp_path)} 5\n"


def test_module_and_command(tmp_path):
    write(tmp_path / "package/__init__.py", "")
    write(tmp_path / "package/sibling.py", "import torch\nVALUE = torch.ones(2).sum().item()")
    main = write(
        tmp_path / "package/__main__.py",
        """
        import sys
        from .sibling import VALUE
        print(__name__, __package__, sys.argv, VALUE)
        """,
    )
    assert launch("-m", "package", "-x", cwd=tmp_path).stdout == f"__main__ package {[str(main), '-x']} 2.0\n"
    command = "import sys, torch; print(__name__, sys.argv, sys.path[0] == '', torch.zeros(2).tolist())"
    assert launch("-c", command, "-x", cwd=tmp_path).stdout == "__main__ ['-c', '-x'] True [0.0, 0.0]\n"


def test_uncaught_exceptions_show_the_program_only(tmp_path):
    script = write(tmp_path / "script.py", "import torch\n\ndef f():\n    torch.zeros(2) + torch.zeros(3)\n\nf()\n")
    done = launch(script, cwd=tmp_path, code=1)
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{script}", line 6, in <module>'
    assert any(line.startswith("RuntimeError: The size of tensor a") for line in lines)
    assert "__main__.py" not in done.stderr and "runpy" not in done.stderr


@pytest.mark.parametrize("arguments", [(), ("-m",), ("--unknown",), ("no_such_file.py",)], ids=str)
def test_wrong_usage_exits_with_2(arguments, tmp_path, capsys):
    from jtorch import __main__ as launcher

    with pytest.raises(SystemExit) as caught:
        launcher.main(list(arguments))
    assert caught.value.code == 2
    assert capsys.readouterr().err


def test_children(tmp_path):
    script = write(
        tmp_path / "script.py",
        """
        import multiprocessing, subprocess, sys
        import torch

        CHILD = '''
        import importlib.metadata, importlib.util, sys
        assert importlib.metadata.version("torch").startswith("2.") and importlib.util.find_spec("torch")
        import torch.nn.functional as F, torch, jtorch
        assert F is jtorch.nn.functional and torch.nn is jtorch.nn and sys.modules["torch"] is torch
        assert torch.__version__ > jtorch.__version__
        print("child", torch.arange(3).sum().item(), flush=True)
        '''

        def work(n):
            import jtorch
            assert torch.nn is jtorch.nn
            return torch.arange(n).sum().item()

        if __name__ == "__main__":
            subprocess.run([sys.executable, "-c", CHILD.replace("\\n        ", "\\n")], check=True, cwd="/")
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(work, [4, 5]))
        """,
    )
    assert launch(script, cwd=tmp_path).stdout == "child 3\n[6, 10]\n"


class Anywhere:
    """A finder that knows every module."""

    @staticmethod
    def find_spec(name, path=None):
        return importlib.machinery.ModuleSpec(name, None)


def test_environment_of_children(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/mine", children.PATH]))
    monkeypatch.setattr(sys, "path", ["/first"])
    monkeypatch.setattr(sys, "meta_path", [Anywhere])
    children.install_in_children()
    assert os.environ["PYTHONPATH"] == os.pathsep.join([children.PATH, "/mine"])
    assert sys.path == [children.PATH, "/first"]
    # Where jtorch was found through the current folder alone, children are told where it is.
    monkeypatch.setattr(sys, "meta_path", [])
    children.install_in_children()
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [children.PATH, str(ROOT), "/mine"]
    assert sys.path == [children.PATH, str(ROOT), "/first"]


def test_install_refuses_beside_pytorch(monkeypatch):
    real = types.ModuleType("torch")
    real.__file__ = "/somewhere/torch/__init__.py"
    monkeypatch.setitem(sys.modules, "torch", real)
    with pytest.raises(RuntimeError, match="already imported from /somewhere/torch"):
        finder.install()


def test_metadata_has_the_version_jtorch_follows():
    found = list(importlib.metadata.distributions(name="torch", path=[children.PATH]))
    assert [d.version for d in found] == [jtorch.version.torch_api]


@pytest.mark.parametrize(
    "smaller, larger",
    [("2.9", "2.13.0"), ("2.13.0", "2.13.1"), ("2.13.0rc1", "2.13.0"), ("2.13.0a0", "2.13.0b1"), ("1.13", "2"),
     ("2.13.0.dev20", "2.13.0a0")],
)  # fmt: skip
def test_versions_compare_as_versions(smaller, larger):
    a, b = TorchVersion(smaller), TorchVersion(larger)
    assert a < larger and a <= larger and not a > larger and not a >= larger and a != larger
    assert b > smaller and b >= smaller and not b < smaller and not b <= smaller
    assert sorted([b, a]) == [a, b]


def test_version_equality():
    version = TorchVersion("2.13.0")
    assert version == "2.13" and version == (2, 13) and version < "2.13.0+cpu" and version != "2.12"
    assert version >= (2, 13) and isinstance(version, str) and version.split(".")[0] == "2"
    assert version != 2 and {version: 1}["2.13.0"] == 1
    with pytest.raises(TypeError):
        version < 2  # noqa: B015
