"""The finder that answers for ``torch`` and ``torch.*``, and for ``functorch``, which comes with PyTorch.

Submodules are jtorch's own module objects under a second name: ``torch.nn is jtorch.nn``. Only the top one is an object
of its own, because one attribute must differ: ``torch.__version__`` is PyTorch's number, which programs check, while
``jtorch.__version__`` is jtorch's.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
from importlib.machinery import ModuleSpec

import jtorch

from .version import TorchVersion

NAME = "torch"


class TorchModule(types.ModuleType):
    """The module ``torch``: jtorch's attributes but for ``__version__`` and its like. What is set here is set there."""

    def __init__(self):
        super().__init__(NAME, jtorch.__doc__)
        # A copy, because looking each name up in jtorch would cost every `torch.relu` half a microsecond. Submodules
        # that jtorch imports later are found by __getattr__.
        self.__dict__.update({name: value for name, value in vars(jtorch).items() if not name.startswith("__")})
        self.__dict__.update(
            __version__=TorchVersion(jtorch.version.torch_api),
            __file__=jtorch.__file__,
            __path__=[],  # the finder below answers for submodules; nothing is to be looked up in folders
            __getattr__=functools.partial(getattr, jtorch),
        )

    def __reduce__(self):
        return importlib.import_module, (NAME,)

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if not name.startswith("__"):
            setattr(jtorch, name, value)

    def __delattr__(self, name):
        super().__delattr__(name)
        delattr(jtorch, name)

    def __dir__(self):
        return sorted({*dir(jtorch), *self.__dict__})


class _Loader:
    """Hands out a module that exists; leaves its ``__spec__`` as it was."""

    def create_module(self, spec):
        if spec.name == NAME:
            return TorchModule()
        module = importlib.import_module(_ours(spec.name))
        self.spec = module.__spec__
        for name in _FUNCTIONS_TOO.get(spec.name, ()):
            sys.modules[f"{spec.name}.{name}"] = importlib.import_module(f"{module.__name__}.{name}")
        return module

    def get_code(self, fullname):
        """The module's code, for ``python -m torch.x``."""
        return importlib.util.find_spec(_ours(fullname)).loader.get_code(_ours(fullname))

    def exec_module(self, module):
        if not isinstance(module, TorchModule):
            module.__spec__ = self.spec


#: Modules whose package has a function of that name: known from the start, so that importing them replaces nothing.
_FUNCTIONS_TOO = {
    "torch.autograd": ("gradcheck",),
    "torch.ao.quantization": ("fuse_modules", "quantize"),
    "torch.quantization": ("fuse_modules", "quantize"),
}


class TorchFinder:
    """A meta-path finder: ``torch.x.y`` is ``jtorch.x.y``, and ``functorch``, which comes with PyTorch, is jtorch's."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname == NAME:
            return ModuleSpec(NAME, _Loader(), origin=jtorch.__file__, is_package=True)
        if not fullname.startswith((NAME + ".", "functorch.")) and fullname != "functorch":
            return None
        found = importlib.util.find_spec(_ours(fullname))
        if found is None:
            return None
        # jtorch has files named like functions (nn/functional/dropout.py). Importing one as a submodule would put the
        # module in the function's place.
        parent, _, name = _ours(fullname).rpartition(".")
        if not isinstance(getattr(sys.modules[parent], name, None), (types.ModuleType, types.NoneType)):
            raise ModuleNotFoundError(f"No module named {fullname!r}: in {parent} it is not a module", name=fullname)
        spec = ModuleSpec(fullname, _Loader(), origin=found.origin)
        spec.submodule_search_locations = found.submodule_search_locations
        return spec


#: Packages under their older names, and where they are.
_MOVED = {name: f"ao.{name}" for name in ("nn.intrinsic", "nn.qat", "nn.quantized", "quantization")}


def _ours(fullname: str) -> str:
    if fullname == NAME:
        return "jtorch"
    name = fullname.removeprefix(NAME + ".")
    for old, new in _MOVED.items():
        if name == old or name.startswith(old + "."):
            name = new + name[len(old) :]
    return f"jtorch.{name}"


#: Classes that say where PyTorch has them: libraries for several frameworks go by ``type(x).__module__``.
_SAID_TO_BE_IN = {
    jtorch.Tensor: "torch", jtorch.Size: "torch", jtorch.dtype: "torch", jtorch.device: "torch",
    jtorch.nn.Parameter: "torch.nn.parameter",
}  # fmt: skip


def install() -> None:
    """From now on ``import torch`` gives jtorch in this process.

    Raises:
        RuntimeError: PyTorch itself has been imported already.
    """
    present = sys.modules.get(NAME)
    if present is not None and not isinstance(present, TorchModule):
        raise RuntimeError(f"{NAME!r} is already imported from {present.__file__}; call install() before that")
    for cls, module in _SAID_TO_BE_IN.items():
        cls.__module__ = module
    if not any(isinstance(finder, TorchFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchFinder())
