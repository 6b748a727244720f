"""Making tensors: from data, from shapes, like other tensors."""

from __future__ import annotations

import functools
import inspect
import math
import warnings

import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import config, devices, dtypes
from ..ops.registry import OPS, Array, op
from ..trace.aval import aval
from ..trace.call import intern
from ..trace.recorder import idle, record
from ..trace.value import put
from . import dispatch as _dispatch
from . import layout as layouts
from .export import _sizes, composite, sizes_given, with_keywords


@op(namespaces=(), grad_name="DetachBackward0")
def _stopped(input: Array):
    """The same elements, through which JAX's transformations pass no gradient."""
    return lax.stop_gradient(input)


@op(name="_identity", namespaces=(), grad_name="CloneBackward0")
def _identity(input: Array):
    """The same elements in a buffer of their own."""
    return jnp.copy(input)


def finish(t, requires_grad: bool, layout=None, pin_memory=False):
    """Common tail of factory functions."""
    if layout is not None and layout is not layouts.strided:
        t = t.to_sparse(layout=layout)
    if requires_grad:
        t.requires_grad = True
    return t


_OPTIONS = {"layout": None, "requires_grad": False, "pin_memory": False}


def factory(out: bool = False, fills: bool = False):
    """Decorates a function that makes a tensor of its ``dtype`` on its ``device``: adds what all such functions take.

    That is ``layout``, ``requires_grad`` and ``pin_memory`` (accepted), and with ``out`` a tensor to write to, whose
    dtype and device are the result's. One that has as many elements keeps its shape where the function ``fills``.
    """

    def decorate(fn):
        def making(*args, layout=None, requires_grad=False, pin_memory=False, **kwargs):
            return finish(fn(*args, **kwargs), requires_grad, layout)

        def writing(*args, out=None, dtype=None, device=None, layout=None, requires_grad=False, pin_memory=False, **kw):
            if out is None:
                return finish(fn(*args, dtype=dtype, device=device, **kw), requires_grad, layout)
            if dtype is not None and dtype_of(dtype) is not out.dtype:
                raise RuntimeError(
                    f"dtype {dtype_of(dtype).legacy_name} does not match dtype of out parameter "
                    f"({out.dtype.legacy_name})"
                )
            if layout is not None and layout is not out.layout:
                raise RuntimeError(f"layout {layout} does not match layout of out parameter ({out.layout})")
            made = fn(*args, dtype=out.dtype, device=out.device if device is None else device, **kw)
            if fills and made.numel() == out.numel():
                made = made.reshape(out.shape)
            return finish(_dispatch.write_out(fn.__name__, (), made, out), requires_grad)

        made = functools.wraps(fn)(writing if out else making)
        made.__signature__ = with_keywords(inspect.signature(fn), **({"out": None} if out else {}), **_OPTIONS)
        return made

    return decorate


def dtype_of(spec, default: dtypes.dtype | None = None) -> dtypes.dtype:
    """A dtype argument: a dtype, a Python type (``float`` is float64, as in PyTorch), or None for the default."""
    if spec is None:
        return default or dtypes.get_default_dtype()
    if isinstance(spec, dtypes.dtype):
        return spec
    found = {float: dtypes.float64, int: dtypes.int64, bool: dtypes.bool_, complex: dtypes.complex128}.get(spec)
    if found is None:
        raise TypeError(f"dtype must be a torch.dtype, not {spec!r}")
    return found


def on_device(op_name: str, device, *operands, **statics):
    """Run an op without tensor operands on a device."""
    entry = OPS[op_name]
    d = devices.resolve(device)
    values = tuple(_dispatch.hashable(statics.get(n)) for n in entry.static_names)
    call = intern(entry, values, tuple(x.__class__ for x in operands), d.platform)
    return _dispatch.wrap(record(call, list(operands), d)[0])


