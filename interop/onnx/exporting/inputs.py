"""The model's inputs: flattened, named, and at other sizes."""

from __future__ import annotations

import inspect

import numpy as np

import jtorch

from ..errors import OnnxExporterError


def flatten(x, name: str, leaves: list):
    """A function that puts the structure ``x`` together again from ``leaves``, to which its tensors are added.

    ``leaves`` collects ``(name, tensor)``.
    """
    if isinstance(x, jtorch.Tensor):
        i = len(leaves)
        leaves.append((name, x))
        return lambda given: given[i]
    if isinstance(x, dict):
        parts = {k: flatten(v, f"{name}_{k}" if name else str(k), leaves) for k, v in x.items()}
        return lambda given: type(x)((k, part(given)) for k, part in parts.items())
    if isinstance(x, (tuple, list)):
        parts = [flatten(v, f"{name}_{i}" if name else str(i), leaves) for i, v in enumerate(x)]
        if hasattr(x, "_fields"):
            return lambda given: type(x)(*(part(given) for part in parts))
        return lambda given: type(x)(part(given) for part in parts)
    return lambda given: x


def tensors_of(x) -> list:
    """The tensors of a structure of results, in order.

    Raises:
        OnnxExporterError: something in it is neither a tensor nor None.
    """
    if isinstance(x, jtorch.Tensor):
        return [x]
    if x is None:
        return []
    if isinstance(x, dict):
        return [t for v in x.values() for t in tensors_of(v)]
    if isinstance(x, (tuple, list)):
        return [t for v in x for t in tensors_of(v)]
    raise OnnxExporterError(f"the model returned a {type(x).__name__}; a graph's results are tensors")


class Inputs:
    """The example inputs of a call ``model(*args, **kwargs)``."""

    def __init__(self, model, args, kwargs):
        args = (args,) if isinstance(args, jtorch.Tensor) else tuple(args)
        kwargs = dict(kwargs or {})
        signature = inspect.signature(model.forward if hasattr(model, "forward") else model)
        bound = signature.bind(*args, **kwargs)
        self.leaves: list = []
        self.by_name: dict[str, object] = {}
        rebuild = []
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            label = "" if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) else name
            rebuild.append((name, flatten(value, label, self.leaves)))
            self.by_name[name] = value
        self._signature, self._rebuild = signature, rebuild
        if not self.leaves:
            raise OnnxExporterError("the model has no tensor among its inputs: give example inputs as args or kwargs")
        self.names = [_identifier(name, i) for i, (name, _) in enumerate(self.leaves)]
        self.tensors = [t for _, t in self.leaves]

    def call(self, model, tensors) -> list:
        """``model`` on these tensors in place of the example's; its results as a flat list."""
        bound = inspect.BoundArguments(self._signature, {n: part(tensors) for n, part in self._rebuild})  # type: ignore[arg-type]
        return tensors_of(model(*bound.args, **bound.kwargs))

    def flattened(self, args, kwargs) -> list:
        """The tensors of other arguments of the same structure, as a flat list."""
        leaves: list = []
        for value in self._signature.bind(*args, **kwargs).arguments.values():
            flatten(value, "", leaves)
        return [t for _, t in leaves]

    def at(self, shapes) -> list:
        """The example tensors at other shapes: their elements repeated or cut off."""
        return [_resized(t, s) for t, s in zip(self.tensors, shapes, strict=True)]


def _identifier(name: str, i: int) -> str:
    return name if name and not name[0].isdigit() else f"input_{name or i}"


def _resized(t, shape):
    if tuple(t.shape) == tuple(shape):
        return t.detach()
    wide = t.detach().to(jtorch.float32) if t.dtype in (jtorch.bfloat16,) else t.detach()
    out = jtorch.from_numpy(np.ascontiguousarray(np.resize(wide.cpu().numpy(), tuple(shape))))
    return out.to(t.dtype).to(t.device)


