"""Settings of the compiler (``torch.compiler.config``, ``torch._dynamo.config``); ``patch`` changes them in a block."""

from __future__ import annotations

import contextlib
import sys
import types
import warnings

#: different cases (shapes, Python arguments) of one function that are captured; then it is only recorded
recompile_limit: int = 8

_ALIASES = {"cache_size_limit": "recompile_limit"}

#: settings of PyTorch's compiler that govern nothing here, with their defaults
_WITHOUT_EFFECT = {
    "capture_scalar_outputs": False,
    "accumulated_recompile_limit": 256, "accumulated_cache_size_limit": 256, "allow_unspec_int_on_nn_module": False,
    "assume_static_by_default": True, "automatic_dynamic_shapes": True, "capture_dynamic_output_shape_ops": False,
    "compiled_autograd": False, "dynamic_shapes": True, "force_disable_caches": False, "guard_nn_modules": True,
    "inline_inbuilt_nn_modules": True, "log_level": 30, "optimize_ddp": True, "skip_nnmodule_hook_guards": True,
    "specialize_float": False, "specialize_int": False, "suppress_errors": False, "verbose": False,
}  # fmt: skip


class _Config(types.ModuleType):
    """A module whose settings go by PyTorch's older names as well."""

    def __setattr__(self, name, value):
        name = _ALIASES.get(name, name)
        if name not in vars(self) and name not in _WITHOUT_EFFECT:
            warnings.warn(f"the compiler has no setting {name!r}: setting it changes nothing", stacklevel=2)
        super().__setattr__(name, value)

    def __getattr__(self, name):
        if name in _ALIASES:
            return getattr(self, _ALIASES[name])
        if name in _WITHOUT_EFFECT:
            return _WITHOUT_EFFECT[name]
        raise AttributeError(f"the compiler has no setting {name!r}")


sys.modules[__name__].__class__ = _Config


@contextlib.contextmanager
def patch(changes: dict | str | None = None, value=None, **more):
    """Inside the block (or the decorated function) the named settings have other values.

    Raises:
        AttributeError: there is no such setting.
    """
    module = sys.modules[__name__]
    changes = {changes: value} if isinstance(changes, str) else {**(changes or {}), **more}
    before = {name: getattr(module, name) for name in changes}
    for name, x in changes.items():
        setattr(module, name, x)
    try:
        yield
    finally:
        for name, x in before.items():
            setattr(module, name, x)
