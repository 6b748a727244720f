"""``__torch_function__`` of classes and modes, and modes that see operations."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import jtorch

from .both import Table, check

table = Table()


def part(library, name):
    return importlib.import_module(f"{library.__name__}.{name}")


@table
def subclass_is_kept(torch):
    class Mine(torch.Tensor):
        pass

    m = torch.arange(6.0).reshape(2, 3).as_subclass(Mine)
    results = [m + 1, 2 - m, torch.split(m, 1)[0], m.sum(), torch.cat([m, m]), m[0], torch.nn.functional.relu(m),
               m.max(1).values, m.clone(), torch.nn.functional.linear(m, torch.ones(4, 3))]  # fmt: skip
    return [type(r).__name__ for r in results] + [r.as_subclass(torch.Tensor) for r in results]


@table
def calls_are_seen(torch):
    seen = []

    class Logged(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append((func.__name__, [t.__name__ for t in types], len(args), sorted(kwargs or {})))
            return super().__torch_function__(func, types, args, kwargs or {})

    x = torch.arange(6.0).reshape(2, 3).as_subclass(Logged)
    torch.add(x, x, alpha=2)
    x.mean()
    torch.flatten(x)
    x.reshape(3, 2)
    torch.nn.functional.gelu(x)
    return seen


@table
def tensor_likes(torch):
    handled = {}

    class Diagonal:
        def __init__(self, n, value):
            self.n, self.value = n, value

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func not in handled or not all(issubclass(t, (torch.Tensor, Diagonal)) for t in types):
                return NotImplemented
            return handled[func](*args, **(kwargs or {}))

    handled[torch.mean] = lambda d: d.value / d.n
    handled[torch.add] = lambda a, b: "sum"
    d, x = Diagonal(5, 2), torch.ones(2)
    found = [torch.mean(d), torch.add(d, x), torch.add(x, d)]
    try:
        torch.mul(d, 3)
    except TypeError:
        found.append("TypeError")
    overrides = part(torch, "overrides")
    return found + [overrides.is_tensor_like(d), overrides.has_torch_function((d,)), overrides.has_torch_function((x,))]


@table
def handlers_written_before_the_class(torch):
    handlers = {torch.clone: "clone", torch.div: "div", torch.split: "split", torch.linalg.inv: "inv",
                torch.nn.functional.softmax: "softmax", torch.Tensor.new_zeros: "new_zeros"}  # fmt: skip
    split, softmax = torch.split, torch.nn.functional.softmax

    class Named:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return handlers.get(func, "no handler")

    class Counted(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return handlers.get(func, "no handler")

    d, x = Named(), torch.ones(2).as_subclass(Counted)
    found = [torch.sin(d), torch.div(d, 2), torch.clone(d), split(d, 1), torch.split(d, 1), softmax(d, 0)]
    return found + [torch.linalg.inv(d), x.new_zeros(2), split(x, 1), softmax(x, 0), torch.clone(x)]


@table
def attributes_are_carried_over(torch):
    """As fastai does it: the attributes of the argument become those of the result."""

    class Labelled(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            result = super().__torch_function__(func, types, args, kwargs or {})
            if isinstance(result, Labelled):
                result.__dict__ = dict(args[0].__dict__)
            return result

    x = torch.arange(6.0, requires_grad=True)
    y = x.reshape(2, 3).as_subclass(Labelled)
    y.label, y._secret = "a", 3
    found = [y == 2.0, y.t() + 1, y.sum(), (y * 2).detach(), y.argmax(1)]
    y.sum().backward()
    labels = [(type(z).__name__, z.label, z._secret) for z in found]
    return labels + [z.as_subclass(torch.Tensor) for z in found] + [x.grad, repr(y.detach())]


@table
def modes(torch):
    overrides, seen = part(torch, "overrides"), []

    class Doubling(overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func.__name__)
            result = func(*args, **(kwargs or {}))
            return result * 2 if func is torch.add else result

    x = torch.ones(2)
    with Doubling():
        a = torch.add(x, x)
        with Doubling():
            b = torch.add(x, x)
        torch.zeros(2)
        c = torch.nn.functional.softmax(x, -1)
        with part(torch, "_C").DisableTorchFunction():
            d = torch.add(x, x)
    return [a, b, c, d, torch.add(x, x), seen]


@table
def disabled_in_parameters(torch):
    class Scaled(torch.nn.Parameter):
        pass

    p = Scaled(torch.ones(2))
    with part(torch, "_C").DisableTorchFunctionSubclass():
        pass
    return [type(p).__name__, type(p * 2).__name__, type(p * 2) is torch.Tensor]


@table
def gradients_through_subclasses(torch):
    class Mine(torch.Tensor):
        pass

    x = torch.arange(3.0).as_subclass(Mine).requires_grad_()
    y = (x * x).sum()
    y.backward()
    return [type(y).__name__, x.grad.as_subclass(torch.Tensor)]


@table
def own_functions(torch):
    overrides = part(torch, "overrides")

    class Like:
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return "asked"

        __torch_function__ = classmethod(__torch_function__)

    def public(x):
        if overrides.has_torch_function_unary(x):
            return overrides.handle_torch_function(public, (x,), x)
        return "plain"

    wrapped = overrides.wrap_torch_function(lambda x: (x,))(lambda x: "plain")
    return [public(Like()), public(1), wrapped(Like()), wrapped(1), overrides.resolve_name(torch.add)]


@table
def out_is_an_argument_like_the_others(torch):
    seen = []

    class Watching(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append((func.__name__, sorted(kwargs or {})))
            return super().__torch_function__(func, types, args, kwargs or {})

    class Holder:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            kwargs["out"].found = func(*args)
            return kwargs["out"]

    x, holder, mine = torch.ones(2), Holder(), torch.zeros(2).as_subclass(Watching)
    torch.add(x, 1, out=mine)
    torch.cat([x, x], 0, out=holder)
    return [seen, mine.as_subclass(torch.Tensor), holder.found]


@table
def subclass_instances_are_views(torch):
    """Of what is written to a tensor later on its instance as another class knows, and the other way round."""

    class Mine(torch.Tensor):
        pass

    w = torch.ones(2, requires_grad=True)
    plain, other = torch.ones(2), torch.ones(2)
    mine, others = plain.as_subclass(Mine), other.as_subclass(Mine)
    plain += w
    (mine**2).sum().backward()
    others *= 3 * w
    (other**2).sum().backward()
    leaf = torch.ones(2, requires_grad=True)
    whole = leaf.as_subclass(Mine)
    (whole * 3).sum().backward()
    return [
        other.detach(), mine.detach().as_subclass(torch.Tensor), w.grad, leaf.grad, whole.is_leaf, type(whole).__name__,
    ]  # fmt: skip


@pytest.mark.parametrize("name", table)
def test_programs(name):
    check(table[name])


def test_dispatch_mode_sees_operations():
    module = part(jtorch, "utils._python_dispatch")
    seen = []

    class Mode(module.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    x = jtorch.ones(2, 2)
    with Mode():
        y = jtorch.nn.functional.linear(x, x) + x
        with module._disable_current_modes():
            x.sin()
    assert seen == ["aten.mm.default", "aten.add.Tensor"] and y.tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_all_refuse():
    class Refusing(jtorch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return NotImplemented

    with pytest.raises(TypeError, match="Refusing"):
        jtorch.ones(2).as_subclass(Refusing) + 1


def test_overridable_functions_are_listed():
    found = part(jtorch, "overrides").get_overridable_functions()
    assert jtorch.add in found[jtorch] and jtorch.split in found[jtorch] and jtorch.Tensor.split in found[jtorch.Tensor]
    assert jtorch.nn.functional.relu in found[jtorch.nn.functional]


def test_nobody_is_asked_in_a_program_that_overrides_nothing():
    """Asking costs every operation: the library's own classes must not bring it about."""
    program = """
import jtorch
from jtorch.tensor import dispatch, overriding

jtorch.distributions.Normal(0, 1), jtorch.optim.SGD, jtorch.sparse, jtorch.utils.data.DataLoader, jtorch.amp
jtorch.nn.TransformerEncoder(jtorch.nn.TransformerEncoderLayer(4, 2, 8), 1).eval()(jtorch.ones(3, 2, 4)).sum().item()
assert not dispatch.interceptors and not overriding._on
jtorch.nn.LazyLinear(2)
assert overriding._on
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
