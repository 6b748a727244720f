"""Custom differentiable functions written in Python."""

from __future__ import annotations

import functools
import inspect
import itertools
import warnings
import weakref

from ..tape import engine, modes
from ..tape.node import Node
from ..tensor import Tensor
from ..tensor.autograd import gradient_of, tensor_of
from ..tensor.dispatch import wrap
from . import forward_ad
from .saved import pack

#: Set by :mod:`jtorch.func`: records a call as one operation, within functions that are recorded to be transformed.
recorded = None


class FunctionCtx:
    """What ``forward`` leaves for ``backward``: saved tensors, flags, and any attribute."""

    def __init__(self):
        self._saved = ()
        self._own: dict[int, int] = {}  # which of what is saved are outputs, and which
        self._node = None
        self._saved_for_jvp, self._in_jvp = None, False
        self._versions = ()
        self._non_differentiable = ()
        self._constant = ()  # their numbers
        self._dirty = ()
        self._materialize = self._materialize_non_diff_grads = True
        self.needs_input_grad = ()

    def save_for_backward(self, *tensors):
        """Keep tensors (or None) for :attr:`saved_tensors`; later in-place writes to them are detected."""
        self._saved = tensors
        self._versions = tuple(None if t is None else t._version for t in tensors)

    def save_for_forward(self, *tensors):
        """Keep tensors (or None) for :attr:`saved_tensors` in ``jvp``."""
        self._saved_for_jvp = tensors

    @property
    def saved_tensors(self):
        if self._in_jvp and self._saved_for_jvp is not None:
            return tuple(self._saved_for_jvp)
        if self._saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have "
                "already been freed). Specify retain_graph=True to backward through the graph a second time."
            )
        for t, v in zip(() if isinstance(self._saved, _PackedTensors) else self._saved, self._versions, strict=False):
            if t is not None and t._version != v:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"[torch.{t.dtype.legacy_name}Tensor {list(t.shape)}] is at version {t._version}; expected version "
                    f"{v} instead."
                )
        saved = self._saved.tensors() if isinstance(self._saved, _PackedTensors) else list(self._saved)
        node = self._node and self._node()
        for k, i in self._own.items():  # an output's history is the node that has saved it
            saved[k] = saved[k]._detach()
            saved[k]._edge = node and (node, i)
        return tuple(saved)

    saved_variables = saved_tensors

    def mark_non_differentiable(self, *outputs):
        """These outputs carry no gradient."""
        self._non_differentiable = outputs

    def mark_dirty(self, *inputs):
        """These inputs were modified in place by ``forward`` and are returned."""
        self._dirty = inputs

    def set_materialize_grads(self, value: bool):
        """Whether missing output gradients arrive as zeros (default) or as None."""
        self._materialize = value


