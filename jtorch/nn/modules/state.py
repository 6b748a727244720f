"""A module's state as a flat dictionary, and back."""

from __future__ import annotations

import warnings
import weakref
from collections import OrderedDict, namedtuple

import jtorch

from ...tape.node import RemovableHandle, add_hook
from ...tensor import Tensor
from ...tensor.dispatch import rebind, wrap
from ..parameter import Parameter, conversion, is_lazy, private_copy

_EXTRA_STATE_KEY_SUFFIX = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What ``load_state_dict`` found missing, and what it did not know."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


def fill_from(target: Tensor, source: Tensor) -> None:
    """Make ``source`` the content of ``target``: copied at once where nothing needs converting, else recorded."""
    plain = target.dtype is source.dtype and target.shape == source.shape and target._lens is None
    if plain and not target.is_meta and not source.is_meta:
        rebind(target, wrap(private_copy(source._value(), target.device)))
    else:
        target.copy_(source)


def _swap_in(t: Tensor, new: Tensor) -> None:
    """Make ``t`` the tensor ``new``, a parameter if it was one."""
    if new is t:
        raise RuntimeError(f"module_load() of {type(t).__name__} returned the tensor itself; return a new one")
    if isinstance(t, Parameter) and not isinstance(new, Parameter):
        new = Parameter(new, requires_grad=t.requires_grad)
    else:
        new.requires_grad_(t.requires_grad)
    jtorch.utils.swap_tensors(t, new)


class _Undo:
    """The state of a module before a load, so that a refused load leaves no trace."""

    def __init__(self, module):
        self.tables = [(table, dict(table)) for m in module.modules() for table in (m._parameters, m._buffers)]
        tensors = [t for _, entries in self.tables for t in entries.values() if t is not None and not is_lazy(t)]
        tensors = [t if t._handler is None else t._stored for t in tensors]
        self.values = [(t, t._value()) for t in tensors]

    def restore(self) -> None:
        for table, entries in self.tables:
            table.clear()
            table.update(entries)
        for t, value in self.values:
            if t._value() is not value:
                rebind(t, wrap(value)) if t._lens is None else t.copy_(wrap(value))


