"""Modules as trees: registration, hooks, state dictionaries, iteration, conversion, printing, copies, containers."""

from __future__ import annotations

import copy
import gc
import importlib
import pickle
import weakref
from collections import OrderedDict

import pytest

import jtorch
from jtorch import nn

from .both import check_raises

torch = pytest.importorskip("torch")
LIBS = (jtorch, torch)


def both(f):
    """``f`` of either library; the two results must be equal."""
    ours, theirs = f(jtorch), f(torch)
    assert ours == theirs
    return ours


def error(f, *args, **kwargs):
    """The exception a call raises, as (type name, text)."""
    try:
        f(*args, **kwargs)
    except Exception as e:
        return type(e).__name__, str(e).replace("jtorch.", "torch.")
    raise AssertionError("nothing was raised")


def same_error(f):
    """``f(lib)`` must raise the same type with the same text in both libraries."""
    return both(lambda lib: error(f, lib))


def net(lib):
    nn = lib.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
            self.heads = nn.ModuleList([nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(4, 1, bias=False)])
            self.named = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Identity()})
            self.scale = nn.Parameter(lib.ones(2))
            self.register_buffer("seen", lib.zeros(3))
            self.register_buffer("cache", lib.zeros(2), persistent=False)
            self.register_parameter("missing", None)
            self.alias = self.heads[0]

        def forward(self, x):
            return self.alias(self.body(x)) * self.scale

    return Net()


# --- registration --------------------------------------------------------------------------------------------------


def test_names_and_order():
    both(lambda lib: list(net(lib).state_dict()))
    both(lambda lib: [n for n, _ in net(lib).named_parameters()])
    both(lambda lib: [n for n, _ in net(lib).named_parameters(prefix="p", remove_duplicate=False)])
    both(lambda lib: [n for n, _ in net(lib).named_parameters(recurse=False)])
    both(lambda lib: [n for n, _ in net(lib).named_buffers()])
    both(lambda lib: [(n, type(m).__name__) for n, m in net(lib).named_modules()])
    both(lambda lib: [n for n, _ in net(lib).named_modules(remove_duplicate=False)])
    both(lambda lib: [n for n, _ in net(lib).named_children()])
    both(lambda lib: repr(net(lib)))
    both(lambda lib: net(lib).state_dict()._metadata)


@pytest.mark.parametrize(
    "do",
    [
        lambda lib, m: setattr(m, "scale", 3),
        lambda lib, m: setattr(m, "scale", lib.zeros(2)),
        lambda lib, m: setattr(m, "body", 3),
        lambda lib, m: setattr(m, "seen", 3),
        lambda lib, m: m.register_parameter("scale.x", None),
        lambda lib, m: m.register_parameter("", None),
        lambda lib, m: m.register_parameter("forward", None),
        lambda lib, m: m.register_parameter(3, None),
        lambda lib, m: m.register_parameter("new", lib.zeros(2)),
        lambda lib, m: m.register_parameter("new", lib.nn.Parameter(lib.zeros(2)) * 2),
        lambda lib, m: m.register_buffer("scale", lib.zeros(2)),
        lambda lib, m: m.register_buffer("x.y", None),
        lambda lib, m: m.register_buffer("", None),
        lambda lib, m: m.register_buffer(1, None),
        lambda lib, m: m.register_buffer("new", 3),
        lambda lib, m: m.add_module("new", 3),
        lambda lib, m: m.add_module("x.y", None),
        lambda lib, m: m.add_module("", None),
        lambda lib, m: m.add_module("scale", None),
        lambda lib, m: m.nothing,
        lambda lib, m: delattr(m, "nothing"),
        lambda lib, m: m.get_submodule("body.7"),
        lambda lib, m: m.get_submodule("scale"),
        lambda lib, m: m.get_parameter("body.0.nothing"),
        lambda lib, m: m.get_parameter("seen"),
        lambda lib, m: m.get_buffer("scale"),
        lambda lib, m: m.set_submodule("", lib.nn.Identity()),
        lambda lib, m: m.train(3),
        lambda lib, m: m.to(lib.int64),
        lambda lib, m: lib.nn.Module()(1),
        lambda lib, m: setattr(m, "scale", lib.nn.Identity()),
        lambda lib, m: lib.nn.Module(1),
        lambda lib, m: lib.nn.Module(x=1),
        lambda lib, m: m.load_state_dict([1]),
        lambda lib, m: m.state_dict.__self__.heads[9],
    ],
)
def test_errors(do):
    same_error(lambda lib: do(lib, net(lib)))


