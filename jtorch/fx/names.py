"""PyTorch's names of jtorch's functions: how a target is printed, and what generated code calls it.

PyTorch prints a function under the name by which its implementation is known. So ``F.linear`` is
``torch._C._nn.linear`` (compiled), ``F.relu`` is ``torch.nn.functional.relu`` (Python) and ``torch.split`` is
``torch.functional.split``. Both kinds differ, too, in how a call is recorded: the compiled ones as it was written, the
Python ones with every optional argument by keyword (:func:`spelled_out`).
"""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
import types
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from .. import _ops
from .listening import NAMESPACES, original, public_functions

#: Functions of ``torch.nn.functional`` that PyTorch takes from ``torch._C._nn``, by their names there.
_NN = {
    "avg_pool2d": "avg_pool2d", "avg_pool3d": "avg_pool3d", "elu_": "elu_", "gelu": "gelu", "hardtanh_": "hardtanh_",
    "leaky_relu_": "leaky_relu_", "linear": "linear", "logsigmoid": "log_sigmoid", "one_hot": "one_hot",
    "scaled_dot_product_attention": "scaled_dot_product_attention", "softplus": "softplus", "softshrink": "softshrink",
}  # fmt: skip
#: Functions of ``torch.nn.functional`` that PyTorch takes from ``torch``.
_TORCH_IN_NN = {
    "adaptive_avg_pool1d", "avg_pool1d", "bilinear", "celu_", "channel_shuffle", "conv1d", "conv2d", "conv3d",
    "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_similarity", "hardshrink",
    "native_channel_shuffle", "pairwise_distance", "pdist", "pixel_shuffle", "pixel_unshuffle", "prelu", "relu_",
    "rrelu_", "selu_", "threshold_",
}  # fmt: skip
#: Functions of ``torch`` that PyTorch has in Python, in ``torch.functional``.
FUNCTIONAL = (
    "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_tensors", "cartesian_prod", "cdist",
    "chain_matmul", "einsum", "lu", "meshgrid", "norm", "split", "stft", "tensordot", "unique", "unique_consecutive",
    "unravel_index",
)  # fmt: skip
_PREFIXED = {"linalg": "linalg_", "special": "special_", "fft": "fft_"}
#: Required parameters that PyTorch passes by keyword all the same, and keywords that it leaves away.
_BY_KEYWORD = {"unravel_index": ("shape",)}
_LEFT_AWAY = {"l1_loss": ("weight",), "chain_matmul": ("out",)}
_RETURNING_INDICES = (
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "fractional_max_pool2d",
    "fractional_max_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
)  # fmt: skip


class _Tables(NamedTuple):
    """By the id of the function: names, and signatures of those that are spelled out. ``kept`` keeps the ids theirs."""

    names: dict[int, str]
    signatures: dict[int, tuple[str, inspect.Signature]]
    kept: list


@functools.lru_cache(None)
def tables() -> _Tables:
    """What is known of public functions."""
    names: dict[int, str] = {}
    signatures: dict[int, tuple[str, inspect.Signature]] = {}
    kept: list = []

    def enter(f, name, spelled=None):
        kept.append(f)
        if id(f) not in names or names[id(f)].rpartition(".")[2] not in (f.__name__, f"_{f.__name__}"):
            names[id(f)] = name
        if spelled is not None:
            signatures[id(f)] = spelled, inspect.signature(f)

    for name, f in public_functions("nn.functional").items():
        if name in _NN:
            enter(f, f"torch._C._nn.{_NN[name]}")
        elif name in _TORCH_IN_NN:
            enter(f, f"torch.{name}")
        else:
            enter(f, f"torch.nn.functional.{'_threshold' if name == 'threshold' else name}", name)
    for name, f in public_functions("torch").items():
        if name in FUNCTIONAL:
            enter(f, f"torch.functional.{name}", name)
        elif id(f) not in signatures:
            enter(f, f"torch.{name}")
    for namespace, prefix in _PREFIXED.items():
        for name, f in public_functions(namespace).items():
            if id(f) not in names and not name.startswith(prefix):
                enter(f, f"torch._C._{namespace}.{prefix}{name}")
    return _Tables(names, signatures, kept)


