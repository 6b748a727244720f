"""Tensors of another layout than strided: an ordinary tensor holds their elements, and is what they are made of.

Autograd, dtype, device and recording are those of that tensor: whatever requires a gradient, is computed or is written
is it. What a layout adds is where the elements belong.
"""

from __future__ import annotations

from .. import dtypes


class StoredMixin:
    """What a tensor of another layout hands on to ``_stored``; its class defines ``_like`` and ``to``."""

    _lens = ()  # sends dispatch to the layout's _handler

    def _refresh(self) -> None:
        self._stored._refresh()

    def _check_inplace(self) -> None:
        self._stored._check_inplace()

    def _elements(self, other):
        """What holds the elements of a tensor like this one; anything else as it is."""
        return other._stored if isinstance(other, StoredMixin) else other

    def _at_places(self, other):
        """The elements of a tensor of this shape where this one has elements."""
        return self._elements(other)

    # --- facts

    layout = property(lambda self: self._kind)
    dtype = property(lambda self: self._stored.dtype)
    device = property(lambda self: self._stored.device)
    _version = property(lambda self: self._stored._version)

    # --- autograd

    is_leaf = property(lambda self: self._stored.is_leaf)
    grad_fn = property(lambda self: self._stored.grad_fn)

    def _history(self):
        return self._stored._history()

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded for backward."""
        return self._stored.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._stored.requires_grad = value

    def requires_grad_(self, requires_grad: bool = True):
        """Set :attr:`requires_grad` and return self."""
        self._stored.requires_grad_(requires_grad)
        return self

    @property
    def grad(self):
        """The accumulated gradient, under this tensor's layout."""
        g = self._stored.grad
        return None if g is None else self._like(g)

    @grad.setter
    def grad(self, value) -> None:
        self._stored.grad = self._elements(value)

    @grad.deleter
    def grad(self) -> None:
        self._stored.grad = None

    def retain_grad(self) -> None:
        """Keep this tensor's gradient after backward."""
        self._stored.retain_grad()

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None) -> None:
        """Backward through the values; ``gradient`` is of the same structure."""
        if inputs is not None:
            inputs = [self._elements(t) for t in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]
        self._stored.backward(self._elements(gradient), retain_graph, create_graph, inputs)

    def detach(self):
        """The same tensor without history."""
        return self._like(self._stored.detach())

    def _detach(self):
        return self._like(self._stored._detach())

    def detach_(self):
        """Cut this tensor from the graph that made it."""
        self._stored = self._stored.detach()
        return self

    # --- conversions

    def cpu(self, memory_format=None):
        """This tensor in the host's memory."""
        return self.to("cpu")

    def cuda(self, device=None, non_blocking=False):
        """This tensor on an accelerator."""
        return self.to(self._stored.cuda(device).device)

    def pin_memory(self, device=None):
        """Itself: host memory is what it is."""
        return self


for _name, _dtype in (
    ("double", dtypes.float64), ("float", dtypes.float32), ("half", dtypes.float16), ("bfloat16", dtypes.bfloat16),
    ("long", dtypes.int64), ("int", dtypes.int32), ("bool", dtypes.bool_),
):  # fmt: skip
    setattr(StoredMixin, _name, lambda self, memory_format=None, dtype=_dtype: self.to(dtype))
