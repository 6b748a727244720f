"""What both exports need: the inputs and their names, the converted function, and the comparison at the end."""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import tempfile

import jax
import numpy as np

import jtorch

from ..jax import as_jax_module
from .portable import portable


class ExportError(RuntimeError):
    """A model cannot be exported; the message says what stands in the way."""


class MismatchError(ExportError):
    """The exported model does not compute what the module does."""


def tensorflow():
    """The ``tensorflow`` package.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import tensorflow
    except ImportError:
        raise ImportError("jtorch.interop.tf needs TensorFlow: pip install 'jtorch[tf]'") from None
    return tensorflow


class Source:
    """A module (or a function of tensors) and example inputs, ready for conversion.

    Attributes:
        apply: the pure JAX function ``apply(params, *arrays) -> list of arrays``, in primitives TensorFlow knows.
        params: arrays by name; ``trainable``: the names of those that are parameters.
        inputs, input_names, output_names: of the example, in order.
    """

    def __init__(self, model, args, input_names, output_names, *, lite: bool | str):
        args = (args,) if isinstance(args, jtorch.Tensor) else tuple(args)
        for i, x in enumerate(args):
            if not isinstance(x, jtorch.Tensor):
                raise TypeError(
                    f"example_args must be a tensor or a tuple of tensors, but element {i} is {type(x).__name__}; bind "
                    "other arguments with functools.partial"
                )
        self.module = model if isinstance(model, jtorch.nn.Module) else _Function(model)
        self.args = args
        self.inputs = [x.detach().cpu().numpy() for x in args]
        self.input_names = _names(input_names, _parameters_of(model, len(args)), len(args), "input_names")
        self.platform = "cuda"  # plain XLA convolutions, which the runtime spells in its own way
        self._structure = None
        function, self.params = as_jax_module(self.module, platform=self.platform)
        self.params = {name: np.asarray(a) for name, a in self.params.items()}
        self.trainable = {name for name, _ in self.module.named_parameters()}
        found = _named(self.run(args))
        self.output_names = _names(output_names, list(found), len(found), "output_names")

        def flat(params, *arrays):
            return list(_named(function(params, *arrays)).values())

        self.apply = portable(flat, lite=lite)

    def run(self, args):
        """What the module itself returns."""
        with jtorch.no_grad():
            return self.module(*args)

    def expected(self, arrays) -> list[np.ndarray]:
        """The module's results for NumPy inputs, as NumPy arrays."""
        found = _named(self.run([jtorch.from_numpy(np.array(a)) for a in arrays]))
        return [t.detach().cpu().numpy() for t in found.values()]


class _Function(jtorch.nn.Module):
    """A function of tensors as a module."""

    def __init__(self, fn):
        super().__init__()
        self.__dict__["fn"] = fn

    def forward(self, *args):
        return self.fn(*args)


def _parameters_of(model, count: int) -> list[str]:
    forward = model.forward if isinstance(model, jtorch.nn.Module) else model
    try:
        named = [p.name for p in inspect.signature(forward).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        named = []
    return named[:count] if len(named) >= count else [f"input_{i}" for i in range(count)]


def _names(given, default, count: int, what: str) -> list[str]:
    names = list(default if given is None else given)
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"{what} must be {count} different names, but got {names}")
    return names


def _named(result) -> dict:
    """A module's result as a dict by name: a tensor is ``output``, those of a tuple ``output_0``, …"""
    if isinstance(result, (jtorch.Tensor, jax.Array)):
        return {"output": result}
    if isinstance(result, dict):
        items = list(result.items())
    elif isinstance(result, (tuple, list)):
        names = getattr(result, "_fields", None) or [f"output_{i}" for i in range(len(result))]
        items = list(zip(names, result, strict=True))
    else:
        raise ExportError(f"the model returned a {type(result).__name__}; an exported model returns tensors")
    found = {}
    for name, x in items:
        if x is None:
            continue
        if isinstance(x, (jtorch.Tensor, jax.Array)):
            found[str(name)] = x
        else:
            found.update((f"{name}_{inner}", y) for inner, y in _named(x).items())
    return found


def difference(got, wanted) -> float:
    """The largest difference between arrays, in units of the largest wanted number (at least 1e-6); inf for NaN."""
    worst = 0.0
    for a, b in zip(got, wanted, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            raise MismatchError(f"the exported model returned shape {a.shape} where the module returned {b.shape}")
        if not a.size:
            continue
        with np.errstate(invalid="ignore"):
            kind = np.complex128 if np.iscomplexobj(b) else np.float64
            a, b = a.astype(kind), b.astype(kind)
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            off = np.where(same, 0, np.abs(a - b))
        if not np.isfinite(off).all():
            return float("inf")
        finite = np.abs(b[np.isfinite(b)])
        worst = max(worst, float(off.max() / max(finite.max(initial=0), 1e-6)))
    return worst


@contextlib.contextmanager
def replacing(path, *, overwrite: bool, folder: bool):
    """A temporary name beside ``path``, which takes its place when the block ends without an exception.

    Raises:
        FileExistsError: there is something at ``path`` already, and ``overwrite`` is not set.
    """
    path = os.path.abspath(os.fspath(path))
    if os.path.lexists(path) and not overwrite and not (folder and os.path.isdir(path) and not os.listdir(path)):
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    work = tempfile.mkdtemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
    try:
        new = os.path.join(work, "new")
        if folder:
            os.mkdir(new)
        yield new
        if folder and os.path.lexists(path):
            os.rename(path, os.path.join(work, "old"))
        os.replace(new, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


__all__ = ["ExportError", "MismatchError", "Source", "difference", "replacing", "tensorflow"]