def filled(size, value, dtype: dtypes.dtype, device=None):
    """A tensor of one repeated number: recorded within a program, made at once between programs."""
    if any(n < 0 for n in size):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {list(size)}")
    target = devices.resolve(device)
    if isinstance(value, np.generic):
        value = value.item()
    dtypes.check_fits(value, dtype)
    if idle(target) and isinstance(value, (int, float)):
        # Nothing is pending: a constant made now (a new module's parameter, say) exists before the first step is
        # recorded, so that the first step and the later ones are one program.
        aval(tuple(size), dtype)  # refuses what cannot be counted
        with np.errstate(all="ignore"):
            return _dispatch.wrap(put(np.full(tuple(size), value).astype(dtype.np), target))
    return on_device("full", target, value, size=tuple(size), dtype=dtype)


#: Stands for what nobody has written yet.
UNWRITTEN = object()


def unwritten(dtype: dtypes.dtype):
    """What a tensor of unspecified content holds: zeros, or in deterministic mode what shows that it is read."""
    if not config.deterministic or not config.fills_unwritten():
        return 0
    if dtype.category >= dtypes.FLOAT:
        return math.nan
    return True if dtype.category == dtypes.BOOL else int(np.iinfo(dtype.np).max)


# --- from data -----------------------------------------------------------------------------------------------------


def _has_tensor(data) -> bool:
    return isinstance(data, _dispatch.TENSOR) or (
        isinstance(data, (list, tuple)) and any(_has_tensor(x) for x in data[:8])
    )


def _plain(data, within: bool = False):
    if isinstance(data, _dispatch.TENSOR):
        array = data.detach()._host("tensor() of tensors")
        if not within:
            return array
        if array.size != 1:  # NumPy would stack them
            raise ValueError(
                f"only one element tensors can be converted to Python scalars, got one of shape {list(array.shape)} in "
                "a list; use torch.stack() or torch.cat() to join tensors"
            )
        return array.reshape(())
    if isinstance(data, (list, tuple)):
        return [_plain(x, True) for x in data]
    return data


def _first(data):
    while isinstance(data, (list, tuple)) and len(data):
        data = data[0]
    return data


def _typed(data) -> bool:
    """Whether something in nested sequences has a dtype of its own."""
    kinds = set(map(type, data))
    if any(issubclass(kind, (np.generic, np.ndarray, _dispatch.TENSOR)) for kind in kinds):
        return True
    nested = any(issubclass(kind, (list, tuple)) for kind in kinds)
    return nested and any(isinstance(x, (list, tuple)) and _typed(x) for x in data)


def _common(data) -> dtypes.dtype | None:
    """The dtype that the leaves of nested sequences are promoted to; None where one of them has none."""
    if isinstance(data, (list, tuple)):
        found = [_common(x) for x in data]
        if None in found:
            return None
        return functools.reduce(dtypes.promote_types, found) if found else dtypes.get_default_dtype()
    if isinstance(data, _dispatch.TENSOR):
        return data.dtype
    if isinstance(data, (np.generic, np.ndarray)):
        return dtypes.of_numpy(data.dtype) if data.dtype.kind in "biufc" else None
    return dtypes.of_python(type(data)) if type(data) in (bool, int, float, complex) else None


def _refuse_cycles(data, above: tuple = ()) -> None:
    if isinstance(data, (list, tuple)):
        if id(data) in above:
            raise TypeError("new(): self-referential lists are incompatible")
        for x in data:
            _refuse_cycles(x, (*above, id(data)))


