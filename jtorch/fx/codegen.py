"""From a graph to the source text of its ``forward``."""

from __future__ import annotations

import enum
import functools
import importlib
import types
import typing
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import jtorch

from .._ops import OpOverload, OpOverloadPacket
from .names import from_torch, qualified_name
from .node import Node, _type_repr

#: Python's operators: how a call of ``operator.<name>`` is written.
magic_methods = {
    "eq": "{} == {}", "ne": "{} != {}", "lt": "{} < {}", "gt": "{} > {}", "le": "{} <= {}", "ge": "{} >= {}",
    "pos": "+{}", "neg": "-{}", "invert": "~{}", "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}",
    "floordiv": "{} // {}", "truediv": "{} / {}", "mod": "{} % {}", "pow": "{} ** {}", "lshift": "{} << {}",
    "rshift": "{} >> {}", "and_": "{} & {}", "or_": "{} | {}", "xor": "{} ^ {}", "matmul": "{} @ {}",
    "getitem": "{}[{}]",
}  # fmt: skip
#: The in-place ones: a statement each.
inplace_methods = {
    "iadd": "{} += {}", "iand": "{} &= {}", "ifloordiv": "{} //= {}", "ilshift": "{} <<= {}", "imod": "{} %= {}",
    "imul": "{} *= {}", "imatmul": "{} @= {}", "ior": "{} |= {}", "ipow": "{} **= {}", "irshift": "{} >>= {}",
    "isub": "{} -= {}", "itruediv": "{} /= {}", "ixor": "{} ^= {}", "setitem": "{}[{}] = {}",
}  # fmt: skip


@functools.lru_cache(None)
def known_globals() -> dict[str, Any]:
    """Names that every generated function may use, as ``repr`` of values gives them."""
    return {
        "inf": inf, "nan": nan, "NoneType": type(None), "torch": jtorch, "device": jtorch.device,
        "fx_pytree": importlib.import_module("jtorch.fx._pytree"),
        "pytree": importlib.import_module("jtorch.utils._pytree"),
    }  # fmt: skip


@dataclass
class PythonCode:
    """Source text of a function, and the globals it needs."""

    src: str
    globals: dict[str, Any]
    _lineno_map: dict[int, int | None] | None = None
    _prologue_start: int = 0


def dotted(base: str, target: str) -> str:
    """``base.a.b`` for the path ``a.b``, with ``getattr`` where a part is no identifier."""
    for part in target.split("."):
        base = f"{base}.{part}" if part.isidentifier() else f'getattr({base}, "{part}")'
    return base


class CodeGen:
    """Writes the function of a graph: ``forward(self, <placeholders>)``, a line a Node, values freed after their last
    use. Subclasses may change its head, its end and what arguments and results go through.
    """

    def __init__(self):
        self._body_transformer = None
        self._func_name = "forward"

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        """The line ``def …:``, with what must follow it at once.

        Args:
            expanded_def: a line for each parameter.
        """
        parameters = free_vars if free_vars[:1] == ["self"] else ["self", *free_vars]
        if expanded_def:
            lines = "".join(f"    {name},\n" for name in parameters)
            return f"def {self._func_name}(\n{lines}){maybe_return_annotation}:"
        return f"def {self._func_name}({', '.join(parameters)}){maybe_return_annotation}:"

    def generate_output(self, output_args) -> str:
        """The statement that returns."""
        return f"return {output_args!r}"

    def process_inputs(self, *args):
        """Arguments of the function as those of the graph."""
        return args

    def process_outputs(self, outputs):
        """The graph's result as that of the function."""
        return outputs

    def additional_globals(self) -> list[tuple[str, Any]]:
        """``(name, value)`` of further globals."""
        return []

    def _gen_python_code(self, nodes, root_module: str, namespace, **shown) -> PythonCode:
        writer = _Writer(self, root_module, namespace, **shown)
        return writer.write(list(nodes))


