"""``torch.fx.graph_module``: a module whose ``forward`` is generated from a graph."""

from __future__ import annotations

import copy
import itertools
import linecache
from typing import Any

import jtorch

from ..nn.modules.module import Module
from .codegen import PythonCode, known_globals
from .graph import Graph
from .pytree_codegen import _PyTreeCodeGen

__all__ = ["GraphModule"]
#: A key of ``meta``: its dict of attributes is set on deep copies too.
_USER_PRESERVED_ATTRIBUTES_KEY = "_user_preserved_attributes"
FX_GRAPH_MODULE_FILE_PREFIX = "fx_generated_"
_numbers = itertools.count()


class _CodeOnlyModule(Module):
    """A module that is nothing but its attributes: what graphs are traced from when a GraphModule is copied."""

    def __init__(self, body: dict):
        super().__init__()
        self.__dict__.update(body)


def _forward_from_src(src: str, globals: dict[str, Any], co_fields=None):
    """The function ``forward`` of generated text. Its lines are shown in tracebacks."""
    filename = f"<eval_with_key>.{next(_numbers)}"
    linecache.cache[filename] = (len(src), None, src.splitlines(True), filename)
    place = {**known_globals(), **globals, "__builtins__": __builtins__}
    exec(compile(src, filename, "exec"), place)
    return place["forward"]


def _parent(module: Module, path: str, make: bool = False) -> tuple[Module, str]:
    """``(module, name)`` of what stands at a path; modules on the way are made if asked to."""
    *names, last = path.split(".")
    for name in names:
        if make and not hasattr(module, name):
            setattr(module, name, Module())
        module = getattr(module, name)
    return module, last


def _get_attr(module: Module, path: str):
    """What stands at a path."""
    place, name = _parent(module, path)
    return getattr(place, name)


def _assign_attr(value, module: Module, path: str) -> None:
    """Put ``value`` at a path; a tensor that is no parameter becomes a buffer."""
    place, name = _parent(module, path, make=True)
    if isinstance(value, jtorch.Tensor) and not isinstance(value, jtorch.nn.Parameter):
        place.register_buffer(name, value)
    else:
        setattr(place, name, value)


def _copy_attr(source: Module, to: Module, path: str) -> None:
    """Make what stands at a path in ``source`` stand there in ``to``, if it stands nowhere yet."""
    try:
        origin, name = _parent(source, path)
        value = getattr(origin, name)
    except AttributeError:
        if path.rpartition(".")[0]:
            raise
        raise AttributeError(f"'{type(source).__name__}' object has no attribute '{path}'") from None
    place, name = _parent(to, path, make=True)
    if name in place._modules and value is not place._modules[name] and isinstance(value, Module):
        for inner in list(place._modules[name]._modules):  # a module within it was copied first
            if inner not in value._modules:
                setattr(value, inner, place._modules[name]._modules[inner])
    if isinstance(value, jtorch.Tensor) and not isinstance(value, jtorch.nn.Parameter):
        persistent = name not in origin._non_persistent_buffers_set if name in origin._buffers else True
        place.register_buffer(name, value, persistent=persistent)
    else:
        setattr(place, name, value)