class StateDictMixin:
    """``state_dict``, ``load_state_dict``, and the hooks and extension points of both."""

    # --- hooks

    def register_state_dict_pre_hook(self, hook) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before ``state_dict`` collects this module's state."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after; it may change the dictionary in place."""
        hook._from_public_api = True
        return add_hook(self._state_dict_hooks, hook)

    def _register_state_dict_hook(self, hook) -> RemovableHandle:
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was previously registered via "
                "register_state_dict_post_hook"
            )
        return add_hook(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)``
        before this module's state is loaded."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(self, hook, with_module: bool = False) -> RemovableHandle:
        return add_hook(self._load_state_dict_pre_hooks, _LoadPreHook(hook, self if with_module else None))

    def register_load_state_dict_post_hook(self, hook) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after a load; it may change the two lists in place."""
        return add_hook(self._load_state_dict_post_hooks, hook)

    # --- saving

    def get_extra_state(self):
        """State that is no parameter and no buffer, to go into ``state_dict``. Define ``set_extra_state`` as well."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called. Override it together with "
            "set_extra_state()."
        )

    def set_extra_state(self, state) -> None:
        """Take back what ``get_extra_state`` returned."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called. Override it together with "
            "get_extra_state()."
        )

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        for name, p in self._parameters.items():
            if p is not None:
                destination[prefix + name] = p if keep_vars else _shown(p)
        for name, b in self._buffers.items():
            if b is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = b if keep_vars else _shown(b)
        if type(self).get_extra_state is not StateDictMixin.get_extra_state:
            destination[prefix + _EXTRA_STATE_KEY_SUFFIX] = self.get_extra_state()

    def state_dict(self, *args, destination=None, prefix: str = "", keep_vars: bool = False):
        """Parameters and persistent buffers by their dotted names, in the order of registration.

        Args:
            prefix: put before each name.
            keep_vars: return the parameters themselves rather than detached tensors that share their storage.
        """
        if args:
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead: state_dict(destination=, prefix=, "
                "keep_vars=)",
                FutureWarning,
                stacklevel=2,
            )
            given = (*args, *(None, None, None)[len(args) :])
            destination = given[0] if destination is None else destination
            prefix = given[1] if given[1] is not None and prefix == "" else prefix
            keep_vars = given[2] if given[2] is not None and keep_vars is False else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            result = hook(self, destination, prefix, metadata)
            if result is None:
                continue
            if getattr(hook, "_from_public_api", False):
                raise RuntimeError("state_dict post-hook must return None")
            destination = result
        return destination

    # --- loading

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        """Load this module's own entries (not its submodules'); the lists collect what went wrong."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = {**self._parameters}
        own.update((n, b) for n, b in self._buffers.items() if n not in self._non_persistent_buffers_set)
        own = {name: t for name, t in own.items() if t is not None}
        for name, t in own.items():
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            problem = self._load_entry(name, t, key, state_dict[key], assign)
            if problem:
                error_msgs.append(problem)
        extra_key = prefix + _EXTRA_STATE_KEY_SUFFIX
        if type(self).set_extra_state is not StateDictMixin.set_extra_state:
            if extra_key in state_dict:
                self.set_extra_state(state_dict[extra_key])
            elif strict:
                missing_keys.append(extra_key)
        elif strict and extra_key in state_dict:
            unexpected_keys.append(extra_key)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra_key:
                    first, *rest = key[len(prefix) :].split(".", 1)
                    if first not in (self._modules if rest else own):
                        unexpected_keys.append(key)

    def _load_entry(self, name: str, t: Tensor, key: str, given, assign: bool) -> str | None:
        """Load one tensor; returns what was wrong, if anything was."""
        if not isinstance(given, Tensor):
            return (
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
                f"checkpoint but received {type(given)}"
            )
        lazy = is_lazy(t)
        if lazy and is_lazy(given) and not assign:
            return None  # both wait for their shape
        if not lazy and t.dim() == 0 and given.dim() == 1 and not assign:
            given = given[0]  # 0-d tensors were saved with one dimension once
        if not lazy and t.shape != given.shape:
            return (
                f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, the shape in "
                f"current model is {t.shape}."
            )
        if not lazy and t.is_meta and not given.is_meta and not assign:
            warnings.warn(
                f"for {key}: copying from a non-meta parameter in the checkpoint to a meta parameter in the current "
                "model, which is a no-op. (Did you mean to pass `assign=True` to assign items in the state dictionary "
                "to their corresponding key in the module instead of copying them in place?)",
                stacklevel=2,
            )
            return None
        try:
            with jtorch.no_grad():
                if conversion.swap and not lazy:
                    _swap_in(t, t.module_load(given, assign=assign))
                elif assign:
                    if isinstance(t, Parameter) and not isinstance(given, Parameter):
                        given = Parameter(given, requires_grad=t.requires_grad)
                    elif isinstance(t, Parameter):
                        given.requires_grad_(t.requires_grad)
                    setattr(self, name, given)
                else:
                    fill_from(t, given)
        except Exception as error:
            sizes = (f", whose dimensions in the model are {t.shape} and whose dimensions in the checkpoint are "
                     f"{given.shape}") if not lazy else ""  # fmt: skip
            return f'While copying the parameter named "{key}"{sizes}, an exception occurred : {error.args}.'
        return None

    def load_state_dict(self, state_dict, strict: bool = True, assign: bool = False):
        """Copy the tensors of ``state_dict`` into this module's parameters and buffers.

        Args:
            strict: the keys must be exactly this module's.
            assign: put the given tensors themselves in place of the module's.

        Returns:
            ``(missing_keys, unexpected_keys)``.

        Raises:
            RuntimeError: a shape differs or, with ``strict``, a key does. The module is then as it was before.
            TypeError: ``state_dict`` is no mapping.
        """
        if not hasattr(state_dict, "keys") or not hasattr(state_dict, "__getitem__"):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state_dict = OrderedDict(state_dict)
        if metadata is not None:
            state_dict._metadata = metadata
        undo = _Undo(self)

        def load(module, local, prefix=""):
            own = {} if metadata is None else metadata.get(prefix[:-1], {})
            if assign:
                own["assign_to_params_buffers"] = assign
            module._load_from_state_dict(local, prefix, own, True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    inner = f"{prefix}{name}."
                    load(child, {k: v for k, v in local.items() if k.startswith(inner)}, inner)
            keys = _IncompatibleKeys(missing, unexpected)
            for hook in module._load_state_dict_post_hooks.values():
                if hook(module, keys) is not None:
                    raise RuntimeError(
                        "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new "
                        "values; change incompatible_keys in place."
                    )

        try:
            load(self, state_dict)
            if strict:
                if unexpected:
                    errors.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
                if missing:
                    errors.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
            if errors:
                raise RuntimeError(
                    f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(errors)
                )
        except BaseException:
            with jtorch.no_grad():
                undo.restore()
            raise
        finally:
            load = None  # it refers to itself, and so to the tensors given
        return _IncompatibleKeys(missing, unexpected)


class _LoadPreHook:
    """A hook that is given its module first, where it asked to be. The module is not kept alive by its own hook."""

    def __init__(self, hook, module):
        self.hook, self.module = hook, None if module is None else weakref.ref(module)

    def __call__(self, *args):
        return self.hook(*args) if self.module is None else self.hook(self.module(), *args)

    def __getstate__(self):
        return self.hook, None if self.module is None else self.module()

    def __setstate__(self, state):
        self.__init__(*state)


def _shown(t: Tensor) -> Tensor:
    return t if is_lazy(t) else t.detach()


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{k}"' for k in keys)
