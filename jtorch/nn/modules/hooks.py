"""Hooks: functions that a module, or every module, calls around ``forward``, around its backward, and on registration.

The order of a call with hooks::

    global and own forward pre-hooks -> backward boundary on the inputs -> forward
        -> global and own forward hooks -> backward boundary on the outputs

A boundary is an identity in the graph whose backward shows the gradients that pass it to the backward hooks.
"""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict

from ...autograd.function import Function
from ...tape.node import RemovableHandle, add_hook
from ...tensor import Tensor
from ...tensor.autograd import gradient_of, tensor_of

global_forward_pre_hooks: OrderedDict = OrderedDict()
global_forward_pre_hooks_with_kwargs: OrderedDict = OrderedDict()
global_forward_hooks: OrderedDict = OrderedDict()
global_forward_hooks_with_kwargs: OrderedDict = OrderedDict()
global_forward_hooks_always_called: OrderedDict = OrderedDict()
global_backward_pre_hooks: OrderedDict = OrderedDict()
global_backward_hooks: OrderedDict = OrderedDict()
global_is_full_backward_hook: bool | None = None
#: Called with ``(module, name, what)`` when a parameter, buffer or submodule is registered anywhere.
registration_hooks: dict[str, OrderedDict] = {kind: OrderedDict() for kind in ("parameter", "buffer", "module")}


def _register(hooks: OrderedDict, hook, prepend: bool = False, **flags) -> RemovableHandle:
    """Add a hook; ``flags`` are pairs ``(table, whether to note the hook's id in it)``."""
    handle = add_hook(hooks, hook, prepend=prepend, extra_dict=[table for table, _ in flags.values()])
    for table, wanted in flags.values():
        if wanted:
            table[handle.id] = True
    return handle


# --- hooks of all modules ------------------------------------------------------------------------------------------


def register_module_forward_pre_hook(hook) -> RemovableHandle:
    """Call ``hook(module, args)`` before every module's ``forward``; what it returns replaces ``args``."""
    return _register(global_forward_pre_hooks, hook)


def register_module_forward_hook(hook, *, with_kwargs: bool = False, always_call: bool = False) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after every module's ``forward``; what it returns replaces ``output``."""
    return _register(
        global_forward_hooks, hook, kwargs=(global_forward_hooks_with_kwargs, with_kwargs),
        always=(global_forward_hooks_always_called, always_call),
    )  # fmt: skip


def register_module_full_backward_pre_hook(hook) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` before every module's backward."""
    return _register(global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` after every module's backward."""
    _set_global_kind(True)
    return _register(global_backward_hooks, hook)


def register_module_backward_hook(hook) -> RemovableHandle:
    """The older form of :func:`register_module_full_backward_hook`, which sees the last operation's gradients only."""
    _set_global_kind(False)
    return _register(global_backward_hooks, hook)


def _set_global_kind(full: bool) -> None:
    global global_is_full_backward_hook
    if global_is_full_backward_hook is (not full) and global_backward_hooks:
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook. Please use only "
            "one of them."
        )
    global_is_full_backward_hook = full


def register_module_parameter_registration_hook(hook) -> RemovableHandle:
    """Call ``hook(module, name, parameter)`` when a parameter is registered; what it returns replaces it."""
    return _register(registration_hooks["parameter"], hook)


def register_module_buffer_registration_hook(hook) -> RemovableHandle:
    """Call ``hook(module, name, buffer)`` when a buffer is registered; what it returns replaces it."""
    return _register(registration_hooks["buffer"], hook)


def register_module_module_registration_hook(hook) -> RemovableHandle:
    """Call ``hook(module, name, submodule)`` when a submodule is registered; what it returns replaces it."""
    return _register(registration_hooks["module"], hook)


def registered(kind: str, module, name: str, value):
    """``value`` after the registration hooks of its kind."""
    for hook in registration_hooks[kind].values():
        result = hook(module, name, value)
        if result is not None:
            value = result
    return value


# --- the backward boundary -----------------------------------------------------------------------------------------


class _Boundary(Function):
    """The identity; in backward, ``watch(grads)`` sees the gradients and may replace them."""

    @staticmethod
    def forward(ctx, watch, materialize, *tensors):
        ctx.watch = watch
        ctx.set_materialize_grads(materialize)
        ctx.mark_non_differentiable(*(t for t in tensors if not t.requires_grad))
        return tensors

    @staticmethod
    def backward(ctx, *grads):
        return None, None, *ctx.watch(grads)


