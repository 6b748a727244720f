"""``torch.ops``: operations by namespace. ``aten`` holds PyTorch's own under their ATen names, others what
:mod:`jtorch.library` registered.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import jtorch

from . import dispatch_keys
from .autograd.profiler import record_function
from .ops.registry import OPS, Op
from .tensor.dispatch import call
from .tensor.lens import put_op
from .trace import capture

_registered: dict[str, dict[str, OpOverloadPacket]] = {}


class OpOverload:
    """One signature of an operation; calling it is calling the operation."""

    def __init__(self, packet: OpOverloadPacket, overload: str):
        self.overloadpacket, self._overload = packet, overload
        self.namespace = packet._namespace
        self.__name__ = f"{packet.__name__}.{overload}"

    def __call__(self, *args, **kwargs):
        return self.overloadpacket(*args, **kwargs)

    def name(self) -> str:
        """``"aten::add.Tensor"``; the default overload has no suffix."""
        suffix = "" if self._overload == "default" else f".{self._overload}"
        return f"{self.namespace}::{self.overloadpacket.__name__}{suffix}"

    def __str__(self) -> str:
        return f"{self.namespace}.{self.overloadpacket.__name__}.{self._overload}"

    def __repr__(self) -> str:
        return f"<OpOverload(op='{self.namespace}.{self.overloadpacket.__name__}', overload='{self._overload}')>"

    def __eq__(self, other) -> bool:
        return isinstance(other, OpOverload) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class OpOverloadPacket:
    """An operation with all its overloads, which are told apart by their arguments."""

    def __init__(self, namespace: str, name: str, function: Callable):
        self._namespace, self.__name__, self._function = namespace, name, function
        self._by_key: dict[str, Callable] = {}  # see dispatch_keys
        self._differentiable, self._absent = False, None
        self.__doc__ = function.__doc__

    def __call__(self, *args, **kwargs):
        with capture.allowed():  # whatever the body does
            return self._body(args, kwargs)(*args, **kwargs)

    def _body(self, args, kwargs) -> Callable:
        if not self._by_key:
            return self._function
        devices = (x.device for x in (*args, *kwargs.values()) if isinstance(x, jtorch.Tensor))
        device = next(devices, jtorch.get_default_device()).type
        return next((self._by_key[key] for key in dispatch_keys.order(device) if key in self._by_key), self._function)

    def __getattr__(self, overload: str) -> OpOverload:
        if overload.startswith("__"):
            raise AttributeError(overload)
        made = self.__dict__[overload] = OpOverload(self, overload)  # one object: programs compare by identity
        return made

    def __str__(self) -> str:
        return f"{self._namespace}.{self.__name__}"

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='{self._namespace}.{self.__name__}')>"


def _to_copy(x, *, dtype=None, device=None, **_):
    return x.to(device=device or x.device, dtype=dtype or x.dtype, copy=True)


def _convolution(x, w, b, stride, padding, dilation, transposed, output_padding, groups):
    F, n = jtorch.nn.functional, w.dim() - 2
    if transposed:
        return getattr(F, f"conv_transpose{n}d")(x, w, b, stride, padding, output_padding, groups, dilation)
    return getattr(F, f"conv{n}d")(x, w, b, stride, padding, dilation, groups)


def _slice(x, dim=0, start=None, end=None, step=1):
    if not -x.dim() <= dim < x.dim():
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-x.dim()}, {x.dim() - 1}], but got {dim})"
        )
    return x[(slice(None),) * (dim % x.dim()) + (slice(start, end, step),)]


def _assert_scalar(condition, message):
    """Raise RuntimeError unless the number is true."""
    if not condition:
        raise RuntimeError(message)


def _logsumexp(query, key, bias, is_causal, scale):
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = query @ key.transpose(-2, -1) * factor
    if bias is not None:
        scores = scores + bias
    if is_causal:
        scores = scores.masked_fill(jtorch.ones(scores.shape[-2:], dtype=jtorch.bool).triu(1), float("-inf"))
    return scores.float().logsumexp(-1)


def _attention(query, key, value, dropout_p=0.0, is_causal=False, return_debug_mask=False, *, scale=None):
    """``(output, logsumexp, None, None, L, S, None, None, None)``: the others belong to CUDA kernels."""
    out = jtorch.nn.functional.scaled_dot_product_attention(query, key, value, None, dropout_p, is_causal, scale=scale)
    lse = _logsumexp(query, key, None, is_causal, scale)
    return out, lse, None, None, query.shape[-2], key.shape[-2], None, None, None


def _efficient_attention(
    query, key, value, attn_bias, compute_log_sumexp, dropout_p=0.0, is_causal=False, *_, scale=None
):
    """``(output, logsumexp, None, None)``: the others belong to CUDA kernels."""
    out = jtorch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_bias, dropout_p, is_causal, scale=scale
    )
    return out, _logsumexp(query, key, attn_bias, is_causal, scale) if compute_log_sumexp else None, None, None


def _upsample_aa(mode: str) -> Callable:
    def upsample(input, output_size, align_corners, scale_factors=None, scales_w=None, *, scales_h=None):
        if output_size is None:
            return jtorch.nn.functional.interpolate(
                input, None, tuple(scale_factors), mode=mode, align_corners=align_corners, antialias=True
            )
        scales = (scale_factors if scales_h is None else scales_h, scales_w)  # the fourth argument is either's
        return call(
            "_upsample_aa", input, size=tuple(output_size), scales=scales, mode=mode, align_corners=align_corners
        )

    return upsample


def _max_pool_backward(grad_output, self, kernel_size, stride, padding, dilation, ceil_mode, indices):
    at, g = indices.flatten(-2), grad_output.flatten(-2)
    zeros = self.masked_fill(
        jtorch.ones((), dtype=jtorch.bool, device=self.device), 0
    )  # carries a gradient if self does
    return zeros.flatten(-2).scatter_add(-1, at, g).reshape(self.shape)


#: ATen names that differ from those of the public functions
_ATEN = {
    "_to_copy": _to_copy,
    "_unsafe_view": lambda x, size: x.reshape(size),
    "_local_scalar_dense": lambda x: x.item(),
    "_softmax": lambda x, dim, half_to_float: jtorch.softmax(x, dim),
    "_log_softmax": lambda x, dim, half_to_float: jtorch.log_softmax(x, dim),
    "scalar_tensor": lambda s, **kwargs: jtorch.tensor(s, **kwargs),
    "sym_size": lambda x, dim=None: x.shape if dim is None else x.shape[dim],
    "sym_stride": lambda x, dim=None: x.stride() if dim is None else x.stride(dim),
    "sym_numel": lambda x: x.numel(),
    "convolution": _convolution,
    "slice": _slice,
    "alias": lambda x: x.view(x.shape),
    "index": lambda x, indices: x[tuple(slice(None) if i is None else i for i in indices)],
    "_sparse_addmm": lambda x, a, b, *, beta=1, alpha=1: jtorch.sparse.addmm(x, a, b, beta=beta, alpha=alpha),
    "_pin_memory": lambda x, device=None: x.pin_memory(),
    "_assert_scalar": _assert_scalar,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_efficient_attention": _efficient_attention,
    "_scaled_dot_product_cudnn_attention": _efficient_attention,
    "_upsample_bilinear2d_aa": _upsample_aa("bilinear"),
    "_upsample_bicubic2d_aa": _upsample_aa("bicubic"),
    "max_pool2d_with_indices_backward": _max_pool_backward,
}  # fmt: skip


def _aten(name: str) -> Callable:
    if name in _ATEN:
        return _ATEN[name]
    for place in (jtorch, jtorch.Tensor, jtorch.nn.functional, jtorch.special, jtorch.linalg, jtorch.fft):
        for spelled in (name, name.removeprefix("linalg_"), name.removeprefix("special_"), name.removeprefix("fft_")):
            if spelled != name and place not in (jtorch.special, jtorch.linalg, jtorch.fft):
                continue
            found = getattr(place, spelled, None)
            if callable(found):
                return found
    raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute '{name}'")


@functools.cache
def recorded() -> dict[str, str | Op]:
    """What programs consist of, by names that may stand in Python text: ``torch.ops.jtorch`` (graphs of exports)."""
    writes = {f"{name}_put": put_op(op) for name, op in OPS.items() if op.put is not None}  # through views
    return writes | {name.replace(".", "_"): name for name in OPS}


class OpNamespace:
    """``torch.ops.<name>``."""

    def __init__(self, name: str):
        self.name = name

    def __getattr__(self, op: str) -> OpOverloadPacket:
        if op.startswith("__"):
            raise AttributeError(op)
        found = _registered.get(self.name, {}).get(op)
        if found is None:
            if self.name == "jtorch" and (own := recorded().get(op)) is not None:
                found = OpOverloadPacket("jtorch", op, functools.partial(call, own))
                setattr(self, op, found)
                return found
            if self.name != "aten":
                raise AttributeError(f"'_OpNamespace' '{self.name}' object has no attribute '{op}'")
            found = OpOverloadPacket("aten", op, _aten(op))
        setattr(self, op, found)
        return found

    def __dir__(self):
        return sorted(_registered.get(self.name, {}))


class Ops:
    """``torch.ops``."""

    def __getattr__(self, namespace: str) -> OpNamespace:
        if namespace.startswith("__"):
            raise AttributeError(namespace)
        found = OpNamespace(namespace)
        setattr(self, namespace, found)
        return found

    def load_library(self, path) -> None:
        """Make the operators of a library available: of torchvision's, those of :mod:`jtorch.torchvision_ops`.

        Raises:
            OSError: any other, as for a file that cannot be loaded: it needs PyTorch's dispatcher.
        """
        if Path(path).match("torchvision/_C*.so"):
            from .torchvision_ops import provide

            return provide()
        raise OSError(
            f"torch.ops.load_library({str(path)!r}): libraries of PyTorch operators need PyTorch's C++ dispatcher. "
            "Register the operation in Python with jtorch.library.custom_op."
        )


def register(namespace: str, name: str, function: Callable, *, differentiable: bool = False) -> OpOverloadPacket:
    """Make ``function`` available as ``torch.ops.<namespace>.<name>``, in place of an earlier one.

    ``differentiable``: it is made of differentiable operations, and needs no formula for its gradient.
    """
    packet = _registered.setdefault(namespace, {})[name] = OpOverloadPacket(namespace, name, function)
    packet._differentiable = differentiable
    setattr(getattr(ops, namespace), name, packet)
    return packet


def implement(namespace: str, name: str, function: Callable, key: str = "") -> None:
    """Let calls of ``torch.ops.<namespace>.<name>`` run ``function`` where a dispatch key applies (``""``: by default).

    The first body given for a device is also the one for devices that have none: it is Python, which runs anywhere.

    Raises:
        RuntimeError: there is no such key.
    """
    key = key.removeprefix("DispatchKey.")
    if key and key not in dispatch_keys.DispatchKey.__members__:
        raise RuntimeError(f"could not parse dispatch key: {key}")
    if key in dispatch_keys.UNUSED:
        return
    packet = find(namespace, name)
    if not key or key.startswith("Composite"):
        packet._function = function
    else:
        packet._by_key[key] = function
        if key in dispatch_keys.BODIES and packet._function is packet._absent:
            packet._function = function


def find(namespace: str, name: str) -> OpOverloadPacket:
    """The operation of that name; made, without a body, where there is none yet."""
    found = _registered.get(namespace, {}).get(name)
    if found is None:

        def absent(*args, **kwargs):
            raise NotImplementedError(
                f"Could not run '{namespace}::{name}': it has no implementation for these tensors"
            )

        found = register(namespace, name, absent)
        found._absent = absent
    return found


ops = Ops()

# A region of a profile as two operations, which a graph may hold.
register("profiler", "_record_function_enter", lambda name, args=None: record_function(name, args).__enter__())
register("profiler", "_record_function_exit", lambda region: region.__exit__(None, None, None))
