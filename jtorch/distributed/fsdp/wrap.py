"""Which submodules are wrapped in a wrapper of their own.

A policy is a function ``(module, recurse, nonwrapped_numel) -> bool``, asked twice of each module: with
``recurse=True`` whether to look into it, and, after that, with ``recurse=False`` whether to wrap it, when
``nonwrapped_numel`` of its parameters' elements lie in no inner wrapper. Or it is a :class:`ModuleWrapPolicy` or
:class:`CustomPolicy`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ... import nn


def always_wrap_policy(*args, **kwargs) -> bool:
    """Every module."""
    return True


def _module_wrap_policy(module, recurse: bool, nonwrapped_numel: int, module_classes: set[type]) -> bool:
    return recurse or isinstance(module, tuple(module_classes))


def transformer_auto_wrap_policy(
    module, recurse: bool, nonwrapped_numel: int, transformer_layer_cls: set[type]
) -> bool:
    """Modules of these classes."""
    return _module_wrap_policy(module, recurse, nonwrapped_numel, transformer_layer_cls)


def lambda_auto_wrap_policy(module, recurse: bool, nonwrapped_numel: int, lambda_fn: Callable[[Any], bool]) -> bool:
    """Modules for which ``lambda_fn(module)`` is true."""
    return recurse or lambda_fn(module)


def _or_policy(module, recurse: bool, nonwrapped_numel: int, policies) -> bool:
    """Modules that any of the policies names."""
    return any(p(module=module, recurse=recurse, nonwrapped_numel=nonwrapped_numel) for p in policies)


def size_based_auto_wrap_policy(
    module, recurse: bool, nonwrapped_numel: int, min_num_params: int = int(1e8),
    force_leaf_modules: set[type] | None = None, exclude_wrap_modules: set[type] | None = None,
) -> bool:  # fmt: skip
    """Modules with at least ``min_num_params`` parameters that lie in no inner wrapper.

    Args:
        force_leaf_modules: classes whose submodules are never wrapped (default: ``MultiheadAttention``).
        exclude_wrap_modules: classes that are never wrapped (default: ``ModuleList`` and ``ModuleDict``).
    """
    policy = size_based_auto_wrap_policy
    leaves = policy.FORCE_LEAF_MODULES if force_leaf_modules is None else force_leaf_modules
    excluded = policy.EXCLUDE_WRAP_MODULES if exclude_wrap_modules is None else exclude_wrap_modules
    return nonwrapped_numel >= min_num_params and not isinstance(module, tuple(leaves if recurse else excluded))


size_based_auto_wrap_policy.EXCLUDE_WRAP_MODULES = {nn.ModuleList, nn.ModuleDict}
size_based_auto_wrap_policy.FORCE_LEAF_MODULES = {nn.MultiheadAttention}


class _Policy:
    """Names the modules to wrap, and the arguments of each one's wrapper."""

    def _run_policy(self, root_module, ignored_modules: set, root_kwargs: dict[str, Any]) -> dict[Any, dict[str, Any]]:
        raise NotImplementedError


class ModuleWrapPolicy(_Policy):
    """Modules of these classes."""

    def __init__(self, module_classes: Iterable[type]):
        self._module_classes = set(module_classes)

    def _run_policy(self, root_module, ignored_modules, root_kwargs):
        classes = tuple(self._module_classes)
        found = (m for m in root_module.modules() if m not in ignored_modules and isinstance(m, classes))
        return {m: dict(root_kwargs) for m in found}

    def __call__(self, module, recurse: bool, *args, **kwargs) -> bool:
        return _module_wrap_policy(module, recurse, -1, self._module_classes)

    def __repr__(self) -> str:
        return f"{super().__repr__()}({self._module_classes})"