class BackwardBoundary:
    """The two identities around one call of a module, and the user's hooks between them."""

    def __init__(self, module, hooks: list, pre_hooks: list):
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_outputs = None
        self.input_positions: list[int] = []
        self.n_inputs = self.n_outputs = 0
        self.watches_inputs = False

    def around_inputs(self, args: tuple) -> tuple:
        """``args`` with its tensors passed through the identity, where one of them requires grad."""
        self.n_inputs = len(args)
        passed, self.input_positions = self._pass(args, self._input_grads, True)
        self.watches_inputs = passed is not None
        return args if passed is None else passed

    def around_output(self, output):
        """The module's result with its tensors passed through the identity."""
        single = isinstance(output, Tensor)
        outputs = (output,) if single else output
        if not isinstance(outputs, tuple):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(output)}",
                stacklevel=4,
            )
            return output
        self.n_outputs = len(outputs)
        passed, self.output_positions = self._pass(outputs, self._output_grads, False)
        if passed is None:
            return output
        if single:
            return passed[0]
        return type(output)(*passed) if hasattr(output, "_fields") else passed

    def _pass(self, values: tuple, watch, materialize: bool):
        positions = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
        if not any(values[i].requires_grad for i in positions):
            return None, positions
        results = _Boundary.apply(watch, materialize, *(values[i] for i in positions))
        if not isinstance(results, tuple) or not results[0].requires_grad and not any(r.requires_grad for r in results):
            return None, positions  # grad mode is off
        passed = list(values)
        for i, result in zip(positions, results, strict=True):
            passed[i] = result
        return tuple(passed), positions

    @staticmethod
    def _spread(grads, positions, n):
        full = [None] * n
        for i, g in zip(positions, grads, strict=True):
            full[i] = g
        return tuple(full)

    def _replaced(self, hooks, kind: str, what: str, grads: tuple, *others) -> tuple:
        """The gradients, after each hook has had them and perhaps returned others."""
        for hook in hooks:
            result = hook(self.module, grads, *others)
            if result is None:
                continue
            result = result if isinstance(result, tuple) else (result,)
            if len(result) != len(grads):
                raise RuntimeError(
                    f"{kind} returned an invalid number of {what}, got {len(result)}, but expected {len(grads)}"
                )
            grads = result
        return grads

    def _output_grads(self, grads):
        full = self._spread(grads, self.output_positions, self.n_outputs)
        full = self._replaced(self.pre_hooks, "Backward pre hook", "grad_output", full)
        self.grad_outputs = full
        if not self.watches_inputs:
            if self.hooks:
                warnings.warn(
                    "Full backward hook is firing when gradients are computed with respect to module outputs since no "
                    "inputs require gradients.",
                    stacklevel=4,
                )
            empty = (None,) * self.n_inputs
            for hook in self.hooks:
                result = hook(self.module, empty, full)
                if result is not None and not (isinstance(result, tuple) and all(r is None for r in result)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None "
                        "for all gradients."
                    )
            self.grad_outputs = None
        return tuple(full[i] for i in self.output_positions)

    def _input_grads(self, grads):
        if self.grad_outputs is None:  # they came by another way than the output, as in a second derivative
            return grads
        full = self._spread(grads, self.input_positions, self.n_inputs)
        full = self._replaced(self.hooks, "Backward hook", "grad_input", full, self.grad_outputs)
        self.grad_outputs = None
        return tuple(full[i] for i in self.input_positions)


# --- a module's own hooks ------------------------------------------------------------------------------------------


