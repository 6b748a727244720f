"""``Module``: a tree of parameters, buffers and submodules with a ``forward``."""

from __future__ import annotations

import itertools
import types
from collections import OrderedDict

import jtorch

from ... import dtypes
from ...tensor import Tensor
from ...trace import recorder
from ..parameter import Buffer, Parameter, conversion, is_lazy
from . import hooks as _hooks
from .hooks import (
    HooksMixin,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
    registered,
)
from .state import _EXTRA_STATE_KEY_SUFFIX, StateDictMixin, _IncompatibleKeys  # noqa: F401 (PyTorch has it here too)
from .to_arguments import parse_to

_PLAIN_TABLES = ("_parameters", "_buffers", "_modules")
_HOOK_TABLES = (
    "_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip
_global_parameter_registration_hooks = _hooks.registration_hooks["parameter"]
_global_buffer_registration_hooks = _hooks.registration_hooks["buffer"]
_global_module_registration_hooks = _hooks.registration_hooks["module"]
_global_forward_pre_hooks = _hooks.global_forward_pre_hooks
_global_forward_hooks = _hooks.global_forward_hooks
_global_forward_hooks_always_called = _hooks.global_forward_hooks_always_called
_global_backward_pre_hooks = _hooks.global_backward_pre_hooks
_global_backward_hooks = _hooks.global_backward_hooks


def _type_name(x) -> str:
    """How error messages call the type of ``x``: ``torch.FloatTensor``, ``list``, ``mypackage.Thing``.

    Types and functions go by their own names.
    """
    if isinstance(x, Tensor):
        return x.type()
    kind = x if isinstance(x, (type, types.FunctionType)) else type(x)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def indented(text: str, spaces: int) -> str:
    """All lines but the first moved right."""
    return text.replace("\n", "\n" + " " * spaces)


__all__ = [
    "Module", "_IncompatibleKeys", "register_module_backward_hook", "register_module_buffer_registration_hook",
    "register_module_forward_hook", "register_module_forward_pre_hook", "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook", "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]  # fmt: skip


class Module(HooksMixin, StateDictMixin):
    """The base class of neural networks.

    Assign parameters, buffers and other modules as attributes in ``__init__`` (after ``super().__init__()``) and define
    ``forward``; calling the module runs it, with the hooks there are.

    Attributes:
        training: whether the module is in training mode (dropout drops, batch norm uses the batch).
    """

    dump_patches: bool = False
    _version: int = 1
    training: bool
    call_super_init: bool = False
    _compiled_call_impl = None

    def __init__(self, *args, **kwargs) -> None:
        if not self.call_super_init:
            if kwargs:
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
                )
            if args:
                raise TypeError(
                    f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
                )
        own = self.__dict__
        own["training"] = True
        own["_parameters"], own["_buffers"], own["_non_persistent_buffers_set"] = {}, {}, set()
        own["_is_full_backward_hook"] = None
        for name in _HOOK_TABLES:
            own[name] = OrderedDict()
        own["_modules"] = {}
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # --- calling

    def forward(self, *args, **kwargs):
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args, **kwargs):
        if self._compiled_call_impl is not None:
            return self._compiled_call_impl(*args, **kwargs)
        if not (
            self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks
            or _global_forward_hooks or _global_forward_pre_hooks or _global_backward_hooks
            or _global_backward_pre_hooks
        ):  # fmt: skip
            return self.forward(*args, **kwargs)
        return self._call_with_hooks(args, kwargs)

    def _call_impl(self, *args, **kwargs):
        return self._call_with_hooks(args, kwargs)

    _wrapped_call_impl = __call__

    def compile(self, *args, **kwargs) -> None:
        """Replace this module's call by a compiled one; the arguments are those of ``jtorch.compile``."""
        self._compiled_call_impl = jtorch.compile(self._call_impl, *args, **kwargs)

    # --- registration

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (or None, to reserve the name).

        Raises:
            TypeError, KeyError, ValueError: the name or the value cannot be one.
        """
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name(name, "parameter", self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{_type_name(param)}' object to parameter '{name}' (torch.nn.Parameter or None "
                    "required)"
                )
            if param._edge is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                    "explicitly. "
                    f"To express '{name}' as a function of another Tensor, compute the value in the forward() method."
                )
            if _hooks.registration_hooks["parameter"]:
                param = registered("parameter", self, name, param)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that moves with the module but is no parameter.

        Args:
            persistent: whether it belongs to ``state_dict``.

        Raises:
            TypeError, KeyError: the name or the value cannot be one.
        """
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name(name, "buffer", self._buffers)
        if tensor is not None and not (isinstance(tensor, Tensor) or hasattr(tensor, "__torch_function__")):
            raise TypeError(
                f"cannot assign '{_type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        if _hooks.registration_hooks["buffer"]:
            tensor = registered("buffer", self, name, tensor)
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule (or None, to reserve the name).

        Raises:
            TypeError, KeyError: the name or the value cannot be one.
        """
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{_type_name(module)} is not a Module subclass")
        self._check_name(name, "module", self._modules)
        if _hooks.registration_hooks["module"]:
            module = registered("module", self, name, module)
        self._modules[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """Alias of :meth:`add_module`."""
        self.add_module(name, module)

    def _check_name(self, name, kind: str, table: dict) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_type_name(name)}")
        if hasattr(self, name) and name not in table:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."' + (f", got: {name}" if kind == "module" else ""))
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')

    # --- attributes

    def __setattr__(self, name: str, value) -> None:
        own = self.__dict__
        parameters = own.get("_parameters")
        if isinstance(value, Tensor) and value._is_param:
            if parameters is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, own, own["_buffers"], own["_modules"])
            self.register_parameter(name, value)
        elif parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            if parameters is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, own, parameters, own["_buffers"])
            own["_modules"][name] = (
                registered("module", self, name, value) if _hooks.registration_hooks["module"] else value
            )
        elif parameters is None:
            if isinstance(value, Buffer):
                raise AttributeError("cannot assign buffer before Module.__init__() call")
            object.__setattr__(self, name, value)
        elif name in own["_modules"]:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            own["_modules"][name] = (
                registered("module", self, name, value) if _hooks.registration_hooks["module"] else value
            )
        elif name in own["_buffers"] or isinstance(value, Tensor) and isinstance(value, Buffer):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None "
                    "expected)"
                )
            if isinstance(value, Buffer):
                self._forget(name, parameters, own["_modules"])  # and no other attribute, which refuses the name
                persistent = value.persistent
            else:
                persistent = name not in own["_non_persistent_buffers_set"]
            # Subclasses' register_buffer may know no such argument.
            self.register_buffer(name, value, *(() if persistent else (False,)))
        else:
            object.__setattr__(self, name, value)

    def _forget(self, name: str, *tables) -> None:
        for table in tables:
            if name in table:
                del table[name]
        self._non_persistent_buffers_set.discard(name)

    def __getattr__(self, name: str):
        own = self.__dict__
        if "_parameters" in own:
            table = own["_parameters"]
            if name in table:
                return table[name]
            table = own["_modules"]
            if name in table:
                return table[name]
            table = own["_buffers"]
            if name in table:
                return table[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for table in _PLAIN_TABLES:
            if name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
                if table == "_buffers":
                    self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self):
        names = {*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers}
        return sorted(n for n in names if not n[:1].isdigit())

    def __setstate__(self, state: dict) -> None:
        own = self.__dict__
        own.update(state)
        for name in _HOOK_TABLES:  # modules pickled by older versions lack some
            if name not in own:
                own[name] = OrderedDict()
        own.setdefault("_non_persistent_buffers_set", set())
        own.setdefault("_is_full_backward_hook", None)

    def __getstate__(self) -> dict:
        state = dict(self.__dict__)
        state.pop("_compiled_call_impl", None)
        return state

    # --- the tree

    def named_modules(self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True):
        """Yield ``(dotted name, module)`` for this module and all below it, depth first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True):
        """Yield this module and all below it, each once (or, without ``remove_duplicate``, at each of its places)."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self):
        """Yield ``(name, module)`` for the direct submodules, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self):
        """Yield the direct submodules, each once."""
        for _, module in self.named_children():
            yield module

    def _named_members(self, get_members_fn, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True):
        seen = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, value in get_members_fn(module):
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True):
        """Yield ``(dotted name, parameter)``, in the order of registration.

        Args:
            prefix: put before each name.
            recurse: include those of submodules.
            remove_duplicate: yield a shared parameter once.
        """
        yield from self._named_members(lambda m: m._parameters.items(), prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True):
        """Yield the parameters, each once."""
        for _, p in self.named_parameters(recurse=recurse):
            yield p

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True):
        """Yield ``(dotted name, buffer)``; the arguments are those of :meth:`named_parameters`."""
        yield from self._named_members(lambda m: m._buffers.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True):
        """Yield the buffers, each once."""
        for _, b in self.named_buffers(recurse=recurse):
            yield b

    def get_submodule(self, target: str) -> Module:
        """The submodule called ``target`` (``"layer1.0.conv"``); the empty name is this module.

        Raises:
            AttributeError: there is none, or it is no module.
        """
        found = self
        for item in target.split(".") if target else ():
            if not hasattr(found, item):
                raise AttributeError(f"{found._get_name()} has no attribute `{item}`")
            found = getattr(found, item)
            if not isinstance(found, Module):
                raise AttributeError(f"`{item}` is not an nn.Module")
        return found

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put ``module`` in the place called ``target`` (with ``strict``, only where there is a module already).

        Raises:
            ValueError: the name is empty, or ``module`` is no module.
            AttributeError: the parent, or with ``strict`` the place itself, does not exist.
        """
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def _get_member(self, target: str):
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        return module, name, getattr(module, name)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter called ``target``.

        Raises:
            AttributeError: there is none.
        """
        _, name, found = self._get_member(target)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer called ``target``.

        Raises:
            AttributeError: there is none.
        """
        module, name, found = self._get_member(target)
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return found

    # --- modes

    def train(self, mode: bool = True):
        """Set training mode here and below; returns self. What was recorded before a training loop is started."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        if mode:
            recorder.boundary("train()")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self):
        """``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True):
        """Set ``requires_grad`` of every parameter; returns self."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of every parameter (or fill them with zeros)."""
        for p in self.parameters():
            if p.grad is None:
                continue
            if set_to_none:
                p.grad = None
            else:
                p.grad = p.grad.detach()
                p.grad.zero_()

    def apply(self, fn):
        """Call ``fn`` on every module, submodules first; returns self."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # --- device and dtype

    def _apply(self, fn, recurse: bool = True):
        """Replace the content of every parameter, its gradient, and every buffer by ``fn`` of it.

        Parameters keep their identity, so optimizers and other holders see the change.
        """
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, p in self._parameters.items():
            if p is None:
                continue
            with jtorch.no_grad():
                new = fn(p)
            if new is not p and conversion.overwrite and not conversion.swap:
                grad, p = p._grad, Parameter(new, p.requires_grad)
                p._grad, self._parameters[name] = grad, p
            elif new is not p and conversion.swap and type(new) is not Tensor:  # a subclass that conversion changes
                jtorch.utils.swap_tensors(p, Parameter(new, p.requires_grad))
            elif new is not p:
                p.data = new
                p._accumulator = None  # it remembers the dtype and device the parameter had
            if p._grad is not None:
                with jtorch.no_grad():
                    grad = fn(p._grad)
                if grad is not p._grad:
                    p._grad = grad
        for name, b in self._buffers.items():
            if is_lazy(b):
                b.data = fn(b)  # and lazy it stays
            elif b is not None:
                self._buffers[name] = fn(b)
        return self

    def to(self, *args, **kwargs):
        """Move and convert: ``to(device)``, ``to(dtype)``, ``to(device, dtype)``, ``to(tensor)``; returns self.

        Only floating and complex parameters and buffers change their dtype.

        Raises:
            TypeError: the dtype is an integer one.
        """
        device, dtype, non_blocking, memory_format = parse_to(*args, **kwargs)
        if dtype is not None and dtype.category < dtypes.FLOAT:
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )

        def convert(t):
            target = dtype if dtype is not None and t.dtype.category >= dtypes.FLOAT else None
            if memory_format is not None and not is_lazy(t) and t.dim() in (4, 5):
                return t.to(device=device, dtype=target, non_blocking=non_blocking, memory_format=memory_format)
            return t.to(device=device, dtype=target, non_blocking=non_blocking)

        return self._apply(convert)

    def to_empty(self, *, device, recurse: bool = True):
        """Move to ``device`` without copying the content, which is then uninitialised; returns self."""
        return self._apply(lambda t: jtorch.empty_like(t, device=device), recurse=recurse)

    def cpu(self):
        """Move to host memory; returns self."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device=None):
        """Move to a GPU; returns self."""
        return self._apply(lambda t: t.cuda(device))

    def xpu(self, device=None):
        """Raises RuntimeError where there are parameters: there is no such device."""
        return self._apply(lambda t: t.xpu(device))

    def mtia(self, device=None):
        """Raises RuntimeError where there are parameters: there is no such device."""
        return self._apply(lambda t: t.mtia(device))

    def ipu(self, device=None):
        """Raises RuntimeError where there are parameters: there is no such device."""
        return self._apply(lambda t: t.ipu(device))

    def type(self, dst_type):
        """Convert every parameter and buffer to a dtype; returns self."""
        return self._apply(lambda t: t.type(dst_type))

    def _floating_to(self, dtype):
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self):
        """Floating parameters and buffers as float32; returns self."""
        return self._floating_to(dtypes.float32)

    def double(self):
        """Floating parameters and buffers as float64; returns self."""
        return self._floating_to(dtypes.float64)

    def half(self):
        """Floating parameters and buffers as float16; returns self."""
        return self._floating_to(dtypes.float16)

    def bfloat16(self):
        """Floating parameters and buffers as bfloat16; returns self."""
        return self._floating_to(dtypes.bfloat16)

    def share_memory(self):
        """Self: tensors are sent between processes by value."""
        return self._apply(lambda t: t.share_memory_())

    # --- printing

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What to print between the parentheses, beside the submodules."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        child_lines = [f"({name}): {indented(repr(module), 2)}" for name, module in self._modules.items()]
        if not child_lines and len(extra_lines) < 2:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join(itertools.chain(extra_lines, child_lines)) + "\n)"