def _known(f) -> str | None:
    return tables().names.get(id(f)) if isinstance(f, types.FunctionType) else None


def signature(f) -> inspect.Signature:
    """The signature of a function, also while it listens for Proxies."""
    known = tables().signatures.get(id(f))
    return inspect.signature(original(f)) if known is None else known[1]


def from_torch(x) -> bool:
    """Whether generated code reaches ``x`` by its qualified name, from ``torch``."""
    if _known(x) is not None or isinstance(x, (_ops.OpOverload, _ops.OpOverloadPacket)):
        return True
    return qualified_name(x).partition(".")[0] == "torch"


def qualified_name(x) -> str:
    """The name of a function or class: ``torch.relu``, ``torch.nn.functional.relu``, ``_operator.add``, ``len``."""
    known = _known(x)
    if known is not None:
        return known
    if isinstance(x, (_ops.OpOverload, _ops.OpOverloadPacket)):
        return f"torch.ops.{x}"
    name = getattr(x, "__name__", None) or type(x).__name__
    if getattr(builtins, name, None) is x:
        return name
    module = getattr(x, "__module__", None) or getattr(type(x), "__module__", None) or "builtins"
    if module.partition(".")[0] == "jtorch":
        public = _public_path(x, module, name)
        if public is not None:
            return public
    return f"{module}.{name}"


def _public_path(x, module: str, name: str) -> str | None:
    """A path from ``torch`` at which ``x`` is found."""
    for path in ("jtorch", "jtorch.nn", module):
        place = sys.modules.get(path)
        if place is not None and getattr(place, name, None) is x:
            return f"torch{path.removeprefix('jtorch')}.{name}"
    return None


def resolve(name: str):
    """What :func:`qualified_name` calls ``torch.…``.

    Raises:
        AttributeError: there is no such thing.
    """
    place = import_module("jtorch")
    parts = name.split(".")[1:]
    for i, part in enumerate(parts):
        try:
            place = getattr(place, part)
        except AttributeError:
            if i == len(parts) - 1:
                raise
            place = import_module("jtorch." + ".".join(parts[: i + 1]))
    return place


def function_name(f: Callable) -> str:
    """A function's name as PyTorch has it, from which nodes are named."""
    known = _known(f)
    return known.rpartition(".")[2] if known is not None else f.__name__


def spelled_out(f: Callable, args: tuple, kwargs: dict) -> tuple[Callable, tuple, dict]:
    """A call as PyTorch records it: ``(function, args, kwargs)``.

    Raises:
        TypeError: the arguments do not fit the function.
    """
    known = tables().signatures.get(id(f))
    if known is None:
        return f, args, kwargs
    name, form = known
    if name == "einsum" and len(args) == 2 and isinstance(args[1], (list, tuple)):
        args = (args[0], *args[1])
    if name in ("upsample", "upsample_nearest", "upsample_bilinear"):
        return _upsample(f, name, args, kwargs)
    try:
        bound = form.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}() {error}") from None
    bound.apply_defaults()
    positional, keywords = [], {}
    for p in form.parameters.values():
        value = bound.arguments[p.name]
        if p.kind is p.VAR_POSITIONAL:
            positional.extend(value)
        elif p.kind is p.VAR_KEYWORD:
            keywords.update(value)
        elif p.default is p.empty and p.name not in _BY_KEYWORD.get(name, ()):
            positional.append(value)
        elif p.name not in _LEFT_AWAY.get(name, ()) or value is not p.default:
            keywords[p.name] = value
    if name in _RETURNING_INDICES and keywords.get("return_indices") is True:
        f = getattr(import_module(NAMESPACES["nn.functional"]), f"{name}_with_indices")
    return f, tuple(positional), keywords


def _upsample(f, name, args, kwargs):
    """The old names of ``interpolate`` are recorded as what they call."""
    given = signature(f).bind(*args, **kwargs).arguments
    if name != "upsample":
        given = {**given, "mode": name.removeprefix("upsample_")}
        given |= {"align_corners": True} if given["mode"] == "bilinear" else {}
    interpolate = import_module(NAMESPACES["nn.functional"]).interpolate
    return spelled_out(interpolate, (given.pop("input"),), given)
