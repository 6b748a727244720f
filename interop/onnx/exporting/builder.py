"""The ONNX graph under construction.

``g.Relu(x)`` adds a node of that type and returns its output's name; attributes are keyword arguments, and
``_outputs=2`` returns a tuple of names. A :class:`Value` is a name that knows its dtype and shape.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import jtorch

from ..errors import OnnxExporterError
from .dims import Varying

#: ONNX's element type of a dtype
ELEMENT = {
    "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16, "int64": TensorProto.INT64, "int32": TensorProto.INT32,
    "int16": TensorProto.INT16, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32, "uint64": TensorProto.UINT64, "bool": TensorProto.BOOL,
    "complex64": TensorProto.COMPLEX64, "complex128": TensorProto.COMPLEX128,
    "float8_e4m3fn": TensorProto.FLOAT8E4M3FN, "float8_e5m2": TensorProto.FLOAT8E5M2,
}  # fmt: skip


def short(dtype) -> str:
    """``float32`` of ``torch.float32``."""
    return str(dtype).rpartition(".")[2]


def element_type(dtype) -> int:
    """ONNX's number for a dtype.

    Raises:
        OnnxExporterError: there is none.
    """
    found = ELEMENT.get(short(dtype))
    if found is None:
        raise OnnxExporterError(f"ONNX has no element type for {dtype}; convert the tensor before exporting")
    return found


class Value(str):
    """The name of a tensor in the graph, with its dtype and shape (ints, and :class:`Varying` where it is dynamic)."""

    __slots__ = ("dtype", "shape")

    def __new__(cls, name: str, dtype=None, shape=None):
        self = super().__new__(cls, name)
        self.dtype, self.shape = dtype, None if shape is None else tuple(shape)
        return self

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Builder:
    """Nodes, initializers and names of one graph for one opset version."""

    def __init__(self, opset: int):
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.symbols: dict[tuple, str] = {}  # names of the inputs' dynamic sizes, by their values
        self.metadata: dict[str, str] = {}
        self._taken: set[str] = set()
        self._constants: dict[tuple, str] = {}
        self._made: dict[tuple, object] = {}  # nodes by what they compute
        self._sizes: dict[tuple, str] = {}
        self._readable: dict[tuple, tuple[Value, int]] = {}  # a tensor and axis of that size, inputs first

    # --- names and nodes

    def fresh(self, wanted: str) -> str:
        """A name nobody has, like ``wanted``."""
        name, k = wanted, 0
        while name in self._taken:
            k += 1
            name = f"{wanted}_{k}"
        self._taken.add(name)
        return name

    def node(self, op_type: str, inputs, outputs: int = 1, domain: str = "", **attributes):
        """Add a node; None among the inputs is an input left out. Returns the output's name, or a tuple of names."""
        inputs = ["" if x is None else str(x) for x in inputs]
        while inputs and not inputs[-1]:
            inputs.pop()
        attributes = {k: v for k, v in attributes.items() if v is not None}
        same = (domain, op_type, tuple(inputs), outputs, repr(sorted(attributes.items())))
        if same in self._made:  # every operator used here is a function of its inputs: compute it once
            return self._made[same]
        base = self.fresh(f"{op_type}_{len(self.nodes)}".lower())
        names = [base if i == 0 else self.fresh(f"{base}.{i}") for i in range(outputs)]
        self._made[same] = names[0] if outputs == 1 else tuple(names)
        node = helper.make_node(op_type, inputs, names, name=f"{base}.node", domain=domain, **attributes)
        for key, value in self.metadata.items():
            node.metadata_props.add(key=key, value=value)
        self.nodes.append(node)
        return self._made[same]

    def forget(self) -> None:
        """Make the next nodes anew, even where there is one that computes the same."""
        self._made.clear()

    def __getattr__(self, op_type: str):
        if not op_type[:1].isupper():
            raise AttributeError(op_type)

        def add(*inputs, _outputs: int = 1, _domain: str = "", **attributes):
            return self.node(op_type, inputs, _outputs, _domain, **attributes)

        return add

    # --- constants

    def initializer(self, name: str, array: np.ndarray) -> str:
        """A stored tensor under ``name``."""
        name = self.fresh(name)
        self.initializers[name] = array
        return name

    def const(self, value, dtype=None) -> str:
        """A constant: a number or an array, as ``dtype``; a :class:`Varying` number is computed from sizes."""
        if isinstance(value, Varying):
            return self.number(value, dtype)
        if isinstance(value, Value):
            return value if dtype is None or value.dtype == dtype else self.cast(value, dtype)
        array = np.asarray(value)
        if dtype is not None:
            array = (array != 0) if short(dtype) == "bool" else array.astype(dtype.np)
        elif array.dtype == np.float64 and not isinstance(value, np.ndarray):
            raise TypeError("a floating constant needs a dtype")
        key = (array.dtype.str, str(array.dtype), array.shape, array.tobytes())
        found = self._constants.get(key)
        if found is None:
            found = self._constants[key] = self.initializer("constant", array)
        return found

    def scalar(self, value, like: Value) -> str:
        """``value`` as a 0-d constant of another tensor's dtype."""
        return self.const(value, like.dtype)

    def ints(self, values) -> str:
        """A vector of int64, some of which may vary."""
        values = list(values)
        if not any(isinstance(v, Varying) for v in values):
            return self.const(np.array(values, np.int64).reshape(-1))
        parts, run = [], []
        for v in values:
            if isinstance(v, Varying):
                if run:
                    parts.append(self.const(np.array(run, np.int64)))
                    run = []
                parts.append(self.size(v))
            else:
                run.append(v)
        if run:
            parts.append(self.const(np.array(run, np.int64)))
        return parts[0] if len(parts) == 1 else self.node("Concat", parts, axis=0)

    def cast(self, x, dtype):
        """``x`` converted; itself where it has the dtype already."""
        if isinstance(x, Value) and x.dtype == dtype:
            return x
        name = self.Cast(x, to=element_type(dtype))
        return Value(name, dtype, x.shape) if isinstance(x, Value) else name

    # --- sizes

    def number(self, v: Varying, dtype) -> str:
        """A varying number as a 0-d tensor."""
        if v.whole:
            number = Value(self.Squeeze(self.size(v), self.const(np.array([0]))), jtorch.int64)
            return self.cast(number, dtype)
        for values in self._readable:
            for power in (1, -1, 0.5, -0.5):
                ratios = [a / b**power for a, b in zip(v.values, values, strict=True)]
                if all(math.isclose(r, ratios[0], rel_tol=1e-12) for r in ratios):
                    base = self.cast(self._read(values), jtorch.float64)
                    base = self.Pow(base, self.const(power, jtorch.float64))
                    product = self.Mul(base, self.const(ratios[0], jtorch.float64))
                    return self.cast(self.Squeeze(product, self.const(np.array([0]))), dtype)
        raise OnnxExporterError(f"no expression of the dynamic sizes gives the number that {v!r}")

    def size(self, v: Varying) -> str:
        """A varying integer as a vector of one int64."""
        found = self._sizes.get(v.values)
        if found is None:
            found = self._sizes[v.values] = self._expression(v)
        return found

    def learn(self, x: Value, is_input: bool = False) -> None:
        """From now on the sizes of ``x`` may be read."""
        for axis, n in enumerate(x.shape or ()):
            if isinstance(n, Varying):
                self._readable.setdefault(n.values, (x, axis))
                if is_input and isinstance(n, Symbol):
                    self.symbols.setdefault(n.values, n.symbol)

    def _read(self, values) -> str:
        x, axis = self._readable[values]
        return self.Shape(x, start=axis, end=axis + 1)

    def _expression(self, v: Varying) -> str:
        """Nodes for ``v``: the size of a tensor, ``(a n + b) / k``, or ``a m n / k``.

        A candidate must give the right value in all recordings, of which there are more than it has constants.
        """
        if v.values in self._readable:
            return self._read(v.values)
        for values in self._readable:
            found = _affine(values, v.values)
            if found is not None:
                return self._scaled(self._read(values), *found)
        for a, b in combinations_with_replacement(list(self._readable), 2):
            found = _affine([p * q for p, q in zip(a, b, strict=True)], v.values)
            if found is not None and found[1] == 0:
                return self._scaled(self.Mul(self._read(a), self._read(b)), *found)
        raise OnnxExporterError(
            f"the model uses a size that {v!r} with the dynamic sizes, and no simple expression of the sizes of its "
            "inputs gives these numbers; make that dimension static, or compute the size from x.shape"
        )

    def _scaled(self, n: str, factor: int, offset: int, divisor: int) -> str:
        if factor != 1:
            n = self.Mul(n, self.const(np.array([factor], np.int64)))
        if offset:
            n = self.Add(n, self.const(np.array([offset], np.int64)))
        return n if divisor == 1 else self.Div(n, self.const(np.array([divisor], np.int64)))

    # --- the operations that many translations need

    def reshape(self, x, shape) -> str:
        """``x`` under another shape, whose varying sizes are inferred where ONNX can, and computed otherwise."""
        shape, given = tuple(shape), getattr(x, "shape", None)
        if given is not None and given == shape:
            return x
        target, free = list(shape), [i for i, n in enumerate(shape) if isinstance(n, Varying)]
        if 0 not in shape:  # 0 means "copy" here
            if len(free) > 1 and given is not None:
                for i in free[:]:
                    if i < len(given) and given[i] == shape[i] and len(free) > 1:
                        target[i] = 0
                        free.remove(i)
            if len(free) == 1:
                target[free[0]] = -1
                return self.Reshape(x, self.const(np.array(target, np.int64)))
        target = shape
        return self.Reshape(x, self.ints(target), allowzero=1 if 0 in target else None)

    def expand(self, x, shape) -> str:
        """``x`` broadcast to ``shape``."""
        if getattr(x, "shape", None) == tuple(shape):
            return x
        return self.Expand(x, self.ints(shape))

    def transpose(self, x, order) -> str:
        """``x`` with its axes in ``order``."""
        order = list(order)
        return x if order == list(range(len(order))) else self.Transpose(x, perm=order)

    def squeeze(self, x, axes) -> str:
        return self.Squeeze(x, self.const(np.array(axes, np.int64)))

    def unsqueeze(self, x, axes) -> str:
        return self.Unsqueeze(x, self.const(np.array(axes, np.int64)))

    def slice(self, x, starts, ends, axes, steps=None) -> str:
        """ONNX's Slice with constant or varying bounds."""
        steps = None if steps is None else self.const(np.array(steps, np.int64))
        return self.Slice(x, self.ints(starts), self.ints(ends), self.const(np.array(axes, np.int64)), steps)

    def reduce(self, kind: str, x, axes, keepdims: bool) -> str:
        """``Reduce<kind>`` over ``axes`` (all for None); over no axes it is ``x``."""
        if axes is None or getattr(x, "shape", None) == ():
            return self.node(f"Reduce{kind}", [x], keepdims=int(keepdims))
        axes = self.const(np.array(axes, np.int64))
        return self.node(f"Reduce{kind}", [x, axes], keepdims=int(keepdims), noop_with_empty_axes=1)

    def tensors(self):
        """The initializers as protos."""
        for name, array in self.initializers.items():
            yield to_proto(array, name)


