"""``checkpoint_wrapper``: a module whose activations are computed again in the backward pass.

Names of parameters stay as they were: ``state_dict`` and ``named_parameters`` leave the wrapper's own part out.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable

from ....nn.modules.module import Module
from ....utils.checkpoint import checkpoint
from ...fsdp.wrap import _recursive_wrap

_CHECKPOINT_PREFIX = "_checkpoint_wrapped_module."
_CHECKPOINT_WRAPPED_MODULE = "_checkpoint_wrapped_module"


class CheckpointImpl(enum.Enum):
    """The two variants of :func:`jtorch.utils.checkpoint.checkpoint`."""

    REENTRANT = enum.auto()
    NO_REENTRANT = enum.auto()


class CheckpointWrapper(Module):
    """Runs a module under a checkpoint; attributes and items that it lacks are the module's.

    Args:
        mod: the module.
        checkpoint_impl: which variant of ``checkpoint``.
        checkpoint_fn: what to use instead of ``checkpoint``, called with the module and its arguments.
        checkpoint_fn_kwargs: given to either.
    """

    def __init__(
        self, mod: Module, checkpoint_impl: CheckpointImpl = CheckpointImpl.NO_REENTRANT,
        checkpoint_fn: Callable | None = None, **checkpoint_fn_kwargs,
    ):  # fmt: skip
        super().__init__()
        self._checkpoint_wrapped_module = mod
        self.checkpoint_impl = checkpoint_impl
        if checkpoint_fn is None:
            reentrant = checkpoint_impl is CheckpointImpl.REENTRANT
            checkpoint_fn = functools.partial(checkpoint, use_reentrant=reentrant)
        self.checkpoint_fn = functools.partial(checkpoint_fn, **checkpoint_fn_kwargs)
        self.register_state_dict_post_hook(_without_prefix)
        self.register_load_state_dict_pre_hook(_with_prefix)

    def forward(self, *args, **kwargs):
        return self.checkpoint_fn(self._checkpoint_wrapped_module, *args, **kwargs)

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._checkpoint_wrapped_module, name)

    def __getitem__(self, key):
        return self._checkpoint_wrapped_module[key]

    def named_parameters(self, *args, **kwargs):
        for name, parameter in super().named_parameters(*args, **kwargs):
            yield name.replace(_CHECKPOINT_PREFIX, ""), parameter


def _without_prefix(module, state: dict, prefix: str, *_) -> None:
    _renamed(state, prefix + _CHECKPOINT_PREFIX, prefix)


def _with_prefix(module, state: dict, prefix: str, *_) -> None:
    _renamed(state, prefix, prefix + _CHECKPOINT_PREFIX)


def _renamed(state: dict, old: str, new: str) -> None:
    """Give what begins with ``old`` a name that begins with ``new``, in place and in order."""
    for key in list(state):
        value = state.pop(key)
        state[new + key[len(old) :] if key.startswith(old) else key] = value


def checkpoint_wrapper(
    module: Module, checkpoint_impl: CheckpointImpl = CheckpointImpl.NO_REENTRANT,
    checkpoint_fn: Callable | None = None, **checkpoint_fn_kwargs,
) -> Module:  # fmt: skip
    """The module in a :class:`CheckpointWrapper`."""
    return CheckpointWrapper(module, checkpoint_impl, checkpoint_fn, **checkpoint_fn_kwargs)


def apply_activation_checkpointing(
    model: Module, checkpoint_wrapper_fn: Callable = checkpoint_wrapper,
    check_fn: Callable[[Module], bool] = lambda _: True, auto_wrap_policy: Callable | None = None,
) -> None:  # fmt: skip
    """Wrap submodules of ``model`` in place, the inner ones first.

    Args:
        checkpoint_wrapper_fn: makes the wrapper of a module.
        check_fn: which modules to wrap.
        auto_wrap_policy: the same as one of ``jtorch.distributed.fsdp.wrap``'s functions; ``model`` is not wrapped.
    """
    if auto_wrap_policy is not None:
        _recursive_wrap(model, auto_wrap_policy, checkpoint_wrapper_fn, set(), set(), only_wrap_children=True)
        return
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and check_fn(child) and not isinstance(child, CheckpointWrapper):
                parent._modules[name] = checkpoint_wrapper_fn(child)
