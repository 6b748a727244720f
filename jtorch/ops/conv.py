"""``conv1d`` to ``conv3d`` and their transposes; the arithmetic is in :mod:`.conv_lowering`."""

from __future__ import annotations

from .conv_lowering import Geometry, convolve, input_gradient
from .elementwise import c_type_name, is_bool, refuse
from .registry import Array, op

_AXES = ("depth", "height", "width")


def per_dim(value, n: int, what: str) -> tuple[int, ...]:
    """An int, or a list of 1 or ``n`` ints, as ``n`` ints.

    Raises:
        RuntimeError: a list of another length.
    """
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        return values * n
    if len(values) != n:
        raise RuntimeError(
            f"expected {what} to be a single integer value or a list of {n} values to match the convolution "
            f"dimensions, but got {what}={list(values)}"
        )
    return values


def _check_dtypes(input, weight, bias) -> None:
    refuse("slow_conv2d_cpu", input, when=is_bool(input))
    if weight.dtype != input.dtype:
        raise RuntimeError(
            f"Input type ({c_type_name(input)}) and weight type ({c_type_name(weight)}) should be the same"
        )
    if bias is not None and bias.dtype != input.dtype:
        raise RuntimeError(f"Input type ({c_type_name(input)}) and bias type ({c_type_name(bias)}) should be the same")


def _check_geometry(stride, padding, dilation, groups: int) -> None:
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")


def _batched(input, weight, n: int, name: str):
    """``(input with a batch dim, whether it had one)``."""
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: "
            f"{list(input.shape)}"
        )
    if weight.ndim != n + 2:
        raise RuntimeError(
            f"Expected {weight.ndim}-dimensional input for {weight.ndim}-dimensional weight {list(weight.shape)}, but "
            f"got {input.ndim}-dimensional input of size {list(input.shape)} instead: the weight of {name} should have "
            f"{('three', 'four', 'five')[n - 1]} dimensions"
        )
    return (input, True) if input.ndim == n + 2 else (input[None], False)


def _finish(y, bias, weight, channels: int, transposed: bool, batched: bool):
    if bias is not None:
        if bias.shape != (channels,):
            given = "transposed=1, weight" if transposed else "weight"
            raise RuntimeError(
                f"Given {given} of size {list(weight.shape)}, expected bias to be 1-dimensional with {channels} "
                f"elements, but got bias of size {list(bias.shape)} instead"
            )
        y = y + bias.reshape(channels, *(1 for _ in y.shape[2:]))
    return y if batched else y[0]