class _FunctionNode(Node):
    __slots__ = ("ctx", "function", "positions", "expected", "count", "tensors")
    __repr__ = object.__repr__  # with the module, unlike PyTorch's own nodes

    def __init__(self, function, ctx, edges, positions, args, out_avals, device):
        super().__init__(edges, out_avals, device)
        self.function, self.ctx, self.positions, self.count = function, ctx, positions, len(args)
        self.expected = [(tuple(args[i].shape), args[i].dtype) for i in positions]
        self.tensors = [i for i, a in enumerate(args) if isinstance(a, Tensor)]

    @property
    def next_functions(self):
        """One entry for each tensor among the arguments, ``(None, 0)`` where no gradient flows."""
        found = dict(zip(self.positions, self.edges, strict=True))
        return tuple(found.get(i) or (None, 0) for i in self.tensors)

    def name(self) -> str:
        return f"{self.function.__name__}Backward"

    def apply(self, grads, create_graph):
        tensors = [tensor_of(g, create_graph) for g in grads]
        if self.ctx._materialize:
            from ..tensor.creation import filled

            tensors = [
                filled(a.shape, 0, a.dtype, self.device)
                if t is None and a is not None and (i not in self.ctx._constant or self.ctx._materialize_non_diff_grads)
                else t
                for i, (t, a) in enumerate(zip(tensors, self.out_avals, strict=True))
            ]
        engine.saving.awaited = [t._value() for t in tensors if t is not None and t._handler is None]
        try:
            results = self.function._run_backward(self.ctx, *tensors)
        finally:
            engine.saving.awaited = []
        results = results if isinstance(results, tuple) else (results,)
        if len(results) < self.count or any(r is not None for r in results[self.count :]):
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected {self.count}, got "
                f"{len(results)})"
            )
        found = zip(self.positions, self.expected, strict=True)
        return [gradient_of(self._fitting(i, results[i], *wanted), create_graph) for i, wanted in found]

    def _fitting(self, i, grad, shape, dtype):
        """A gradient as the input has it: summed where the input was broadcast, and of its dtype.

        Raises:
            RuntimeError: it is not a tensor, or of a shape that does not fit.
        """
        if grad is None:
            return None
        if not isinstance(grad, Tensor):
            raise RuntimeError(f"expected Variable or None (got {type(grad).__name__})")
        if tuple(grad.shape) != shape:
            if not _is_expanded(tuple(grad.shape), shape):
                raise RuntimeError(
                    f"Function {self.name()} returned an invalid gradient at index {i} - got {list(grad.shape)} but "
                    f"expected shape compatible with {list(shape)}"
                )
            grad = grad.sum_to_size(shape)
        if grad.dtype is dtype:
            return grad
        return (grad.real if grad.dtype.is_complex and not dtype.is_complex else grad).to(dtype)

    def release(self):
        self.ctx._saved = None

    def __getattr__(self, name):
        return getattr(object.__getattribute__(self, "ctx"), name)  # PyTorch's node and context are one object


def _is_expanded(shape: tuple[int, ...], of: tuple[int, ...]) -> bool:
    """Whether broadcasting can make ``shape`` out of ``of``."""
    extra = len(shape) - len(of)
    return extra >= 0 and all(n == m or n == 1 for n, m in zip(of, shape[extra:], strict=True))


def _node_type(function: type) -> type:
    """The class of a Function's nodes: ``MyFunctionBackward``."""
    found = function.__dict__.get("_backward_cls")
    if found is None:
        attributes = {"__slots__": (), "__module__": "torch.autograd.function"}
        found = function._backward_cls = type(f"{function.__name__}Backward", (_FunctionNode,), attributes)
    return found