def test_before_init():
    def early(lib, value):
        class Early(lib.nn.Module):
            def __init__(self):
                self.x = value(lib)

        return Early()

    same_error(lambda lib: early(lib, lambda lib: lib.nn.Parameter(lib.zeros(1))))
    same_error(lambda lib: early(lib, lambda lib: lib.nn.Identity()))


def test_replacing_attributes():
    for lib in LIBS:
        m = net(lib)
        m.plain = 3
        m.plain = lib.nn.Parameter(lib.zeros(1))
        assert "plain" in m._parameters and "plain" not in m.__dict__
        m.plain = None
        assert m.plain is None and "plain" in m._parameters
        m.seen = lib.nn.Linear(1, 1)
        assert "seen" in m._modules and "seen" not in m._buffers
        del m.seen
        m.register_buffer("seen", None)
        m.seen = lib.ones(3)
        assert "seen" in m._buffers
        del m.seen
        assert not hasattr(m, "seen")
        m.extra = lib.nn.Buffer(lib.ones(1), persistent=False)
        assert "extra" in m._buffers and "extra" not in m.state_dict()
        del m.body
        assert "body" not in dict(m.named_modules())
        assert "alias" in dir(m)


def test_call_super_init():
    def made(lib):
        class Other:
            def __init__(self, value):
                self.value = value

        class Both(lib.nn.Module, Other):
            call_super_init = True

            def __init__(self):
                super().__init__(value=7)

        return Both().value

    assert both(made) == 7


def test_parameter():
    p = nn.Parameter(jtorch.ones(2))
    assert repr(p) == repr(torch.nn.Parameter(torch.ones(2)))
    assert isinstance(p, jtorch.Tensor) and p.requires_grad and p.is_leaf
    assert type(p * 2) is jtorch.Tensor
    base = jtorch.zeros(3)
    shared = nn.Parameter(base, requires_grad=False)
    base.add_(1)
    assert shared.tolist() == [1, 1, 1] and not shared.requires_grad
    twin = copy.deepcopy(p)
    assert type(twin) is nn.Parameter and twin.requires_grad
    with jtorch.no_grad():
        twin.add_(1)
    assert p.tolist() == [1, 1] and twin.tolist() == [2, 2]
    again = pickle.loads(pickle.dumps(p))
    assert type(again) is nn.Parameter and again.tolist() == [1, 1] and again.requires_grad
    assert error(nn.Parameter, 3)[0] == "TypeError"


# --- state dictionaries --------------------------------------------------------------------------------------------


def test_load_round_trip():
    a, b = net(jtorch), net(jtorch)
    before = [p.tolist() for p in b.parameters()]
    result = b.load_state_dict(a.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    assert [p.tolist() for p in b.parameters()] == [p.tolist() for p in a.parameters()] != before
    with jtorch.no_grad():
        b.scale.add_(1)  # values may be shared, storages are not
    assert a.scale.tolist() == [1, 1] and b.scale.tolist() == [2, 2]
    state = a.state_dict()
    with jtorch.no_grad():
        a.scale.add_(2)
    assert state["scale"].tolist() == [3, 3], "a state dict shares the module's storage"
    assert all(not t.requires_grad for t in state.values())
    assert a.state_dict(keep_vars=True)["scale"] is a.scale


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        lambda lib, s: s.pop("scale"),
        lambda lib, s: s.update(other=lib.zeros(1), **{"body.5.weight": lib.zeros(1)}),
        lambda lib, s: s.update(scale=lib.zeros(3)),
        lambda lib, s: s.update(scale=3),
        lambda lib, s: (s.pop("seen"), s.update(zzz=lib.zeros(1), scale=lib.zeros(1, 2))),
    ],
)
def test_load_mismatch(change, strict):
    def attempt(lib):
        m = net(lib)
        state = OrderedDict((k, lib.ones_like(v)) for k, v in m.state_dict().items())
        change(lib, state)
        try:
            return repr(m.load_state_dict(state, strict=strict))
        except RuntimeError as e:
            return str(e).replace("jtorch.", "torch.").replace("torch.tensor.tensor", "torch")

    both(attempt)


