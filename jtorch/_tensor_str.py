"""``torch._tensor_str``: the parts of a tensor's text, for classes that print tensors in their own form."""

from __future__ import annotations

from .tensor import Tensor, printing

#: The options of :func:`jtorch.set_printoptions`.
PRINT_OPTS = printing._options


def _tensor_str(self: Tensor, indent: int) -> str:
    """The values in brackets; ``indent`` is the column they start at."""
    return printing.values_text(self._host("print"), self.dtype, tuple(self.shape), indent)


def _add_suffixes(tensor_str: str, suffixes, indent: int, force_newline: bool = False) -> str:
    """The text, the suffixes behind commas (on new lines where one gets too long), and a closing parenthesis."""
    return printing._close(tensor_str, suffixes, indent, force_newline)


def _str(self: Tensor, *, tensor_contents: str | None = None) -> str:
    """What ``repr`` shows, with other contents between the brackets if they are given."""
    return self._text("tensor(") if tensor_contents is None else f"tensor({tensor_contents})"


_str_intern = _str