class HooksMixin:
    """Registration of a module's hooks, and the call that runs them."""

    def register_forward_pre_hook(self, hook, *, prepend: bool = False, with_kwargs: bool = False) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``; what it returns replaces ``args``.

        Args:
            prepend: run it before the hooks there are.
            with_kwargs: call ``hook(module, args, kwargs)``, which returns None or ``(args, kwargs)``.
        """
        return _register(
            self._forward_pre_hooks, hook, prepend, kwargs=(self._forward_pre_hooks_with_kwargs, with_kwargs)
        )

    def register_forward_hook(
        self, hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``; what it returns replaces ``output``.

        Args:
            prepend: run it before the hooks there are.
            with_kwargs: call ``hook(module, args, kwargs, output)``.
            always_call: run it even when ``forward`` or another hook raised.
        """
        return _register(
            self._forward_hooks, hook, prepend, kwargs=(self._forward_hooks_with_kwargs, with_kwargs),
            always=(self._forward_hooks_always_called, always_call),
        )  # fmt: skip

    def register_full_backward_pre_hook(self, hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when gradients reach the outputs; what it returns replaces them."""
        return _register(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when gradients reach the inputs; its result replaces them."""
        self._set_backward_kind(True)
        return _register(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook) -> RemovableHandle:
        """The older form of :meth:`register_full_backward_hook`, which sees the last operation's gradients only."""
        self._set_backward_kind(False)
        return _register(self._backward_hooks, hook)

    def _set_backward_kind(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            kinds = ("full", "non-full") if full else ("non-full", "full")
            raise RuntimeError(
                f"Cannot use both regular backward hooks and full backward hooks on a single Module: a {kinds[0]} one "
                f"was given, and there are {kinds[1]} ones. Please use only one of them."
            )
        self._is_full_backward_hook = full

    def _backward_hook_lists(self):
        full, legacy = [], []
        if global_is_full_backward_hook is True:
            full += global_backward_hooks.values()
        if self._is_full_backward_hook is True:
            full += self._backward_hooks.values()
        if global_is_full_backward_hook is False:
            legacy += global_backward_hooks.values()
        if self._is_full_backward_hook is False:
            legacy += self._backward_hooks.values()
        return full, legacy

    def _call_with_hooks(self, args: tuple, kwargs: dict):
        pending = [h for h in global_forward_hooks_always_called] + [h for h in self._forward_hooks_always_called]
        if not pending:
            return self._run_hooks(args, kwargs, set())
        called: set = set()
        try:
            return self._run_hooks(args, kwargs, called)
        except Exception:
            self._run_always_called(args, kwargs, called)
            raise

    def _run_always_called(self, args, kwargs, called: set) -> None:
        tables = (
            (global_forward_hooks, global_forward_hooks_always_called, global_forward_hooks_with_kwargs),
            (self._forward_hooks, self._forward_hooks_always_called, self._forward_hooks_with_kwargs),
        )
        for hooks, always, with_kwargs in tables:
            for key, hook in list(hooks.items()):
                if key not in always or key in called:
                    continue
                try:
                    hook(self, args, kwargs, None) if key in with_kwargs else hook(self, args, None)
                except Exception as error:  # the first exception is the one to show
                    warnings.warn(
                        "module forward hook with ``always_call=True`` raised an exception that was silenced as "
                        f"another error was raised in forward: {error}",
                        stacklevel=4,
                    )

    def _run_hooks(self, args: tuple, kwargs: dict, called: set):
        args, kwargs = self._run_forward_pre_hooks(args, kwargs)
        full, legacy = self._backward_hook_lists()
        pre = [*global_backward_pre_hooks.values(), *self._backward_pre_hooks.values()]
        boundary = None
        if full or pre:
            boundary = BackwardBoundary(self, full, pre)
            args = boundary.around_inputs(args)
        result = self.forward(*args, **kwargs)
        tables = (
            (global_forward_hooks, global_forward_hooks_with_kwargs),
            (self._forward_hooks, self._forward_hooks_with_kwargs),
        )
        for hooks, with_kwargs in tables:
            for key, hook in list(hooks.items()):
                called.add(key)
                new = hook(self, args, kwargs, result) if key in with_kwargs else hook(self, args, result)
                if new is not None:
                    result = new
        if boundary is not None:
            result = boundary.around_output(result)
        if legacy:
            self._attach_legacy(result, legacy)
        return result

    def _run_forward_pre_hooks(self, args: tuple, kwargs: dict):
        tables = (
            (global_forward_pre_hooks, global_forward_pre_hooks_with_kwargs),
            (self._forward_pre_hooks, self._forward_pre_hooks_with_kwargs),
        )
        for hooks, with_kwargs in tables:
            for key, hook in list(hooks.items()):
                if key in with_kwargs:
                    result = hook(self, args, kwargs)
                    if result is None:
                        continue
                    if not (isinstance(result, tuple) and len(result) == 2):
                        raise RuntimeError(
                            f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {result}."
                        )
                    args, kwargs = result
                else:
                    result = hook(self, args)
                    if result is not None:
                        args = result if isinstance(result, tuple) else (result,)
        return args, kwargs

    def _attach_legacy(self, result, hooks) -> None:
        t = result
        while not isinstance(t, Tensor):
            if isinstance(t, dict):
                t = next((v for v in t.values() if isinstance(v, Tensor)), None)
            elif isinstance(t, (tuple, list)) and t:
                t = t[0]
            else:
                return
        if t is None or t.grad_fn is None:
            return
        for hook in hooks:
            t.grad_fn.add_hook("post_hooks", functools.partial(_run_legacy, self, hook))


def _run_legacy(module, hook, results, grads, create_graph):
    """A non-full backward hook, as a post-hook of the node that made the module's output."""
    grad_input = tuple(tensor_of(g, create_graph) for g in results)
    grad_output = tuple(tensor_of(g, create_graph) for g in grads)
    new = hook(module, grad_input, grad_output)
    if new is None:
        return results
    new = new if isinstance(new, tuple) else (new,)
    return [gradient_of(g, create_graph) for g in new]
