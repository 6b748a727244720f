"""A compiled module: a module around the original one."""

from __future__ import annotations

from copy import deepcopy

from ..nn.modules.module import Module


class OptimizedModule(Module):
    """What ``compile`` makes of a module: it behaves like the original, which is ``_orig_mod``.

    Parameters are the original's, and ``state_dict`` keys start with ``_orig_mod.``; attributes are read from and
    written to the original.
    """

    def __init__(self, mod: Module, function):
        super().__init__()
        self.__dict__.pop("training")
        self._modules["_orig_mod"] = mod
        self.__dict__["_compiled"] = function

    def __call__(self, *args, **kwargs):
        return self._compiled(*args, **kwargs)

    @property
    def forward(self):
        return self._compiled

    @property
    def training(self) -> bool:
        return self._modules["_orig_mod"].training

    @training.setter
    def training(self, value: bool) -> None:
        self._modules["_orig_mod"].training = value

    def __getattr__(self, name: str):
        if name == "_orig_mod":
            return self._modules["_orig_mod"]
        return getattr(self._modules["_orig_mod"], name)

    def __setattr__(self, name: str, value) -> None:
        if name == "training":
            object.__setattr__(self, name, value)
        elif name in ("forward", "_orig_mod"):
            raise AttributeError(f"'{name}' of a compiled module cannot be replaced: change the original, _orig_mod")
        else:
            setattr(self._modules["_orig_mod"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._modules["_orig_mod"], name)

    def __dir__(self):
        return sorted({*super().__dir__(), *dir(self._modules["_orig_mod"])})

    def __getitem__(self, index):
        return self._modules["_orig_mod"][index]

    def __len__(self) -> int:
        return len(self._modules["_orig_mod"])

    def __iter__(self):
        return iter(self._modules["_orig_mod"])

    def __deepcopy__(self, memo):
        mod = deepcopy(self._modules["_orig_mod"], memo)
        return OptimizedModule(mod, self._compiled.around(mod))

    def __reduce__(self):
        how = self._compiled
        return _rebuilt, (self._modules["_orig_mod"], how._fullgraph, how._capture, how._dynamic)

    def extra_repr(self) -> str:
        return ""


def _rebuilt(mod, fullgraph, capture, dynamic=None):
    from .function import CompiledFunction

    return OptimizedModule(mod, CompiledFunction(mod, fullgraph, type(mod).__name__, capture, dynamic=dynamic))