def to_numpy(data, dtype: dtypes.dtype | None) -> np.ndarray:
    """Python data as an array of the dtype PyTorch would give it.

    Raises:
        ValueError: nested sequences of unequal length.
        TypeError: strings and other objects.
    """
    if isinstance(data, np.ndarray | np.generic):
        array = np.asarray(data)
    else:
        try:
            first, tensors = _first(data), _has_tensor(data)
        except RecursionError:
            _refuse_cycles(data)
            raise
        mixed = isinstance(data, (list, tuple)) and _typed(data)
        if mixed and dtype is None:
            dtype = _common(data)
        if tensors:
            data = _plain(data)
        elif hasattr(data, "__array__") and not isinstance(data, (list, tuple)):
            data = np.asarray(data)
            first = data
        try:
            array = np.array(data)
            real = dtype is not None and dtype.is_floating_point
            if array.dtype == object and real and isinstance(first, (int, float)):
                array = np.array(data, np.float64)  # integers beyond 64 bits
        except (ValueError, OverflowError) as error:
            if isinstance(error, OverflowError):
                raise ValueError("Overflow when unpacking long long") from None
            lengths = [len(x) for x in data if isinstance(x, (list, tuple, np.ndarray))]
            raise ValueError(
                f"expected sequence of length {lengths[0] if lengths else '?'} at dim 1 (got "
                f"{next((n for n in lengths if n != lengths[0]), '?')})"
                if lengths
                else str(error)
            ) from None
        if type(first) is int and dtype is dtypes.uint64:
            array = _unsigned(np.array(data, object))
        elif type(first) is int and not real and array.dtype == np.float64 and array.size and abs(array).max() >= 2**63:
            if all(isinstance(x, int) for x in np.array(data, object).flat):  # NumPy's choice for int64 and uint64
                raise ValueError("Overflow when unpacking long long")
        if array.dtype == object or array.dtype.kind in "USM":
            if array.dtype == object and type(first) is int:
                raise ValueError("Overflow when unpacking long long")
            if array.dtype.kind in "US":
                raise TypeError("new(): invalid data type 'str'")
            raise RuntimeError(f"Could not infer dtype of {type(first).__name__}")
        if array.dtype.kind == "m":
            raise TypeError("can't convert np.ndarray of type timedelta64")
        if dtype is None and not isinstance(first, (np.ndarray, np.generic, _dispatch.TENSOR)) and not mixed:
            if array.dtype == np.float64:
                dtype = dtypes.get_default_dtype()
            elif array.dtype == np.complex128:
                dtype = dtypes.get_default_dtype().to_complex()
            elif array.size == 0:
                dtype = dtypes.get_default_dtype()
        exact = dtype is None or not dtype.is_floating_point
        if array.dtype == np.uint64 and exact and dtype is not dtypes.uint64 and not isinstance(first, np.generic):
            raise ValueError("Overflow when unpacking long long")
        if dtype is not None and array.size:
            if array.dtype.kind == "c" and dtype.category != dtypes.COMPLEX and dtype is not dtypes.bool_:
                raise TypeError("must be real number, not complex")
            if dtype.category == dtypes.INT and array.dtype.kind != "b":
                dtypes.check_fits(array.min().item(), dtype, dtype.name)
                dtypes.check_fits(array.max().item(), dtype, dtype.name)
    if dtype is not None and array.dtype != dtype.np:
        with np.errstate(all="ignore"):
            if dtype is dtypes.float8_e4m3fn:  # which has no infinity: PyTorch's conversion ends at the largest number
                array = array.clip(-448, 448)
            array = (array != 0) if dtype is dtypes.bool_ else array.astype(dtype.np)
    return array


def _unsigned(numbers: np.ndarray) -> np.ndarray:
    """Python integers as uint64.

    Raises:
        OverflowError: one is negative, or has more than 64 bits.
    """
    if numbers.min() < 0:
        raise OverflowError("can't convert negative int to unsigned")
    if numbers.max() >= 2**64:
        raise OverflowError("int too big to convert")
    return numbers.astype(np.uint64)