class Function:
    """A differentiable function with a hand-written backward.

    Subclass with static methods ``forward(ctx, *args)`` and ``backward(ctx, *grad_outputs)`` (or ``forward(*args)`` and
    ``setup_context(ctx, inputs, output)``), and call ``MyFunction.apply(*args)``.
    """

    generate_vmap_rule = False

    def __init__(self, *args, **kwargs):
        warnings.warn(
            f"{self.__class__} should not be instantiated. Methods on autograd functions are all static, so you should "
            "invoke them on the class itself. Instantiating an autograd function will raise an error in a future "
            "version of PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    def __call__(self, *args, **kwargs):
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd "
            "function with static forward method. (Example: "
            "https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @staticmethod
    def forward(*args, **kwargs):
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx, *grad_outputs):
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function"
        )

    vjp = backward

    @classmethod
    def _run_backward(cls, ctx, *grads):
        if cls.backward is not Function.backward and cls.vjp is not Function.vjp:
            raise RuntimeError(
                "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should only "
                "implement one of them."
            )
        fn = cls.backward if cls.backward is not Function.backward else cls.vjp
        return fn(ctx, *grads)

    @staticmethod
    def jvp(ctx, *grad_inputs):
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward mode AD."
        )

    @staticmethod
    def vmap(info, in_dims, *args):
        raise NotImplementedError(
            "To use autograd.Function with vmap, you must either override the vmap staticmethod or set "
            "generate_vmap_rule=True."
        )

    @classmethod
    def apply(cls, *args, **kwargs):
        """Run ``forward`` without recording, and record ``backward`` (or ``vjp``) as its derivative.

        Inside ``forward_ad.dual_level``, ``jvp(ctx, *tangents)`` gives the tangents of the results.
        """
        if recorded is not None and (found := recorded(cls, args, kwargs)) is not None:
            return found[0]
        ctx = FunctionCtx()
        if forward_ad._state.level is not None and not forward_ad._state.busy:
            tangents = [forward_ad.tangent_of(a) if isinstance(a, Tensor) else None for a in args]
            if any(t is not None for t in tangents):
                with forward_ad._Busy():
                    outputs = cls._applied(ctx, args, kwargs)
                _set_tangents(cls, ctx, args, outputs, tangents)
                return outputs
        return cls._applied(ctx, args, kwargs)

    @classmethod
    def _forward(cls, ctx, args: tuple, kwargs: dict):
        if not hasattr(cls, "setup_context"):
            return cls.forward(ctx, *args, **kwargs)
        args = _with_defaults(cls.forward, args, kwargs)
        outputs = cls.forward(*args, **kwargs)
        cls.setup_context(ctx, args, outputs)
        return outputs

    @classmethod
    def _applied(cls, ctx, args, kwargs):
        edges, positions = [], []
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        recording = modes.state.grad and any(ctx.needs_input_grad)
        if recording:
            for i, needed in enumerate(ctx.needs_input_grad):
                if needed:
                    edges.append(args[i]._history())
                    positions.append(i)
        with modes.no_grad():
            outputs = cls._forward(ctx, args, kwargs)
        if not recording:
            return _not_the_inputs(outputs, args, ctx)
        if any(d._edge is None and d.requires_grad for d in ctx._dirty):
            raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
        listed = outputs if isinstance(outputs, tuple) else (outputs,)
        device = next(a.device for a in args if isinstance(a, Tensor))
        avals = tuple(o._value().aval if isinstance(o, Tensor) else None for o in listed)
        node = _node_type(cls)(cls, ctx, edges, positions, args, avals, device)
        if engine.anomaly.enabled:
            engine.remember_line(node)
        ctx._constant = [i for i, o in enumerate(listed) if any(o is n for n in ctx._non_differentiable)]
        several = sum(isinstance(o, Tensor) for o in listed) > 1
        made = tuple(
            _output(o, ctx, node, i, args, several) if isinstance(o, Tensor) else o for i, o in enumerate(listed)
        )
        _detach_own_outputs(ctx, node, listed, made)
        if engine.saving.hooks:
            ctx._saved = _PackedTensors(ctx._saved, engine.saving.hooks[-1])
        return made if isinstance(outputs, tuple) else made[0]


def _set_tangents(cls, ctx, args, outputs, tangents) -> None:
    """Give the outputs of a custom function the tangents that its ``jvp`` returns.

    Raises:
        RuntimeError: they do not fit the outputs.
    """
    ctx._in_jvp = True
    try:
        given = [forward_ad._zeros(a) if ctx._materialize and t is None and isinstance(a, Tensor)
                 and a._value().aval.is_float else t for a, t in zip(args, tangents, strict=True)]  # fmt: skip
        found = cls.jvp(ctx, *given)
    finally:
        ctx._in_jvp = False
    found = found if isinstance(found, tuple) else (found,)
    listed = outputs if isinstance(outputs, tuple) else (outputs,)
    if len(found) != len(listed):
        raise RuntimeError(
            f"{cls.__name__}Backward returned an invalid number of of forward gradients (expected {len(listed)} but "
            f"got {len(found)})"
        )
    for i, (o, t) in enumerate(zip(listed, found, strict=True)):
        if not isinstance(o, Tensor) or t is None or i in ctx._constant:
            continue
        if tuple(o.shape) != tuple(t.shape):
            raise RuntimeError(
                f"Trying to set a forward gradient that has a different size than that of the original Tensor, this is "
                f"not supported. Tensor is of size {list(o.shape)} while the given forward gradient is of size "
                f"{list(t.shape)}."
            )
        o._tangent = forward_ad._state.level, t


def _with_defaults(forward, args: tuple, kwargs: dict) -> tuple:
    """``args`` and the defaults of the parameters that were not given: ``setup_context`` sees them all."""
    if kwargs:
        return args
    parameters = list(inspect.signature(forward).parameters.values())[len(args) :]
    rest = itertools.takewhile(lambda p: p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty, parameters)
    return (*args, *(p.default for p in rest))