class CustomPolicy(_Policy):
    """Modules for which ``lambda_fn(module)`` is True, or a dict of arguments for the wrapper that differ.

    Raises:
        ValueError: (when it is used) the function returns something else.
    """

    def __init__(self, lambda_fn: Callable[[Any], bool | dict[str, Any]]):
        self._lambda_fn = lambda_fn

    def _run_policy(self, root_module, ignored_modules, root_kwargs):
        targets = {}
        for module in root_module.modules():
            if module in ignored_modules:
                continue
            answer = self._lambda_fn(module)
            if not isinstance(answer, dict | bool):
                raise ValueError(
                    "The lambda_fn passed to CustomPolicy should return False/True or a kwarg dict, but it returned "
                    f"{answer}"
                )
            if answer or isinstance(answer, dict):
                targets[module] = {**root_kwargs, **(answer if isinstance(answer, dict) else {})}
        return targets


# --- wrapping by hand ----------------------------------------------------------------------------------------------


class _Enabled:
    wrapper_cls: Callable | None = None
    kwargs: dict[str, Any] = {}


@contextlib.contextmanager
def enable_wrap(*, wrapper_cls: Any, **wrapper_kwargs: Any) -> Iterator[None]:
    """Within the block, :func:`wrap` wraps in ``wrapper_cls(module, **wrapper_kwargs)``.

    Raises:
        NotImplementedError: it is in force already.
    """
    if _Enabled.wrapper_cls is not None:
        raise NotImplementedError(
            "You are already within an autowrap context and we currently do not supported nested autowrap."
        )
    _Enabled.wrapper_cls, _Enabled.kwargs = wrapper_cls, wrapper_kwargs
    try:
        yield
    finally:
        _Enabled.wrapper_cls, _Enabled.kwargs = None, {}


def wrap(module, **wrap_overrides: Any):
    """The module in a wrapper, within :func:`enable_wrap`; elsewhere the module itself."""
    if _Enabled.wrapper_cls is None:
        return module
    return _wrap(module, _Enabled.wrapper_cls, **{**_Enabled.kwargs, **wrap_overrides})


def _wrap(module, wrapper_cls: Callable, **kwargs):
    return wrapper_cls(module, **{**kwargs, **getattr(module, "_wrap_overrides", {})})


# --- wrapping by policy --------------------------------------------------------------------------------------------


def auto_wrap(module, policy, wrapper_cls: Callable, ignored_modules: set, ignored_params: set, kwargs: dict) -> None:
    """Wrap submodules of ``module``, but not itself, as a policy says; inner ones first.

    Raises:
        ValueError: a submodule is wrapped already.
    """
    for name, inner in module.named_modules():
        if isinstance(wrapper_cls, type) and isinstance(inner, wrapper_cls) and inner not in ignored_modules:
            raise ValueError(
                "FSDP auto wrapping requires modules to not already have FSDP applied but found "
                f"{name or 'the module'} in\n{module}"
            )
    if isinstance(policy, _Policy):
        _wrap_targets(module, policy._run_policy(module, ignored_modules, kwargs), wrapper_cls, {module})
    else:
        _recursive_wrap(module, policy, wrapper_cls, ignored_modules, ignored_params, True, **kwargs)


def _wrap_targets(parent, targets: dict, wrapper_cls: Callable, seen: set) -> None:
    for name, child in parent.named_children():
        if child in seen:
            continue
        seen.add(child)
        _wrap_targets(child, targets, wrapper_cls, seen)
        if child in targets:
            setattr(parent, name, _wrap(child, wrapper_cls, **targets[child]))


def _recursive_wrap(
    module, auto_wrap_policy: Callable, wrapper_cls: Callable, ignored_modules: set, ignored_params: set,
    only_wrap_children: bool = False, **kwargs: Any,
):  # fmt: skip
    """The module, wrapped if the policy says so, and how many elements of its parameters now lie in wrappers."""
    size = sum(p.numel() for p in module.parameters() if not any(p is q for q in ignored_params))
    if not auto_wrap_policy(module=module, recurse=True, nonwrapped_numel=size):
        return module, 0
    inside = 0
    for name, child in module.named_children():
        if child in ignored_modules:
            continue
        wrapped, count = _recursive_wrap(
            child, auto_wrap_policy, wrapper_cls, ignored_modules, ignored_params, **kwargs
        )
        setattr(module, name, wrapped)
        inside += count
    if not only_wrap_children and auto_wrap_policy(module=module, recurse=False, nonwrapped_numel=size - inside):
        return _wrap(module, wrapper_cls, **kwargs), size
    return module, inside