@composite("torch")
def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A tensor holding a copy of ``data`` (numbers, nested sequences, NumPy arrays).

    The dtype is inferred: Python floats become the default dtype, ints ``int64``, bools ``bool``; arrays keep theirs.

    Raises:
        ValueError: sequences of unequal length.
        TypeError, RuntimeError: data without a numeric dtype.
    """
    if isinstance(data, _dispatch.TENSOR):
        import warnings

        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
            UserWarning,
            stacklevel=2,
        )
        t = data.detach().clone()
        t = t.to(device=device if device is not None else t.device, dtype=dtype or t.dtype)
        return finish(t, requires_grad)
    target = devices.resolve(device)
    if target.type != "meta":
        devices.jax_device(target)  # on its first use programs begin to be loaded, while the data is converted
    array = np.array(to_numpy(data, None if dtype is None else dtype_of(dtype)), order="C")
    dtypes.of_numpy(array.dtype)
    return finish(_dispatch.wrap(put(array, target)), requires_grad)


@composite("torch")
def as_tensor(data, dtype=None, device=None):
    """``data`` as a tensor; a tensor of the wanted dtype and device is returned as it is."""
    if isinstance(data, _dispatch.TENSOR):
        return data.to(device=device if device is not None else data.device, dtype=dtype or data.dtype)
    return tensor(data, dtype=dtype, device=device)


@composite("torch")
def asarray(obj, *, dtype=None, device=None, copy=None, requires_grad=None):
    """``obj`` as a tensor (NumPy data and buffers are always copied: XLA arrays are immutable).

    Raises:
        ValueError, RuntimeError: ``copy=False``, and ``obj`` is no array, or one of another dtype or device.
    """
    if type(obj).__name__ == "PyCapsule":
        obj = from_dlpack(obj)
    if not isinstance(obj, (_dispatch.TENSOR, np.ndarray, np.generic)) and _has_buffer(obj):
        obj = frombuffer(obj, dtype=dtype or dtypes.get_default_dtype())
    t = as_tensor(obj, dtype=dtype, device=device)
    if copy is False:
        _check_alias(obj, t)
    wanted = requires_grad
    if isinstance(obj, _dispatch.TENSOR):
        if wanted is None and (wanted := obj.requires_grad):
            warnings.warn(
                "torch.asarray: unspecified requires_grad now defaults to obj.requires_grad instead of False. Pass "
                "requires_grad=False explicitly to get the old behavior and silence this warning.",
                UserWarning,
                stacklevel=2,
            )
        if copy and t is obj:
            t = t.clone()
    if t.requires_grad and not wanted:
        t = t.detach()
    return t if t.requires_grad else finish(t, bool(wanted))


def _has_buffer(obj) -> bool:
    try:
        return memoryview(obj).nbytes >= 0
    except TypeError:
        return False


def _check_alias(obj, t) -> None:
    """Raises:
    ValueError, RuntimeError: ``t``, which was made of ``obj``, could not have been that without a copy.
    """
    if isinstance(obj, np.generic):
        raise RuntimeError("can't alias NumPy scalars. Either remove copy=False or transform it in a ndarray. ")
    if not isinstance(obj, (_dispatch.TENSOR, np.ndarray)):
        raise ValueError("can't alias arbitrary sequence into a tensor.")
    own = dtypes.of_numpy(obj.dtype) if isinstance(obj, np.ndarray) else obj.dtype
    device = devices.CPU if isinstance(obj, np.ndarray) else obj.device
    if t.device is not device:
        raise ValueError(f"can't alias tensor from device '{device}' to '{t.device}'.")
    if t.dtype is not own:
        raise ValueError(f"can't alias tensor with dtype '{own.legacy_name}' into dtype '{t.dtype.legacy_name}'.")


@composite("torch")
def from_numpy(ndarray):
    """A tensor with the data of a NumPy array.

    A copy: XLA arrays are immutable, so later writes to the array are not seen.

    Raises:
        TypeError: not an array, or of an unsupported type.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    return _dispatch.TENSOR._from_numpy(ndarray, devices.CPU)


@composite("torch")
def frombuffer(buffer, *, dtype, count=-1, offset=0, requires_grad=False):
    """A 1-d tensor with a copy of an object's buffer.

    Raises:
        ValueError: the object has no buffer, an empty one, or one shorter than what is asked for.
    """
    try:
        size = memoryview(buffer).nbytes
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    if not size or not count:
        raise ValueError(f"both buffer length ({size}) and count ({count}) must not be 0")
    array = np.frombuffer(buffer, dtype=dtype_of(dtype).np, count=count, offset=offset)
    return finish(_dispatch.TENSOR._from_numpy(array), requires_grad)