def _pads(padding, kernel, stride, dilation, n: int) -> tuple[tuple[int, int], ...]:
    """(low, high) a dim; ``"same"`` puts the odd element at the high end."""
    if padding == "same":
        if any(s != 1 for s in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((t // 2, t - t // 2) for t in total)
    if padding == "valid":
        return ((0, 0),) * n
    if isinstance(padding, str):
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    return tuple((p, p) for p in per_dim(padding, n, "padding"))


def _times(sizes) -> str:
    return " x ".join(map(str, sizes))


def _conv(n: int, input, weight, bias, stride, padding, dilation, groups: int):
    name = f"conv{n}d"
    x, batched = _batched(input, weight, n, name)
    stride, dilation = per_dim(stride, n, "stride"), per_dim(dilation, n, "dilation")
    kernel, out_channels = weight.shape[2:], weight.shape[0]
    pads = _pads(padding, kernel, stride, dilation, n)
    _check_geometry(stride, [lo for lo, _ in pads], dilation, groups)
    if out_channels < groups or out_channels % groups:
        size = list(weight.shape)
        wanted, size = ("at least", size) if out_channels < groups else ("divisible by", [size])
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be {wanted} {groups} at dimension 0, but got weight of "
            f"size {size} instead"
        )
    if x.shape[1] != weight.shape[1] * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected input{list(x.shape)} to have "
            f"{weight.shape[1] * groups} channels, but got {x.shape[1]} channels instead"
        )
    padded = [s + lo + hi for s, (lo, hi) in zip(x.shape[2:], pads, strict=True)]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if any(r > p for r, p in zip(reach, padded, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({_times(padded)}). Kernel size: ({_times(reach)}). Kernel "
            "size can't be greater than actual input size"
        )
    _check_dtypes(input, weight, bias)
    y = convolve(x, weight, Geometry(stride, pads, dilation, groups))
    return _finish(y, bias, weight, out_channels, False, batched)


def _conv_transpose(n: int, input, weight, bias, stride, padding, output_padding, groups: int, dilation):
    name = f"conv_transpose{n}d"
    x, batched = _batched(input, weight, n, name)
    stride, padding = per_dim(stride, n, "stride"), per_dim(padding, n, "padding")
    extra, dilation = per_dim(output_padding, n, "output_padding"), per_dim(dilation, n, "dilation")
    _check_geometry(stride, padding, dilation, groups)
    if min(extra) < 0:
        raise RuntimeError("negative output_padding is not supported")
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        said = " ".join(
            f"{what}_{axis}: {v}"
            for what, values in (("output_padding", extra), ("stride", stride), ("dilation", dilation))
            for axis, v in zip(_AXES[-n:], values, strict=True)
        )
        raise RuntimeError(f"output padding must be smaller than either stride or dilation, but got {said}")
    if x.shape[1] != weight.shape[0]:
        raise RuntimeError(
            f"Given transposed=1, weight of size {list(weight.shape)}, expected input{list(x.shape)} to have "
            f"{weight.shape[0]} channels, but got {x.shape[1]} channels instead"
        )
    if weight.shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of "
            f"size [{list(weight.shape)}] instead"
        )
    kernel = weight.shape[2:]
    size = tuple(
        (i - 1) * s - 2 * p + d * (k - 1) + e + 1
        for i, s, p, d, k, e in zip(x.shape[2:], stride, padding, dilation, kernel, extra, strict=True)
    )
    if any(s <= 0 for s in size):  # one by one: open sizes of an export cannot be put in order
        raise RuntimeError(
            f"Given input size per channel: ({_times(x.shape[2:])}). Calculated output size per channel: "
            f"({_times(size)}). Output size is too small"
        )
    _check_dtypes(input, weight, bias)
    # with the extra rows taken off the high padding, the forward convolution has exactly the windows of the input
    pads = tuple((p, p - e) for p, e in zip(padding, extra, strict=True))
    y = input_gradient(x, weight, size, Geometry(stride, pads, dilation, groups))
    return _finish(y, bias, weight, weight.shape[1] * groups, True, batched)


def _convolution(n: int, doc: str):
    def conv(
        input: Array, weight: Array, bias: Array | None = None, stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0, dilation: int | tuple[int, ...] = 1, groups: int = 1,
    ):  # fmt: skip
        return _conv(n, input, weight, bias, stride, padding, dilation, groups)

    return _declared(conv, f"conv{n}d", doc)


def _transposed(n: int, doc: str):
    def conv_transpose(
        input: Array, weight: Array, bias: Array | None = None, stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0, output_padding: int | tuple[int, ...] = 0, groups: int = 1,
        dilation: int | tuple[int, ...] = 1,
    ):  # fmt: skip
        return _conv_transpose(n, input, weight, bias, stride, padding, output_padding, groups, dilation)

    return _declared(conv_transpose, f"conv_transpose{n}d", doc)


def _declared(body, name: str, doc: str):
    body.__name__, body.__qualname__, body.__doc__ = name, name, doc
    return op(body, namespaces=("nn.functional",), grad_name="ConvolutionBackward0", channels_last=True)


conv1d = _convolution(
    1, "Cross-correlation of ``(N, C, L)`` or ``(C, L)`` with ``weight (O, C / groups, K)``; see :func:`conv2d`."
)
conv2d = _convolution(
    2, """``y[n, o, i, j] = b[o] + Σ x[n, c, s i + d u - p, s j + d v - p] w[o, c, u, v]``.

    ``input`` is ``(N, C, H, W)`` or ``(C, H, W)``, ``weight (O, C / groups, KH, KW)``, ``bias (O,)``. ``padding`` may
    be ``"valid"`` (none) or ``"same"`` (the output has the size of the input; stride 1 only).

    Raises:
        RuntimeError: shapes, dtypes or sizes that do not fit together.
    """
)  # fmt: skip
conv3d = _convolution(3, "Cross-correlation of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; see :func:`conv2d`.")
conv_transpose1d = _transposed(1, "The transpose of :func:`conv1d`; see :func:`conv_transpose2d`.")
conv_transpose2d = _transposed(
    2, """The transpose of :func:`conv2d`, its gradient with respect to the input, plus a bias.

    ``input`` is ``(N, C, H, W)`` or ``(C, H, W)``, ``weight (C, O / groups, KH, KW)``; the output size is
    ``(H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1``.

    Raises:
        RuntimeError: shapes, dtypes or sizes that do not fit together.
    """
)  # fmt: skip
conv_transpose3d = _transposed(3, "The transpose of :func:`conv3d`; see :func:`conv_transpose2d`.")