# --- dynamic sizes ---------------------------------------------------------------------------------------------------


class Symbolic:
    """A named dynamic size: its value in the example, and its bounds."""

    def __init__(self, name: str, size: int, low: int = 2, high: int | None = None):
        self.name, self.size, self.low, self.high = name, size, max(low, 2), high

    def allows(self, n: int) -> bool:
        return n >= self.low and (self.high is None or n <= self.high)


def dynamic_sizes(inputs: Inputs, names, dynamic_axes, dynamic_shapes) -> list[dict[int, Symbolic]]:
    """Per flat input ``{axis: symbol}``. Sizes of one name are one symbol; unnamed ones are, where the sizes agree.

    Raises:
        OnnxExporterError: an input or axis that does not exist, or one name for different sizes.
    """
    found: list[dict[int, Symbolic]] = [{} for _ in inputs.tensors]
    symbols: dict[object, Symbolic] = {}

    def mark(i: int, axis: int, label, low=2, high=None):
        shape = tuple(inputs.tensors[i].shape)
        if not -len(shape) <= axis < len(shape):
            raise OnnxExporterError(f"dynamic axis {axis} of input {names[i]!r}, which has {len(shape)} dimensions")
        axis %= len(shape)
        key = label if label is not None else ("unnamed", shape[axis])
        symbol = symbols.get(key)
        if symbol is None:
            symbol = symbols[key] = Symbolic(label or f"{names[i]}_dim_{axis}", shape[axis], low, high)
        if symbol.size != shape[axis]:
            raise OnnxExporterError(
                f"dynamic size {label!r} is {symbol.size} in one input and {shape[axis]} in {names[i]!r}: sizes of one "
                "name must be equal"
            )
        found[i][axis] = symbol

    for key, axes in (dynamic_axes or {}).items():
        if key not in names:
            continue  # an output: its dynamic sizes follow from the inputs'
        i = names.index(key)
        for axis, label in axes.items() if isinstance(axes, dict) else ((a, None) for a in axes):
            mark(i, axis, label)
    if dynamic_shapes is not None:
        for i, spec in _specs(inputs, names, dynamic_shapes):
            for axis, dim in spec.items() if isinstance(spec, dict) else enumerate(spec or ()):
                if dim is None or isinstance(dim, int) or getattr(dim, "name", None) == "STATIC":
                    continue
                label = dim if isinstance(dim, str) else getattr(dim, "__name__", None)
                mark(i, axis, label, getattr(dim, "min", None) or 2, _bound(getattr(dim, "max", None)))
    return found


def _bound(high) -> int | None:
    return int(high) if isinstance(high, int) else None


def _specs(inputs: Inputs, names, given):
    """``(flat input, its spec)`` of every tensor that has one."""
    if isinstance(given, dict):
        by_argument = dict(given)
        unknown = set(by_argument) - set(inputs.by_name) - set(names)
        if unknown:
            raise OnnxExporterError(f"dynamic_shapes names {sorted(unknown)}, and the inputs are {names}")
    else:
        by_argument = dict(zip(inputs.by_name, given, strict=False))
    position = 0
    for argument, value in inputs.by_name.items():
        leaves: list = []
        flatten(value, "", leaves)
        spec = by_argument.get(argument)
        specs = _flat_specs(value, spec) if spec is not None else [None] * len(leaves)
        for k, s in enumerate(specs):
            s = by_argument.get(names[position + k]) if s is None else s
            if s is not None:
                yield position + k, s
        position += len(leaves)


def _flat_specs(value, spec) -> list:
    if isinstance(value, jtorch.Tensor):
        return [spec]
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in _flat_specs(v, None if spec is None else spec.get(k))]
    if isinstance(value, (tuple, list)):
        return [
            s for i, v in enumerate(value) for s in _flat_specs(v, None if spec is None or i >= len(spec) else spec[i])
        ]
    return []