@composite("torch")
def from_dlpack(ext_tensor, *, device=None, copy=None):
    """A tensor from an object with ``__dlpack__``, or a capsule; a copy, so neither side sees the other's writes."""
    import jax

    from ..trace.jaxapi import x64

    with x64(True):
        source = ext_tensor if hasattr(ext_tensor, "__dlpack__") else _Capsule(ext_tensor)
        array = np.array(jax.dlpack.from_dlpack(source))
    return _dispatch.TENSOR._from_numpy(array, device)


class _Capsule:
    """The older way to hand over memory: a capsule alone, which says inside where the memory is.

    Raises:
        TypeError: this is no capsule that nobody has taken yet.
    """

    def __init__(self, capsule):
        import ctypes

        api = ctypes.pythonapi
        api.PyCapsule_IsValid.argtypes = api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
        api.PyCapsule_GetPointer.restype = ctypes.c_void_p
        if not api.PyCapsule_IsValid(capsule, b"dltensor"):
            raise TypeError(
                f"from_dlpack() expects an object with __dlpack__ or a capsule that has not been used, got {capsule!r}"
            )
        address = api.PyCapsule_GetPointer(capsule, b"dltensor")
        fields = ctypes.c_int32.from_address(address + ctypes.sizeof(ctypes.c_void_p))  # after the data's address
        index = ctypes.c_int32.from_address(ctypes.addressof(fields) + 4)
        self._capsule, self._device = capsule, (fields.value, index.value)

    def __dlpack__(self, **options):
        return self._capsule

    def __dlpack_device__(self):
        return self._device


@composite("torch")
@factory()
def scalar_tensor(s, *, dtype=None, device=None):
    """A 0-d tensor."""
    return filled((), s, dtype_of(dtype), device)


# --- from shapes ---------------------------------------------------------------------------------------------------


def _shape_factory(name, value, doc):
    @composite("torch", name=name, doc=doc)
    @factory(out=True)
    def make(*size_, size=None, dtype=None, device=None, memory_format=None):
        shape = sizes_given(name, "size", size_, size)
        dtype = dtype_of(dtype)
        made = filled(shape, unwritten(dtype) if value is UNWRITTEN else value, dtype, device)
        if memory_format not in (None, layouts.contiguous_format):
            made._strides = layouts.format_strides(shape, memory_format)
        return made

    return make


zeros = _shape_factory("zeros", 0, "A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``.")
ones = _shape_factory("ones", 1, "A tensor of ones: ``ones(2, 3)`` or ``ones((2, 3))``.")
empty = _shape_factory("empty", UNWRITTEN, "A tensor of unspecified content (zeros, or NaN in deterministic mode).")


@composite("torch")
@factory(out=True)
def full(size, fill_value, *, dtype=None, device=None):
    """A tensor of ``size`` filled with one number; the dtype follows the number when none is given."""
    if isinstance(fill_value, _dispatch.TENSOR):
        if dtype is None:
            dtype = fill_value.dtype
        fill_value = fill_value.item()
    d = dtype_of(dtype, dtypes.of_python(type(fill_value) if not isinstance(fill_value, np.generic) else float))
    if isinstance(fill_value, np.generic):
        fill_value = fill_value.item()
    return filled(_sizes((size,)), fill_value, d, device)


@composite("torch")
@factory()
def empty_strided(size, stride, *, dtype=None, device=None):
    """An uninitialised tensor that reports the given strides."""
    dtype = dtype_of(dtype)
    t = filled(_sizes((size,)), unwritten(dtype), dtype, device)
    t._strides = tuple(stride)
    return t


def _like(name, value, doc):
    @composite("torch", name=name, doc=doc)
    def make(
        input, *args, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None, pin_memory=False,
        **kwargs,
    ):  # fmt: skip
        fill = value
        if fill is None:
            fill = kwargs.pop("fill_value") if "fill_value" in kwargs else args[0]
        if kwargs:
            raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(kwargs))}'")
        if isinstance(fill, _dispatch.TENSOR):
            fill = fill.item()
        dtype = dtype_of(dtype, input.dtype)
        fill = unwritten(dtype) if fill is UNWRITTEN else fill
        t = filled(input.shape, fill, dtype, input.device if device is None else device)
        if input._handler is not None:
            return finish(t, requires_grad, input.layout if layout is None else layout)
        if not input.is_contiguous() and memory_format in (None, layouts.preserve_format):
            t._strides = layouts.dense_strides(tuple(input.shape), input.stride())
        return finish(t, requires_grad, layout)

    return make