def test_refused_load_leaves_no_trace():
    m = net(jtorch)
    before = {k: v.tolist() for k, v in m.state_dict().items()}
    state = OrderedDict((k, v + 1) for k, v in m.state_dict().items())
    state["unknown"] = jtorch.zeros(1)
    for assign in (False, True):
        with pytest.raises(RuntimeError, match="Unexpected key"):
            m.load_state_dict(state, assign=assign)
        assert {k: v.tolist() for k, v in m.state_dict().items()} == before
        assert isinstance(m.scale, nn.Parameter)


def test_assign():
    m = net(jtorch)
    state = OrderedDict((k, v + 1) for k, v in m.state_dict().items())
    m.load_state_dict(state, assign=True)
    assert m.seen is state["seen"]
    assert isinstance(m.scale, nn.Parameter) and m.scale.requires_grad and m.scale.tolist() == [2, 2]


def test_extra_state_and_state_hooks():
    def log(lib):
        calls = []

        class Extra(lib.nn.Module):
            def get_extra_state(self):
                return {"n": 3}

            def set_extra_state(self, state):
                calls.append(("set", state))

        m = lib.nn.Sequential(Extra(), lib.nn.Linear(1, 1))
        m.register_state_dict_pre_hook(lambda m, prefix, keep: calls.append(("pre", prefix, keep)))
        m[1].register_state_dict_post_hook(lambda m, s, prefix, meta: calls.append(("post", list(s), prefix, meta)))
        m[1].register_load_state_dict_pre_hook(lambda m, s, prefix, *rest: calls.append(("load", prefix, *rest)))
        m.register_load_state_dict_post_hook(lambda m, keys: calls.append(("loaded", *keys)))
        state = m.state_dict()
        calls.append(repr(m.load_state_dict(state)))
        del state["0._extra_state"]
        m.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
        calls.append(repr(m.load_state_dict(state)))
        return calls

    both(log)


def test_old_batch_norm_files():
    m = nn.BatchNorm1d(2)
    state = {k: v for k, v in m.state_dict().items() if k != "num_batches_tracked"}
    m.load_state_dict(state)  # without metadata it is of version 1
    assert m.num_batches_tracked.item() == 0


def test_zero_dim_parameters_accept_one_dimension():
    m = nn.Module()
    m.s = nn.Parameter(jtorch.tensor(1.0))
    m.load_state_dict({"s": jtorch.tensor([3.0])})
    assert m.s.item() == 3


# --- hooks ---------------------------------------------------------------------------------------------------------


def test_forward_hooks():
    def log(lib):
        calls = []
        m = lib.nn.Linear(2, 2)
        with lib.no_grad():
            m.weight.fill_(1)
            m.bias.fill_(0)

        class Doubling(lib.nn.Module):
            def forward(self, x, times=2):
                return x * times

        d = Doubling()
        h1 = d.register_forward_pre_hook(lambda m, a: calls.append(("pre", len(a))) or (a[0] + 1,))
        d.register_forward_pre_hook(lambda m, a, k: (a, {**k, "times": 3}), with_kwargs=True, prepend=True)
        d.register_forward_hook(lambda m, a, out: calls.append(("post", out.tolist())))
        d.register_forward_hook(lambda m, a, k, out: calls.append(("kw", k)) or out + 1, with_kwargs=True, prepend=True)
        calls.append(d(lib.ones(1)).tolist())
        h1.remove()
        calls.append(d(lib.ones(1)).tolist())
        return calls

    both(log)


