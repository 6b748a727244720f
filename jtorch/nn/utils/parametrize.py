"""Parametrizations: a module's tensor computed from others by a module, at each use."""

from __future__ import annotations

import copy
from contextlib import contextmanager, suppress

import jtorch

from ...tensor import Tensor
from ..modules.container import ModuleDict, ModuleList
from ..parameter import Parameter

_cache: dict = {}
_cache_depth = 0


@contextmanager
def cached():
    """Within the context each parametrized tensor is computed once."""
    global _cache_depth
    _cache_depth += 1
    try:
        yield
    finally:
        _cache_depth -= 1
        if not _cache_depth:
            _cache.clear()


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, applied in order to ``original`` (or ``original0``, ``original1``, ...)."""

    def __init__(self, modules, original, unsafe: bool = False):
        modules = list(modules)
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        new, shape, dtype = original, original.shape, original.dtype
        with jtorch.no_grad():
            for module in reversed(self):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):  # then the value itself is where it starts
                        new = module.right_inverse(new)
        if not isinstance(new, (Tensor, tuple, list)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got "
                f"{type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            if original.dtype is not new.dtype and not unsafe:
                raise ValueError(f"When `right_inverse` outputs one tensor, it may not change the dtype: {new.dtype}")
            with jtorch.no_grad():
                if new.shape == original.shape:
                    original.copy_(new)
                else:
                    original.data = new
            _register(self, "original", original)
        else:
            for i, t in enumerate(new):
                if not isinstance(t, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got element "
                        f"{i} of the sequence with type {type(t).__name__}."
                    )
                t = Parameter(t) if isinstance(original, Parameter) else t
                t.requires_grad_(original.requires_grad)
                _register(self, f"original{i}", t)
        if not unsafe:
            _check_kept(self(), shape, dtype)

    def _originals(self):
        if self.is_tensor:
            return (self.original,)
        return tuple(getattr(self, f"original{i}") for i in range(self.ntensors))

    def right_inverse(self, value) -> None:
        """Set the originals so that the parametrized tensor is ``value``.

        Raises:
            RuntimeError: a parametrization has no ``right_inverse``.
        """
        with jtorch.no_grad():
            for module in reversed(self):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
            values = (value,) if self.is_tensor else tuple(value)
            if len(values) != self.ntensors:
                raise ValueError(f"'right_inverse' must return {self.ntensors} tensors. Got {len(values)}.")
            for original, new in zip(self._originals(), values, strict=True):
                original.copy_(new) if original.shape == new.shape else setattr(original, "data", new)

    def forward(self):
        first, *others = list(self)
        x = first(*self._originals())
        for module in others:
            x = module(x)
        return x


def _check_kept(result, shape, dtype) -> None:
    """Check what a parametrization returned for a tensor of that shape and dtype.

    Raises:
        ValueError: something else than such a tensor.
    """
    if not isinstance(result, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(result).__name__}.")
    for what, before, after in (("dtype", dtype, result.dtype), ("shape", tuple(shape), tuple(result.shape))):
        if before != after:
            raise ValueError(
                f"Registering a parametrization may not change the {what} of the tensor, unless `unsafe` flag is "
                f"enabled: {before} became {after}"
            )


def _check_inverse(value, before) -> None:
    """Check what a further parametrization's ``right_inverse`` made of such a tensor as ``before``.

    Raises:
        ValueError: something else than such a tensor.
    """
    if not isinstance(value, Tensor):
        raise ValueError(f"parametrization.right_inverse must return a tensor. Got: {type(value).__name__}")
    for what, expected, got in (("dtype", before.dtype, value.dtype), ("shape", before.shape, value.shape)):
        if expected != got:
            raise ValueError(
                f"The tensor returned by parametrization.right_inverse must have the same {what} as the parametrized "
                f"one, unless the `unsafe` flag is enabled: {expected} became {got}"
            )


def _register(module, name: str, t) -> None:
    if isinstance(t, Parameter):
        module.register_parameter(name, t)
    else:
        module.register_buffer(name, t)


def is_parametrized(module, tensor_name: str | None = None) -> bool:
    """Whether ``module`` (or its tensor of that name) is parametrized."""
    table = module.__dict__.get("_modules", {}).get("parametrizations")
    if table is None or not isinstance(table, ModuleDict):
        return False
    return bool(len(table)) if tensor_name is None else tensor_name in table


def type_before_parametrizations(module) -> type:
    """The class of ``module`` without its parametrizations."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def _parametrized_class(module) -> None:
    """Give ``module`` a class of its own, to which properties can be added."""
    base = type(module)

    def deepcopy(self, memo):
        found = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = base.__new__(type(self))
            for key, value in self.__dict__.items():
                found.__dict__[key] = copy.deepcopy(value, memo)
        return found

    def getstate(self):
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). See: "
            "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
        )

    body = {"__getstate__": getstate}
    if not hasattr(base, "__deepcopy__"):
        body["__deepcopy__"] = deepcopy
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), body)