zeros_like = _like("zeros_like", 0, "Zeros in the shape, dtype and device of ``input`` (or those given).")
ones_like = _like("ones_like", 1, "Ones in the shape, dtype and device of ``input`` (or those given).")
empty_like = _like("empty_like", UNWRITTEN, "A tensor of unspecified content, like ``input``; see ``empty``.")
full_like = _like("full_like", None, "``fill_value`` in the shape, dtype and device of ``input`` (or those given).")


def _new(name, like):
    @composite(name=name, doc=f"``{name[4:]}`` with this tensor's dtype and device unless given.", method=True)
    @factory()
    def make(self, *size_, size=None, dtype=None, device=None):
        shape = sizes_given(name, "size", size_, size)
        dtype = dtype_of(dtype, self.dtype)
        value = unwritten(dtype) if like is UNWRITTEN else like
        return filled(shape, value, dtype, self.device if device is None else device)

    return make


new_zeros, new_ones, new_empty = _new("new_zeros", 0), _new("new_ones", 1), _new("new_empty", UNWRITTEN)


@composite(method=True)
@factory()
def new_full(self, size, fill_value, *, dtype=None, device=None):
    """``full`` with this tensor's dtype and device unless given."""
    value = fill_value.item() if isinstance(fill_value, _dispatch.TENSOR) else fill_value
    return filled(_sizes((size,)), value, dtype_of(dtype, self.dtype), self.device if device is None else device)


@composite(method=True)
def new_empty_strided(self, size, stride, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """``empty_strided`` with this tensor's dtype and device unless given."""
    return empty_strided(
        size, stride, dtype=dtype or self.dtype, device=self.device if device is None else device,
        requires_grad=requires_grad,
    )  # fmt: skip


@composite(method=True)
def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False, layout=None, pin_memory=False):
    """``tensor(data)`` with this tensor's dtype and device unless given."""
    return tensor(
        data, dtype=dtype or self.dtype, device=self.device if device is None else device, requires_grad=requires_grad
    )


@composite(method=True)
def new(self, *args, size=None, device=None):
    """The legacy constructor with this tensor's dtype: ``new(2, 3)`` is uninitialised, ``new([1, 2])`` holds data."""
    args = args if size is None else tuple(size)
    return legacy(_dispatch.TENSOR, args, self.dtype, device or self.device)


def legacy(cls, args, dtype: dtypes.dtype, device=None):
    """``Tensor(2, 3)``, ``FloatTensor([1., 2.])``, ``LongTensor(other)``: the constructors of old."""
    if len(args) == 1 and isinstance(args[0], float):
        raise TypeError(f"new(): data must be a sequence (got {type(args[0]).__name__})")
    if len(args) == 1 and isinstance(args[0], _dispatch.TENSOR):
        t = args[0].detach()
        if cls is not _dispatch.TENSOR and t.dtype is not dtype:
            t = t.to(dtype)
    elif not args:
        t = filled((0,), 0, dtype, device)
    elif len(args) == 1 and not isinstance(args[0], int):
        data = args[0]
        if type(data).__name__ == "Size":
            t = filled(tuple(data), 0, dtype, device)
        else:
            t = _dispatch.wrap(put(np.array(to_numpy(data, dtype), order="C"), devices.resolve(device)))
    else:
        t = filled(_sizes(args), unwritten(dtype), dtype, device)
    return t if cls is _dispatch.TENSOR else t._as_subclass(cls)


def concrete_zeros(shape, dtype: dtypes.dtype, device) -> object:
    """Zeros that exist already: state made before a step is recorded is an input of the program, not part of it."""
    return _dispatch.wrap(put(np.zeros(tuple(shape), dtype.np), devices.resolve(device)))


_dispatch.concrete_zeros = concrete_zeros