def test_always_called_hooks():
    def log(lib):
        calls = []

        class Broken(lib.nn.Module):
            def forward(self, x):
                raise ValueError("no")

        m = Broken()
        m.register_forward_hook(lambda m, a, out: calls.append(("always", out)), always_call=True)
        m.register_forward_hook(lambda m, a, out: calls.append("never"))
        calls.append(error(m, 1))
        return calls

    both(log)


def test_bad_pre_hook_result():
    def attempt(lib):
        m = lib.nn.Identity()
        m.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
        m(1)

    same_error(attempt)


def backward_log(lib, needs_input_grad, change=False):
    calls = []

    class Two(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = lib.nn.Parameter(lib.tensor([2.0, 3.0]))

        def forward(self, x, n, y):
            return x * self.w * n, y + self.w

    def show(grads):
        return [None if g is None else g.tolist() for g in grads]

    m = Two()
    m.register_full_backward_hook(lambda m, gi, go: calls.append(("hook", show(gi), show(go))))
    m.register_full_backward_pre_hook(lambda m, go: calls.append(("pre", show(go))))
    if change:
        m.register_full_backward_pre_hook(lambda m, go: tuple(g * 10 for g in go))
        m.register_full_backward_hook(lambda m, gi, go: tuple(None if g is None else g * 5 for g in gi))
    x = lib.tensor([1.0, 1.0], requires_grad=needs_input_grad)
    y = lib.tensor([0.0, 1.0])
    a, b = m(x, 4, y)
    (a.sum() + 2 * b.sum()).backward()
    calls.append(m.w.grad.tolist())
    calls.append(None if x.grad is None else x.grad.tolist())
    return calls


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@pytest.mark.parametrize("needs_input_grad", [True, False])
def test_backward_hooks(needs_input_grad):
    both(lambda lib: backward_log(lib, needs_input_grad))


def test_backward_hooks_change_gradients():
    both(lambda lib: backward_log(lib, True, change=True))


@pytest.mark.filterwarnings("ignore:.*non-full backward hook:FutureWarning")
def test_mixed_backward_hooks_are_refused():
    for lib in LIBS:
        m = lib.nn.Identity()
        m.register_full_backward_hook(lambda *a: None)
        assert error(m.register_backward_hook, lambda *a: None)[0] == "RuntimeError"


def test_global_hooks():
    def log(lib):
        calls = []
        module = lib.nn.modules.module
        handles = [
            module.register_module_forward_pre_hook(lambda m, a: calls.append(("pre", type(m).__name__))),
            module.register_module_forward_hook(lambda m, a, out: calls.append(("post", type(m).__name__))),
            module.register_module_full_backward_hook(lambda m, gi, go: calls.append(("back", type(m).__name__))),
        ]
        handles.append(
            module.register_module_parameter_registration_hook(lambda m, n, p: calls.append(("parameter", n)))
        )
        try:
            m = lib.nn.Sequential(lib.nn.Linear(1, 1), lib.nn.Tanh())
            m(lib.ones(1, 1, requires_grad=True)).sum().backward()
        finally:
            for h in handles:
                h.remove()
        m(lib.ones(1, 1))
        return calls

    both(log)


# --- modes, conversion, copies -------------------------------------------------------------------------------------


def test_modes():
    def log(lib):
        m = net(lib)
        m.body.eval()
        seen = [x.training for x in m.modules()]
        m.train()
        m.requires_grad_(False)
        seen += [p.requires_grad for p in m.parameters()]
        seen += [x.training for x in m.eval().modules()]
        names = []
        m.apply(lambda x: names.append(type(x).__name__))
        return seen, names

    both(log)


def test_zero_grad():
    m = nn.Linear(2, 1)
    m(jtorch.ones(1, 2)).sum().backward()
    m.zero_grad(set_to_none=False)
    assert m.weight.grad.tolist() == [[0, 0]]
    m.zero_grad()
    assert m.weight.grad is None


def test_conversion_keeps_identity():
    m = net(jtorch)
    m(jtorch.ones(2, 3)).sum().backward()
    parameters = list(m.parameters())
    assert m.double() is m
    assert all(p is q for p, q in zip(parameters, m.parameters(), strict=True))
    assert {p.dtype for p in m.parameters()} == {jtorch.float64}
    assert m.scale.grad.dtype is jtorch.float64 and m.scale.requires_grad
    assert m.seen.dtype is jtorch.float64 and m.body[1].num_batches_tracked.dtype is jtorch.int64
    m.zero_grad()
    m(jtorch.ones(2, 3, dtype=jtorch.float64)).sum().backward()
    assert m.scale.grad.dtype is jtorch.float64
    m.half()
    assert m.scale.dtype is jtorch.float16
    m.to(jtorch.bfloat16)
    assert m.scale.dtype is jtorch.bfloat16
    m.to("cpu", jtorch.float32)
    assert m.scale.dtype is jtorch.float32 and m.cpu() is m
    m.to(jtorch.zeros(1, dtype=jtorch.float64))
    assert m.scale.dtype is jtorch.float64


def test_meta():
    m = nn.Linear(3, 4, device="meta")
    assert m.weight.is_meta
    m.to_empty(device="cpu")
    assert m.weight.device.type == "cpu" and m.weight.shape == (4, 3)
    assert nn.utils.skip_init(nn.Linear, 3, 4).weight.shape == (4, 3)


def test_deepcopy_and_pickle():
    m = net(jtorch)
    for twin in (copy.deepcopy(m.body), pickle.loads(pickle.dumps(m.body))):
        assert repr(twin) == repr(m.body)
        assert [p.tolist() for p in twin.parameters()] == [p.tolist() for p in m.body.parameters()]
        with jtorch.no_grad():
            twin[0].weight.fill_(7)
        assert m.body[0].weight[0, 0].item() != 7
    twin = copy.deepcopy(m)
    assert twin.alias is twin.heads[0] and twin.alias.weight is not m.alias.weight


# --- containers ----------------------------------------------------------------------------------------------------


def test_sequential():
    def log(lib):
        nn = lib.nn
        s = nn.Sequential(OrderedDict(first=nn.Linear(2, 3), act=nn.ReLU(), last=nn.Linear(3, 1)))
        out = [repr(s), repr(s[1:]), repr(s[-1]), len(s), list(s.state_dict())]
        s = nn.Sequential(*s)
        s.append(nn.Tanh())
        s.insert(1, nn.Identity())
        out.append(repr(s))
        del s[0]
        out.append(repr(s))
        s[0] = nn.Sigmoid()
        out.append(repr(s + nn.Sequential(nn.ELU())))
        s.extend([nn.GELU()])
        out.append([repr(s), repr(s.pop(0)), repr(s), repr(nn.Sequential(nn.ReLU()) * 2)])
        out += [error(lambda: s[9]), error(s.append, 3), error(lambda: s + 3), error(lambda: s * 0)]
        return out

    both(log)


def test_module_list_and_dict():
    def log(lib):
        nn = lib.nn
        s = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        out = [repr(s), repr(s[1:]), len(s)]
        s.insert(1, nn.ReLU())
        s += [nn.Tanh()]
        del s[0]
        out += [repr(s), repr(s + [nn.ELU()]), repr(s.pop(-1)), error(s.extend, 3), error(s, 1)]
        d = nn.ModuleDict({"x": nn.ReLU(), "a": nn.Tanh()})
        d["b"] = nn.ELU()
        d.update([["c", nn.GELU()]])
        out += [repr(d), list(d), "x" in d, repr(d.pop("x")), len(d), [k for k, _ in d.items()], error(d.update, 3)]
        d.clear()
        return [*out, repr(d)]

    both(log)


def test_parameter_containers():
    def log(lib):
        nn = lib.nn
        s = nn.ParameterList([lib.ones(2), nn.Parameter(lib.zeros(2, 3)), 3])
        s.append(lib.ones(1))
        s[0] = nn.Parameter(lib.zeros(5))
        out = [repr(s), len(s), list(s.state_dict()), repr(s[1:3]), error(lambda: s[9])]
        d = nn.ParameterDict({"b": lib.ones(2), "a": lib.zeros(1, 2)})
        out.append(error(d.__setitem__, "keys", lib.ones(3)))
        out += [repr(d), list(d), [k for k, _ in d.items()], "a" in d, len(d), d.get("z", 4), d.pop("a").tolist()]
        return [*out, list(d.keys()), list(d.state_dict())]

    both(log)


def test_call_overhead_has_no_hook_frames():
    """Without hooks a call goes straight to ``forward``."""
    import sys

    depth = []

    class Deep(nn.Module):
        def forward(self):
            depth.append(sys._getframe(1).f_code.co_name)

    Deep()()
    assert depth == ["__call__"]


def test_a_parameter_made_anew_with_the_attributes_of_another():
    old = jtorch.nn.Parameter(jtorch.ones(2))
    new = type(old)(old.to("meta"), **{**vars(old), "requires_grad": False})
    assert new.is_meta and not new.requires_grad and old.tolist() == [1, 1] and old.requires_grad
    with pytest.raises(TypeError, match="'mine'"):
        jtorch.nn.Parameter(old, mine=1)


def test_handles_of_hooks():
    """A handle knows the table that its hook is in, and keeps neither it nor the module alive."""

    def log(lib):
        m = lib.nn.Linear(2, 2)
        handle = m.register_forward_hook(lambda *a: None, with_kwargs=True)
        out = [len(handle.hooks_dict_ref()), handle.id in handle.hooks_dict_ref(), len(handle.extra_dict_ref)]
        handle.remove()
        out += [len(handle.hooks_dict_ref()), len(m._forward_hooks_with_kwargs)]

        hooks = importlib.import_module(f"{lib.__name__}.utils.hooks")
        table, more = OrderedDict(), OrderedDict()
        with hooks.RemovableHandle(table, extra_dict=more) as own:
            table[own.id], more[own.id] = "hook", "about it"
            again = pickle.loads(pickle.dumps((table, own)))[1]
        out += [len(table), len(more), again.id == own.id]

        m.register_load_state_dict_pre_hook(_no_hook)
        copied = copy.deepcopy(m)
        copied.load_state_dict(m.state_dict())
        kept = weakref.ref(m)
        gc.disable()
        try:
            del m
            out.append(kept() is None)
        finally:
            gc.enable()
        return out

    both(log)


def _no_hook(module, *args):
    assert isinstance(module.weight.shape[0], int)


@pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning")
def test_a_backward_hook_that_returns_too_few():
    for lib in (jtorch, pytest.importorskip("torch")):
        m = lib.nn.Sigmoid()
        m.register_backward_hook(lambda m, grad_in, grad_out: ())
        with pytest.raises(RuntimeError, match="got 0, but expected 1"):
            m(lib.ones(2, requires_grad=True)).sum().backward()


def test_a_buffer_takes_no_name_that_is_taken():
    def taken(torch):
        module = torch.nn.Module()
        module.x = 5
        module.x = torch.nn.Buffer(torch.ones(2))

    check_raises(taken, KeyError, "already exists")

    class Older(nn.Module):
        def register_buffer(self, name, tensor):
            super().register_buffer(name, tensor)

    module = Older()
    module.x = nn.Buffer(jtorch.ones(2))
    assert list(module._buffers) == ["x"]