class _Writer:
    """One run of :class:`CodeGen`."""

    def __init__(self, codegen, root, namespace, *, verbose=False, include_stride=False, include_device=False,
                 expanded_def=False, additional_meta=None):  # fmt: skip
        self.codegen, self.root, self.namespace = codegen, root, namespace
        self.verbose, self.stride, self.device = verbose, include_stride, include_device
        self.expanded_def, self.additional_meta = expanded_def, additional_meta or ()
        self.globals: dict[str, Any] = {}
        self.body: list[str] = []
        self.parameters: list[str] = []
        self.wrapped: dict[str, None] = {}
        self.returns = ""
        self.said = None
        for name, value in known_globals().items():
            self.add_global(name, value)

    def add_global(self, hint: str, value) -> str:
        """The name by which the text refers to a function or type."""
        if not isinstance(value, types.ModuleType) and value is not jtorch.device and from_torch(value):
            return qualified_name(value)
        name = self.namespace.create_name(hint, value)
        if name in self.globals and self.globals[name] is not value and self.globals[name] != value:
            raise AssertionError(f"Global name {name} already assigned to different object")
        self.globals.setdefault(name, value)
        return name

    def type_text(self, t) -> str:
        if t == ():
            return "()"
        text = _type_repr(t)
        if isinstance(t, types.UnionType):
            return "|".join(map(self.type_text, typing.get_args(t)))
        origin = typing.get_origin(t)
        if origin is not None:
            if not isinstance(t, types.GenericAlias):  # typing.List[int], not list[int]
                origin = getattr(typing, getattr(t, "_name", None) or "", origin)
                origin = typing.Union if typing.get_origin(t) is typing.Union else origin
            head = self.add_global(_type_repr(origin), origin)
            inner = ",".join(map(self.type_text, typing.get_args(t)))
            return f"{head}[{inner}]" if inner else head
        return self.add_global(text, t)

    def value(self, x) -> str:
        """An argument as text."""
        if isinstance(x, Node):
            return repr(x)
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return f"{self.add_global(qualified_name(type(x)), type(x))}({', '.join(map(self.value, x))})"
        if isinstance(x, (OpOverload, OpOverloadPacket)):
            return self.add_global(qualified_name(x), x)
        if isinstance(x, enum.Enum):
            return f"{self.add_global(type(x).__name__, type(x))}.{x.name}"
        if isinstance(x, jtorch.Tensor):
            return f"torch.Tensor(size={list(x.shape)}, dtype={str(x.dtype).rpartition('.')[2]})"
        if isinstance(x, tuple):
            return f"({self.value(x[0])},)" if len(x) == 1 else "(" + ", ".join(map(self.value, x)) + ")"
        if isinstance(x, list):
            return "[" + ", ".join(map(self.value, x)) + "]"
        if isinstance(x, slice):
            return f"slice({self.value(x.start)}, {self.value(x.stop)}, {self.value(x.step)})"
        return repr(x)

    def arguments(self, args, kwargs) -> str:
        return ", ".join([*map(self.value, args), *(f"{k} = {self.value(v)}" for k, v in kwargs.items())])

    def annotation(self, node: Node) -> str:
        if self.verbose:
            shown = _shown_value(node.meta, self.stride, self.device)
            if shown is not None:
                return f': "{shown}"'
        return "" if node.type is None else f" : {self.type_text(node.type)}"

    def call(self, node: Node) -> str:
        """The statement of a Node that calls something."""
        to, target, args = f"{node!r}{self.annotation(node)} = ", node.target, node.args
        if node.op == "get_attr":
            return to + dotted(self.root, target)
        if node.op == "call_module":
            return f"{to}{dotted(self.root, target)}({self.arguments(args, node.kwargs)})"
        if node.op == "call_method":
            return f"{to}{dotted(self.value(args[0]), target)}({self.arguments(args[1:], node.kwargs)})"
        if getattr(target, "__module__", "") == "_operator":
            name = target.__name__
            if name in magic_methods:
                return to + magic_methods[name].format(*map(self.value, args))
            if name in inplace_methods:
                done = inplace_methods[name].format(*map(self.value, args))
                return f"{done};  {to}{self.value(args[0])}"
        name = self.add_global(qualified_name(target), target)
        if target is getattr and len(args) == 2 and isinstance(args[1], str) and args[1].isidentifier():
            return to + dotted(self.value(args[0]), args[1])
        if node.meta.get("is_wrapped"):
            self.wrapped.setdefault(name)
        return f"{to}{name}({self.arguments(args, node.kwargs)})"

    def write(self, nodes: list[Node]) -> PythonCode:
        last_use: dict[Node, list[Node]] = {}
        seen: set[Node] = set()
        for node in reversed(nodes):
            for x in node._input_nodes:
                if x not in seen:
                    seen.add(x)
                    last_use.setdefault(node, []).append(x)
        for node in nodes:
            if node.op == "placeholder":
                default = f" = {self.value(node.args[0])}" if node.args else ""
                self.parameters.append(f"{node.target}{self.annotation(node)}{default}")
                name = node.target.replace("*", "")
                if name != repr(node):
                    self.body.append(f"{node!r} = {name}\n")
            elif node.op == "output":
                if node.type is not None:
                    self.returns = f" -> {self.type_text(node.type)}"
                self.body.append(self.codegen.generate_output(_Text.of(node.args[0], self.value)) + "\n")
            else:
                if self.verbose:
                    self.say_where(node)
                freed = [*last_use.get(node, ()), *(() if node.users else (node,))]
                end = ";  " + " = ".join([*map(repr, freed), "None"]) if freed else ""
                self.body.append(f"{self.call(node)}{end}\n")
        if not self.body:
            self.body.append("pass\n")
        if self.codegen._body_transformer is not None:
            self.body = self.codegen._body_transformer(self.body)
        for name, value in self.codegen.additional_globals():
            self.add_global(name, value)
        wrap = "\n".join(f'torch.fx._symbolic_trace.wrap("{name}")' for name in self.wrapped)
        expanded = {"expanded_def": True} if self.expanded_def else {}
        head = self.codegen.gen_fn_def(self.parameters, self.returns, **expanded)
        body = "\n".join("    " + line for line in "".join(self.body).lstrip("\n").split("\n"))
        src = f"\n{wrap}\n\n{head}\n{body}"
        return PythonCode(src, self.globals, {}, src[: src.index(head)].count("\n") + 1)

    def say_where(self, node: Node) -> None:
        """A comment with the line of the program that the Node comes from, where it differs from the one before."""
        further = ", ".join(f"{k}: {node.meta[k]}" for k in self.additional_meta if k in node.meta)
        text = f"\n{f'# {further} ' if further else ''}# {_place(node.stack_trace)}\n"
        if text != self.said:
            self.said = text
            self.body.append(text)