class _PackedTensors:
    """Saved tensors, packed by hooks."""

    def __init__(self, tensors, hooks):
        self.unpack = hooks.unpack_hook
        self.items = [None if t is None else (pack(hooks.pack_hook, t if t.is_leaf else t.detach()),) for t in tensors]

    def tensors(self) -> list:
        return [None if x is None else self.unpack(x[0]) for x in self.items]


def _detach_own_outputs(ctx, node, before, after) -> None:
    """Saved outputs become detached ones, so that node and output do not hold each other, and are noted as such."""
    numbers = {id(b): i for i, b in enumerate(before) if isinstance(b, Tensor)}
    found = {k: numbers[id(t)] for k, t in enumerate(ctx._saved) if t is not None and id(t) in numbers}
    if found:
        ctx._saved = tuple(after[found[k]]._detach() if k in found else t for k, t in enumerate(ctx._saved))
        renewed = {k for k, i in found.items() if after[i] is not before[i]}  # which count writes from here on
        ctx._versions = tuple(ctx._saved[k]._version if k in renewed else v for k, v in enumerate(ctx._versions))
        ctx._own = {k: i for k, i in found.items() if after[i]._edge is not None and after[i]._edge[0] is node}
        ctx._node = weakref.ref(node)


def _not_the_inputs(outputs, inputs, ctx):
    """``outputs`` that nobody differentiates: for an input that is returned as it is, another tensor that shows it."""

    def other(t):
        as_it_is = isinstance(t, Tensor) and t._handler is None and any(t is a for a in inputs)
        return t._detach() if as_it_is and not any(t is d for d in ctx._dirty) else t

    return tuple(map(other, outputs)) if isinstance(outputs, tuple) else other(outputs)


def _output(t: Tensor, ctx, node, i, inputs, several: bool):
    if any(t is n for n in ctx._non_differentiable) or not t._value().aval.is_float:
        return t
    if any(t is d for d in ctx._dirty):
        if t._root is None:
            t._edge, t._requires_grad = (node, i), False
            t._history_count += 1
        else:  # what was written to the view is written to its base, as any other operation in place does
            new = wrap(t._value())
            new._edge = (node, i)
            t._assign(new)
        return t
    if any(t is a for a in inputs) or t._root is not None:
        t = t._detach()  # an input returned as it is, or a view of one, becomes an output of its own
        made_by = node.function.__name__, i, several
    else:
        t = t._detach() if t._edge is not None else t
        made_by = None
    if t._lens is not None:
        t = wrap(t._value())
    t._edge = (node, i)
    if made_by is not None:
        t._made_by = made_by
    return t


#: PyTorch's name for the plain kind of Function.
_SingleLevelFunction = Function


class Error(Node):
    """Behind the results of a backward that is :func:`once_differentiable`."""

    __slots__ = ()

    def apply(self, grads, create_graph):
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")

    def name(self) -> str:
        return "torch::autograd::Error"


class InplaceFunction(Function):
    """A :class:`Function` whose instances say whether they work in place: what older programs derive from."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace


def once_differentiable(fn):
    """Decorates a ``backward`` that cannot itself be differentiated: who tries gets a RuntimeError."""

    @functools.wraps(fn)
    def wrapper(ctx, *grads):
        with modes.no_grad():
            outputs = fn(ctx, *grads)
        tracked = [g for g in grads if isinstance(g, Tensor) and g.requires_grad]
        if not (modes.state.grad and tracked):
            return outputs
        listed = outputs if isinstance(outputs, tuple) else (outputs,)
        avals = tuple(o._value().aval if isinstance(o, Tensor) else None for o in listed)
        node = Error([g._history() for g in tracked], avals, tracked[0].device)
        listed = tuple(
            wrap(o._value(), (node, i)) if isinstance(o, Tensor) and o._handler is None and avals[i].is_float else o
            for i, o in enumerate(listed)
        )
        return listed if isinstance(outputs, tuple) else listed[0]

    return wrapper
