"""Counting floating-point operations of products, convolutions and attention, as ``torch.utils.flop_counter`` does."""

from __future__ import annotations

import math
from collections import defaultdict

import jtorch
from jtorch.nn.modules.module import Module, register_module_forward_hook, register_module_forward_pre_hook
from jtorch.tensor import Tensor
from jtorch.utils._python_dispatch import Around, aten_name


def _product(a, b, out) -> int:
    return 2 * math.prod(out) * a[-1]


def _attention(q, k, v) -> int:
    batch, (length, size), source = math.prod(q[:-2]), q[-2:], k[-2]
    return 2 * batch * length * source * (size + v[-1])


def _convolution(x, w, out, transposed: bool) -> int:
    positions = math.prod(x[2:] if transposed else out[2:])
    return 2 * x[0] * positions * math.prod(w)


def _flops(op, operands, out) -> tuple[int, list, bool]:
    """``(flops, the operands that are factors, whether it is attention)``; 0 for what is not counted."""
    name = op.name
    shapes = [tuple(x.shape) if isinstance(x, Tensor) else None for x in operands]
    if name in ("mm", "bmm", "mv", "matmul", "linear", "dot", "inner"):
        a, b = shapes[:2]
        return _product(a, b, out), list(operands[:2]), False
    if name in ("addmm", "baddbmm", "addmv"):
        return _product(shapes[1], shapes[2], out), list(operands[1:3]), False
    if name.startswith("conv") and name.endswith("d"):
        return _convolution(shapes[0], shapes[1], out, "transpose" in name), list(operands[:2]), False
    if name == "_sdpa":
        return _attention(*shapes[:3]), list(operands[:3]), True
    return 0, [], False


class FlopCounterMode(Around):
    """``with FlopCounterMode() as counter:`` count what runs inside, by module and operation, with its backward.

    A product ``(m, k) @ (k, n)`` counts ``2 m k n``; its gradient the same for each operand that gets one. Attention
    counts two products, and five in backward. Element by element operations count nothing.

    Args:
        mods: accepted; all modules are told apart.
        depth: how deep the printed table goes into modules.
        display: print the table at the end.
        custom_mapping: ``{torch.ops.aten operation: f(*shapes, out_shape=..., **kwargs) -> flops}``.
    """

    def __init__(self, mods=None, depth: int = 2, display: bool = True, custom_mapping: dict | None = None):
        self.depth, self.display = depth, display
        self.custom = {str(op): count for op, count in (custom_mapping or {}).items()}
        self.flop_counts: dict = defaultdict(lambda: defaultdict(int))

    def get_flop_counts(self) -> dict:
        """``{module path: {operation: flops}}``; ``"Global"`` holds all."""
        return {name: dict(counts) for name, counts in self.flop_counts.items()}

    def get_total_flops(self) -> int:
        """All flops."""
        return sum(self.flop_counts["Global"].values())

    def __enter__(self):
        self.flop_counts.clear()
        self._stack: list[str] = []
        self._names: dict[int, str] = {}
        self._active = True
        self._hooks = [register_module_forward_pre_hook(self._enter), register_module_forward_hook(
            self._leave, always_call=True)]  # fmt: skip
        return super().__enter__()

    def __exit__(self, *exc):
        self._active = False
        super().__exit__(*exc)
        for hook in self._hooks:
            hook.remove()
        if self.display:
            print(self.get_table(self.depth))

    def _enter(self, module: Module, args) -> None:
        if id(module) not in self._names:
            for path, inner in module.named_modules(prefix=type(module).__name__):
                self._names.setdefault(id(inner), path)
        self._stack.append(self._names[id(module)])

    def _leave(self, module, args, output) -> None:
        self._stack.pop()

    def _answer(self, op, operands, run):
        result = run()
        if isinstance(result, Tensor):
            self._count(op, operands, result)
        return result

    def _count(self, op, operands, result) -> None:
        name = aten_name(op, operands)
        custom = self.custom.get(f"aten.{name}")
        if custom is not None:
            shapes = [tuple(x.shape) if isinstance(x, Tensor) else x for x in operands]
            self._add(name, custom(*shapes, out_shape=tuple(result.shape)), self._where())
            return
        flops, factors, attention = _flops(op, operands, tuple(result.shape))
        if not flops:
            return
        where = self._where()
        self._add(name, flops, where)
        wanted = sum(isinstance(x, Tensor) and x.requires_grad for x in factors)
        if result._edge is None or not wanted:
            return
        again = flops * 5 // 2 if attention else flops * wanted
        backward = f"{name}_backward" if attention or name == "convolution" else "mm" if name == "addmm" else name

        def counted(grads, create_graph):
            if self._active:
                self._add(backward, again, where)
            return grads

        result._edge[0].add_hook("pre_hooks", counted)

    def _where(self) -> tuple:
        return ("Global", *dict.fromkeys(self._stack))

    def _add(self, name: str, flops: int, where) -> None:
        operation = getattr(jtorch.ops.aten, name, f"aten.{name}")
        for place in where:
            self.flop_counts[place][operation] += flops

    def get_table(self, depth: int | None = None) -> str:
        """The counts as a table, down to modules of this depth."""
        depth = self.depth if depth is None else depth
        total = self.get_total_flops()
        rows = [("Module", "FLOP", "% Total")]
        for place, counts in self.flop_counts.items():
            level = place.count(".")
            if level >= depth:
                continue
            pad = " " * level
            flops = sum(counts.values())
            rows.append((pad + place, _scaled(flops), f"{flops / total:.2%}" if total else "0%"))
            rows += [(f"{pad} - {op}", _scaled(n), f"{n / total:.2%}") for op, n in counts.items()]
        widths = [max(len(r[i]) for r in rows) for i in range(3)]
        lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
        lines.insert(1, "  ".join("-" * w for w in widths))
        return "\n".join(lines)


def _scaled(n: int) -> str:
    for unit in ("", "K", "M", "B", "T"):
        if n < 1000 or unit == "T":
            return f"{n:.3f}{unit}" if unit else str(n)
        n /= 1000
    return str(n)


__all__ = ["FlopCounterMode"]