class _Text(str):
    """Source text whose repr is itself."""

    __repr__ = str.__str__

    @classmethod
    def of(cls, x, value):
        """``x`` with the same nesting of dicts that ``repr`` shows."""
        if isinstance(x, dict):
            return cls("{" + ", ".join(f"{k!r}: {cls.of(v, value)}" for k, v in x.items()) + "}")
        if isinstance(x, list):
            return cls("[" + ", ".join(str(cls.of(v, value)) for v in x) + "]")
        if isinstance(x, tuple) and not hasattr(x, "_fields"):
            inner = ", ".join(str(cls.of(v, value)) for v in x)
            return cls(f"({inner},)" if len(x) == 1 else f"({inner})")
        return cls(value(x))


def _place(stack_trace: str | None) -> str:
    lines = (stack_trace or "").strip().split("\n")
    for at in range(len(lines) - 2, -1, -1):
        line = lines[at].strip()
        if line.startswith('File "'):
            file, _, rest = line.removeprefix('File "').partition('", line ')
            number, _, name = rest.partition(", in ")
            return f"File: {file}:{number} in {name}, code: {lines[at + 1].strip()}"
    return "No stacktrace found for following nodes"


_SHORT = {
    "bfloat16": "bf16", "float64": "f64", "float32": "f32", "float16": "f16", "complex32": "c32", "complex64": "c64",
    "complex128": "c128", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "bool": "b8", "uint8": "u8",
    "uint16": "u16", "uint32": "u32", "uint64": "u64", "float8_e4m3fn": "f8e4m3fn", "float8_e5m2": "f8e5m2",
}  # fmt: skip


def _shown_value(meta: dict, stride: bool, device: bool) -> str | None:
    """``f32[2, 3]`` for a Node whose value's shape a pass has noted."""
    from .passes.shape_prop import TensorMetadata

    value = meta.get("val", meta.get("tensor_meta", meta.get("example_value")))
    if not isinstance(value, (jtorch.Tensor, TensorMetadata)):
        return None
    name = str(value.dtype).rpartition(".")[2]
    text = f"{_SHORT.get(name, name)}{list(value.shape)}"
    if isinstance(value, jtorch.Tensor):
        text += (str(list(value.stride())) if stride else "") + (str(value.device) if device else "")
    return text