def _add_property(module, name: str) -> None:
    def read(self):
        if not _cache_depth:
            return self.parametrizations[name]()
        key = (id(self), name)
        found = _cache.get(key)
        if found is None:
            found = _cache[key] = self.parametrizations[name]()
        return found

    def write(self, value) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(read, write))


def register_parametrization(module, tensor_name: str, parametrization, *, unsafe: bool = False):
    """Let ``module.<tensor_name>`` be ``parametrization(original)`` from now on; returns the module.

    The original tensor becomes ``module.parametrizations.<tensor_name>.original``. A ``right_inverse`` method of the
    parametrization computes it from a value assigned to the tensor.

    Args:
        unsafe: skip the checks that shape and dtype stay.

    Raises:
        ValueError: there is no such parameter or buffer, or a check fails.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            before = getattr(module, tensor_name)
            after = parametrization(before)
            _check_kept(after, before.shape, before.dtype)
            if hasattr(parametrization, "right_inverse"):
                with suppress(NotImplementedError):
                    _check_inverse(parametrization.right_inverse(after), before)
        module.parametrizations[tensor_name].append(parametrization)
        module.parametrizations[tensor_name].unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        originals = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _parametrized_class(module)
            module.parametrizations = ModuleDict()
        _add_property(module, tensor_name)
        module.parametrizations[tensor_name] = originals
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    return module


def remove_parametrizations(module, tensor_name: str, leave_parametrized: bool = True):
    """Make ``tensor_name`` an ordinary parameter or buffer again; returns the module.

    Args:
        leave_parametrized: keep its present value (else the original's, where there is one).

    Raises:
        ValueError: it is not parametrized, or the original cannot be left.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    table = module.parametrizations[tensor_name]
    if table.is_tensor:
        original = table.original
        if leave_parametrized:
            with jtorch.no_grad():
                value = getattr(module, tensor_name)
            with jtorch.no_grad():
                original.copy_(value) if original.shape == value.shape else setattr(original, "data", value)
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value.detach()
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def transfer_parametrizations_and_params(from_module, to_module, tensor_name: str | None = None):
    """Give ``to_module`` the parametrizations of ``from_module``, and the tensors they compute from."""
    if is_parametrized(from_module):
        for name in list(from_module.parametrizations) if tensor_name is None else [tensor_name]:
            if not hasattr(to_module, name):
                setattr(to_module, name, copy.deepcopy(from_module.parametrizations[name].original))
            for p in from_module.parametrizations[name]:
                register_parametrization(to_module, name, p, unsafe=True)
            for mine, theirs in zip(
                to_module.parametrizations[name]._originals(), from_module.parametrizations[name]._originals(),
                strict=True,
            ):  # fmt: skip
                with jtorch.no_grad():
                    mine.copy_(theirs)
    return to_module