class Symbol(Varying):
    """A dynamic size of an input, by name."""

    __slots__ = ("symbol",)

    def __init__(self, symbol: str, values):
        super().__init__(values)
        self.symbol = symbol

    __hash__ = Varying.__hash__


def _affine(a, b) -> tuple[int, int, int] | None:
    """The one ``(factor, offset, divisor)`` with ``b = (factor a + offset) // divisor`` at every point, or None."""
    pairs = sorted(set(zip(a, b, strict=True)))
    if len({x for x, _ in pairs}) != len(pairs) or len(pairs) < 3:
        return None
    slope = Fraction(pairs[-1][1] - pairs[0][1], pairs[-1][0] - pairs[0][0])
    offset = pairs[0][1] - slope * pairs[0][0]
    if slope and all(slope * x + offset == y for x, y in pairs):
        divisor = math.lcm(slope.denominator, offset.denominator)
        return int(slope * divisor), int(offset * divisor), divisor
    # a size halved with the rest dropped, or the like; taken only where no other quotient gives the same numbers
    fits = [
        (1, offset, divisor)
        for divisor in range(2, 17)
        for offset in range(-divisor, divisor * 2)
        if all(x + offset >= 0 and (x + offset) // divisor == y for x, y in pairs)
    ]
    return fits[0] if len(fits) == 1 else None


def to_proto(array: np.ndarray, name: str) -> TensorProto:
    """An initializer."""
    array = np.ascontiguousarray(array) if array.ndim else array
    kind = ELEMENT.get(str(array.dtype))
    if kind is None or str(array.dtype) in np.sctypeDict:
        return numpy_helper.from_array(array, name)
    return helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True)