class GraphModule(Module):
    """A module whose ``forward`` is generated from a :class:`Graph`.

    Args:
        root: where the parameters, buffers and modules that the graph refers to are taken from: a module, or a dict of
            them by path.
        graph: the program. The module has a copy of the reference, not of the graph.
        class_name: the name of the class, for ``print``.

    After the graph was changed, :meth:`recompile` makes the change take effect.

    Raises:
        RuntimeError, AttributeError: the graph refers to what ``root`` does not have.
    """

    def __new__(cls, *args, **kwargs):
        # Each instance is of a class of its own, because forward belongs to the class.
        base = next(c for c in cls.__mro__ if c.__dict__.get("_is_instance_class") is None)
        made = type("GraphModuleImpl", (base,), {"_is_instance_class": True, "__module__": base.__module__})
        return super().__new__(made)

    def __init__(self, root: Module | dict[str, Any], graph: Graph, class_name: str = "GraphModule"):
        super().__init__()
        type(self).__name__ = class_name
        self.meta: dict[str, Any] = {}
        paths = [n.target for n in graph.nodes if n.op in ("get_attr", "call_module")]
        if isinstance(root, Module):
            self.training = root.training
            for path in dict.fromkeys(paths):
                _copy_attr(root, self, path)
            self.meta = dict(getattr(root, "meta", None) or {}) if isinstance(root, GraphModule) else {}
        elif isinstance(root, dict):
            for node in graph.nodes:
                if node.op in ("get_attr", "call_module") and node.target not in root:
                    raise RuntimeError(
                        f"Node {node} referenced target {node.target} but that target was not provided in ``root``!"
                    )
            for path in sorted(dict.fromkeys(paths), key=lambda p: p.count(".")):  # modules before what is in them
                _assign_attr(root[path], self, path)
        else:
            raise RuntimeError(f"Unsupported type {root} passed for root!")
        self._hooks()
        self.graph = graph
        if graph._tracer_cls is not None and "<locals>" not in graph._tracer_cls.__qualname__:
            self._tracer_cls = graph._tracer_cls

    def _hooks(self) -> None:
        self._tracer_cls = None
        self._replace_hooks: list = []
        self._create_node_hooks: list = []
        self._erase_node_hooks: list = []
        self._deepcopy_hooks: list = []

    @property
    def graph(self) -> Graph:
        """The program. Assigning another recompiles."""
        return self._graph

    @graph.setter
    def graph(self, g: Graph) -> None:
        if not isinstance(g, Graph):
            raise AssertionError(f"Expected a Graph instance, but got {type(g)}")
        self._graph = g
        g.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The source text of ``forward``, as of the last :meth:`recompile`.

        Raises:
            RuntimeError: there is none.
        """
        if not hasattr(self, "_code"):
            raise RuntimeError("Code has not been generated! Please report a bug to PyTorch")
        return self._code

    def recompile(self) -> PythonCode:
        """Generate ``forward`` anew from the graph."""
        codegen = self._graph._codegen
        if isinstance(codegen, _PyTreeCodeGen):
            self._in_spec, self._out_spec = codegen.pytree_info.in_spec, codegen.pytree_info.out_spec
        made = self._graph.python_code("self")
        self._code = made.src
        type(self).forward = _forward_from_src(made.src, made.globals)
        return made

    # --- modules in it

    def add_submodule(self, target: str, m: Module) -> bool:
        """Put a module at a path, making empty modules on the way. False if something else stands on the way."""
        place: Any = self
        *names, last = target.split(".")
        for name in names:
            if not hasattr(place, name):
                setattr(place, name, Module())
            place = getattr(place, name)
            if not isinstance(place, Module):
                return False
        place.add_module(last, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Remove the module at a path. False if there is none."""
        try:
            place, name = _parent(self, target)
            if not isinstance(getattr(place, name), Module):
                return False
        except AttributeError:
            return False
        delattr(place, name)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Remove the modules that the graph neither calls nor takes parameters or buffers from."""
        used: set[str] = set()
        for node in self.graph.nodes:
            if node.op not in ("call_module", "get_attr"):
                continue
            parts = node.target.split(".")
            used.update(".".join(parts[:i]) for i in range(1, len(parts) + 1))
            if node.op == "call_module":
                inner = self.get_submodule(node.target)
                used.update(f"{node.target}.{name}" for name, _ in inner.named_modules() if name)
        for name in [name for name, _ in self.named_modules() if name and name not in used]:
            self.delete_submodule(name)

    def to_folder(self, folder, module_name: str = "FxModule") -> None:
        """Raises NotImplementedError: a program is kept with ``torch.save`` or ``pickle``, or exported."""
        raise NotImplementedError(
            "GraphModule.to_folder: keep the module with torch.save(graph_module, path), or its text with "
            "graph_module.code and its weights with graph_module.state_dict()"
        )

    # --- copies and files

    def __deepcopy__(self, memo):
        made = memo[id(self)] = self._blank({})  # before its fields, which may refer to it
        made.__dict__.update(copy.deepcopy({k: v for k, v in self.__dict__.items() if k != "_graph"}, memo))
        made.graph = copy.deepcopy(self._graph, memo)
        for name, value in self.meta.get(_USER_PRESERVED_ATTRIBUTES_KEY, {}).items():
            setattr(made, name, value)
        for hook in self._deepcopy_hooks:
            hook(made)
        return made

    def __copy__(self):
        made = self._blank(dict(self.__dict__))
        made.graph = copy.deepcopy(self._graph)
        return made

    def _blank(self, fields: dict):
        made = GraphModule.__new__(type(self))
        type(made).__name__ = type(self).__name__
        made.__dict__.update({k: v for k, v in fields.items() if k != "_graph"})
        return made

    def __reduce__(self):
        made = set(GraphModule._hooks.__code__.co_names) | {"_graph", "_code"}  # which are made anew
        state = {k: v for k, v in self.__getstate__().items() if k not in made}
        base = next(c for c in type(self).__mro__ if c.__dict__.get("_is_instance_class") is None)
        return _restored, (base, type(self).__name__, state, self._graph)

    # --- as text

    def __str__(self) -> str:
        note = "# To see more debug info, please use `graph_module.print_readable()`"
        return "\n".join([super().__repr__(), self._code, note])

    def __repr__(self) -> str:
        return super().__repr__()

    def print_readable(
        self, print_output: bool = True, include_stride: bool = False, include_device: bool = False,
        colored: bool = False, *, fast_sympy_print: bool = False, expanded_def: bool = False,
        additional_meta: list[str] | None = None,
    ) -> str:  # fmt: skip
        """The text of this module and of the GraphModules in it, with shapes and origins that are known.

        Args:
            print_output: print it as well.
            include_stride, include_device: show those of tensors in ``meta["val"]``.
            additional_meta: keys of ``node.meta`` to show.
            expanded_def: a line for each parameter.
            fast_sympy_print: without effect, because sizes are numbers.

        Raises:
            NotImplementedError: ``colored``.
        """
        if colored:
            raise NotImplementedError("print_readable(colored=True) is not supported; leave it out")
        text = _readable(
            self, type(self).__name__, include_stride=include_stride, include_device=include_device,
            expanded_def=expanded_def, additional_meta=additional_meta,
        )  # fmt: skip
        if print_output:
            print(text)
        return text


def _readable(module: GraphModule, name: str, **shown) -> str:
    made = module.graph.python_code("self", verbose=True, **shown)
    texts = [f"class {name}(torch.nn.Module):\n{_deeper(made.src.strip())}"]
    texts += [
        _deeper(_readable(child, child_name, **shown).rstrip())
        for child_name, child in module.named_children()
        if isinstance(child, GraphModule)
    ]
    return "\n\n".join(texts) + "\n"


def _deeper(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.split("\n"))


def _restored(base: type, name: str, state: dict, graph: Graph) -> GraphModule:
    made = base.__new__(base)
    Module.__init__(made)
    type(made).__name__ = name
    made._hooks()
    made.__dict__.update(state)
    made.graph = graph
    return made
