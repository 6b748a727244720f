"""Optimizers against PyTorch's, on the same parameters and gradients; state, groups, hooks and errors."""

import copy
import pickle

import numpy as np
import pytest

import jtorch
from jtorch import debug, optim

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed; it is the reference here")

SHAPES = [(3, 4), (5,), (), (2, 1, 3)]

CONFIGS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "maximize": True}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "momentum": 0.7, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.02, "centered": True, "maximize": True}),
    ("RMSprop", {"lr": 0.02, "centered": True, "momentum": 0.7, "eps": 1e-4}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
    ("Adagrad", {"lr": 0.1, "maximize": True, "eps": 1e-5}),
]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(CONFIGS)]


def numbers(step, i, shape, dtype="float32"):
    return np.random.default_rng([step, i]).normal(size=shape).astype(dtype)


def parameters(lib, dtype="float32"):
    return [lib.tensor(numbers(99, i, shape, dtype), requires_grad=True) for i, shape in enumerate(SHAPES)]


def give_gradients(lib, params, step, dtype="float32", skip=()):
    for i, p in enumerate(params):
        p.grad = None if i in skip else lib.tensor(numbers(step, i, tuple(p.shape), dtype))


def run(lib, name, options, steps=5, dtype="float32"):
    params = parameters(lib, dtype)
    optimizer = getattr(lib.optim, name)(params, **options)
    for step in range(steps):
        give_gradients(lib, params, step, dtype)
        optimizer.step()
    return params, optimizer


def values(tensors):
    return [t.detach().numpy() for t in tensors]


def assert_close(ours, theirs, **tolerance):
    for a, b in zip(values(ours), values(theirs), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def check_complex_parameters(name):
    results = []
    for lib in (jtorch, torch):
        p = lib.tensor(np.array([1 + 2j, -0.5j], "complex64"), requires_grad=True)
        optimizer = getattr(lib.optim, name)([p], lr=0.1)
        for step in range(3):
            p.grad = lib.tensor(np.array([0.3 - 1j, 2 + 0.1j * step], "complex64"))
            optimizer.step()
        results.append([p])
    assert_close(*results, rtol=1e-5)


def assert_same_state(ours, theirs, **tolerance):
    """Two state_dicts, of either library."""
    assert ours["param_groups"] == theirs["param_groups"]
    assert list(ours["state"]) == list(theirs["state"])
    for number, state in theirs["state"].items():
        assert list(ours["state"][number]) == list(state)
        for key, value in state.items():
            mine = ours["state"][number][key]
            assert (tuple(mine.shape), str(mine.dtype)) == (tuple(value.shape), str(value.dtype)), key
            np.testing.assert_allclose(mine.numpy(), value.numpy(), err_msg=key, **tolerance)


# --- the update rules ----------------------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("name, options", CONFIGS, ids=IDS)
def test_float32_equals_pytorch(name, options):
    ours, our_optimizer = run(jtorch, name, options)
    theirs, their_optimizer = run(torch, name, options)
    assert_close(ours, theirs, rtol=2e-6, atol=1e-7)
    assert_same_state(our_optimizer.state_dict(), their_optimizer.state_dict(), rtol=2e-6, atol=1e-7)


@needs_torch
@pytest.mark.parametrize("name, options", CONFIGS, ids=IDS)
def test_float64_equals_pytorch(name, options):
    ours, _ = run(jtorch, name, options, dtype="float64")
    theirs, _ = run(torch, name, options, dtype="float64")
    assert_close(ours, theirs, rtol=1e-13, atol=1e-14)


@needs_torch
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_parameters_without_gradient_are_skipped(name):
    """One never gets a gradient, one only from the third step on: its step count and momentum start there."""
    options = {"lr": 0.1} | ({"momentum": 0.9, "dampening": 0.5} if name == "SGD" else {})
    results = []
    for lib in (jtorch, torch):
        params = parameters(lib)
        optimizer = getattr(lib.optim, name)(params, **options)
        for step in range(5):
            give_gradients(lib, params, step, skip=(0,) if step >= 2 else (0, 1))
            optimizer.step()
        results.append((params, optimizer.state_dict()))
    assert_close(results[0][0], results[1][0], rtol=2e-6, atol=1e-7)
    assert_same_state(results[0][1], results[1][1], rtol=2e-6, atol=1e-7)


@needs_torch
def test_groups_have_options_of_their_own():
    results = []
    for lib in (jtorch, torch):
        params = parameters(lib)
        optimizer = lib.optim.Adam([{"params": params[:2]}, {"params": params[2:], "lr": 0.5, "betas": (0.5, 0.9)}])
        for step in range(3):
            give_gradients(lib, params, step)
            optimizer.step()
            optimizer.param_groups[0]["lr"] *= 0.5
        results.append(params)
    assert_close(*results, rtol=2e-6, atol=1e-7)


@needs_torch
def test_tensor_learning_rate():
    results = []
    for lib in (jtorch, torch):
        lr = lib.tensor(0.1)
        params, optimizer = parameters(lib), None
        optimizer = lib.optim.Adam(params, lr=lr)
        for step in range(3):
            give_gradients(lib, params, step)
            optimizer.step()
            lr.mul_(0.5)
        results.append(params)
    assert_close(*results, rtol=2e-6, atol=1e-7)


@needs_torch
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad"])
def test_complex_parameters(name):
    check_complex_parameters(name)


def test_a_real_loop_lowers_the_loss_in_one_program():
    x, y = jtorch.tensor(numbers(0, 0, (20, 3))), jtorch.tensor(numbers(0, 1, (20,)))
    w = jtorch.zeros(3, requires_grad=True)
    optimizer = optim.AdamW([w], lr=0.1)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name, options", CONFIGS, ids=IDS)
def test_the_first_step_is_the_program_of_all_steps(name, options):
    """Also when every learning rate differs, and when the parameters were not computed yet."""
    x = jtorch.tensor(numbers(0, 0, (6, 3)))
    w, b = jtorch.full((3, 2), 0.5, requires_grad=True), jtorch.zeros(2, requires_grad=True)
    optimizer = getattr(optim, name)([w, b], **options)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    debug.clear_executables()
    compiles = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = ((x @ w + b).tanh() ** 2).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        loss.item()
        compiles.append(debug.counters()["compiles"])
    assert len(set(compiles)) == 1, compiles


def test_step_updates_views_and_aliases():
    base = jtorch.zeros(4)
    p = base.detach().requires_grad_()
    optimizer = optim.SGD([p], lr=1.0)
    p.grad = jtorch.ones(4)
    optimizer.step()
    assert base.tolist() == [-1.0] * 4


def test_closure():
    p = jtorch.tensor([2.0], requires_grad=True)
    optimizer = optim.SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert p.item() == 1.0
    assert optimizer.step() is None


# --- state ---------------------------------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("name, options", CONFIGS, ids=IDS)
def test_state_moves_between_pytorch_and_jtorch(name, options):
    """Half the steps in one library, the other half in the other, through state_dict."""
    whole, _ = run(torch, name, options, steps=6)
    for first, second in ((jtorch, torch), (torch, jtorch)):
        params, optimizer = run(first, name, options, steps=3)
        moved = [second.tensor(v, requires_grad=True) for v in values(params)]
        other = getattr(second.optim, name)(moved, **options)
        other.load_state_dict(_convert(optimizer.state_dict(), second))
        for step in range(3, 6):
            give_gradients(second, moved, step)
            other.step()
        assert_close(moved, whole, rtol=5e-6, atol=1e-6)


def _convert(tree, lib):
    """A state_dict with its tensors remade by ``lib``."""
    if isinstance(tree, dict):
        return {key: _convert(value, lib) for key, value in tree.items()}
    if hasattr(tree, "numpy"):
        return lib.tensor(tree.numpy())
    return tree


@needs_torch
def test_a_checkpoint_of_pytorchs_loads(tmp_path):
    params, optimizer = run(torch, "AdamW", {"lr": 0.05}, steps=2)
    torch.save({"optimizer": optimizer.state_dict()}, tmp_path / "a.pt")
    ours = [jtorch.tensor(v, requires_grad=True) for v in values(params)]
    other = optim.AdamW(ours, lr=1.0)
    other.load_state_dict(jtorch.load(tmp_path / "a.pt")["optimizer"])
    give_gradients(torch, params, 2)
    give_gradients(jtorch, ours, 2)
    optimizer.step()
    other.step()
    assert_close(ours, params, rtol=2e-6, atol=1e-7)


@needs_torch
def test_pytorch_loads_our_checkpoint(tmp_path):
    params, optimizer = run(jtorch, "Adam", {"lr": 0.05}, steps=2)
    jtorch.save(optimizer.state_dict(), tmp_path / "a.pt")
    theirs = [torch.tensor(v, requires_grad=True) for v in values(params)]
    other = torch.optim.Adam(theirs, lr=1.0)
    other.load_state_dict(torch.load(tmp_path / "a.pt"))
    steps = [other.state[p]["step"] for p in theirs]
    assert len({id(s) for s in steps}) == len({s.data_ptr() for s in steps}) == len(theirs)
    give_gradients(jtorch, params, 2)
    give_gradients(torch, theirs, 2)
    optimizer.step()
    other.step()
    assert_close(params, theirs, rtol=2e-6, atol=1e-7)


def test_steps_loaded_apart_are_shared_again():
    params, optimizer = run(jtorch, "Adam", {}, steps=2)
    state = _convert(optimizer.state_dict(), jtorch)
    assert len({id(s["step"]) for s in state["state"].values()}) == len(params)
    state["state"][0]["step"] = 7.0  # a number, as old files have it
    optimizer.load_state_dict(state)
    steps = [optimizer.state[p]["step"] for p in params]
    assert len({id(s) for s in steps}) == 2 and steps[0].item() == 7.0 and steps[1].item() == 2.0


def test_deepcopy_and_pickle():
    params, optimizer = run(jtorch, "Adam", {"lr": 0.05}, steps=2)
    clones = copy.deepcopy((params, optimizer)), pickle.loads(pickle.dumps((params, optimizer)))
    give_gradients(jtorch, params, 2)
    optimizer.step()
    for copied_params, copied in clones:
        give_gradients(jtorch, copied_params, 2)
        copied.step()
        assert_close(copied_params, params, rtol=0)


def test_load_state_dict_casts_to_the_parameter():
    params, optimizer = run(jtorch, "Adam", {}, steps=1, dtype="float64")
    other_params = parameters(jtorch)
    other = optim.Adam(other_params)
    other.load_state_dict(optimizer.state_dict())
    assert other.state[other_params[0]]["exp_avg"].dtype is jtorch.float32


def test_zero_grad():
    params, optimizer = run(jtorch, "SGD", {}, steps=1)
    grad = params[0].grad
    optimizer.zero_grad(set_to_none=False)
    assert params[0].grad is grad and not grad.any()
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


@needs_torch
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_repr(name):
    texts = []
    for lib in (jtorch, torch):
        params = parameters(lib)
        optimizer = getattr(lib.optim, name)([{"params": params[:1]}, {"params": params[1:], "lr": 0.5}])
        lib.optim.lr_scheduler.StepLR(optimizer, 3)
        texts.append(repr(optimizer))
    assert texts[0] == texts[1]


def test_named_parameters():
    params = parameters(jtorch)
    optimizer = optim.SGD([(f"p{i}", p) for i, p in enumerate(params)])
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["p0", "p1", "p2", "p3"]


# --- hooks ---------------------------------------------------------------------------------------------------------


def test_hooks():
    params, optimizer = run(jtorch, "SGD", {}, steps=1)
    seen = []
    handles = [
        optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("before step")),
        optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("after step")),
        optimizer.register_state_dict_pre_hook(lambda o: seen.append("before saving")),
        optimizer.register_state_dict_post_hook(lambda o, d: d | {"extra": 1}),
        optimizer.register_load_state_dict_pre_hook(lambda o, d: seen.append(f"before loading {d['extra']}")),
        optimizer.register_load_state_dict_post_hook(lambda o: seen.append("after loading")),
    ]
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == ["before step", "after step", "before saving", "before loading 1", "after loading"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert "extra" not in optimizer.state_dict() and len(seen) == 5


def test_hooks_of_every_optimizer_and_new_arguments():
    _, optimizer = run(jtorch, "SGD", {}, steps=1)
    seen = []
    with (
        optim.optimizer.register_optimizer_step_pre_hook(lambda o, a, k: ((o, lambda: "closure's loss"), {})),
        optim.optimizer.register_optimizer_step_post_hook(lambda o, a, k: seen.append(o)),
    ):
        assert optimizer.step() == "closure's loss"
    assert seen == [optimizer]
    with (
        optimizer.register_step_pre_hook(lambda o, a, k: 3),
        pytest.raises(RuntimeError, match="must return None or a tuple"),
    ):
        optimizer.step()


def test_an_optimizer_of_ones_own():
    class Halve(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

        @jtorch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.mul_(0.5)

    class HalveTwice(Halve):
        def step(self, closure=None):
            super().step()
            super().step()

    p = jtorch.tensor([4.0], requires_grad=True)
    optimizer = HalveTwice([p])
    seen = []
    optimizer.register_step_post_hook(lambda *a: seen.append(1))
    optimizer.step()
    assert p.item() == 1.0 and seen == [1]


# --- errors --------------------------------------------------------------------------------------------------------

leaf = jtorch.zeros(2, requires_grad=True)


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda o: o.SGD([leaf], lr=float("nan")), ValueError, "Invalid learning rate: nan"),
        (lambda o: o.SGD([leaf], lr=-1.0), ValueError, "Invalid learning rate: -1.0"),
        (lambda o: o.SGD([leaf], momentum=-1.0), ValueError, "Invalid momentum value: -1.0"),
        (lambda o: o.SGD([leaf], weight_decay=-1.0), ValueError, "Invalid weight_decay value: -1.0"),
        (lambda o: o.SGD([leaf], nesterov=True), ValueError, "Nesterov momentum requires a momentum"),
        (lambda o: o.SGD([leaf], lr=jtorch.zeros(2)), ValueError, "Tensor lr must be 1-element"),
        (lambda o: o.Adam([leaf], lr=float("nan")), ValueError, "Invalid learning rate: nan"),
        (lambda o: o.Adam([leaf], betas=(1.0, 0.9)), ValueError, "Invalid beta parameter at index 0: 1.0"),
        (lambda o: o.AdamW([leaf], betas=(0.9, -0.1)), ValueError, "Invalid beta parameter at index 1: -0.1"),
        (lambda o: o.Adam([leaf], eps=-1.0), ValueError, "Invalid epsilon value: -1.0"),
        (lambda o: o.Adam([leaf], foreach=True, fused=True), RuntimeError, "cannot be `True` together"),
        (lambda o: o.Adam([leaf], fused=True, differentiable=True), RuntimeError, "`fused` does not support"),
        (lambda o: o.RMSprop([leaf], alpha=-1.0), ValueError, "Invalid alpha value: -1.0"),
        (lambda o: o.Adagrad([leaf], lr_decay=-1.0), ValueError, "Invalid lr_decay value: -1.0"),
        (lambda o: o.SGD(leaf), TypeError, "should be an iterable of Tensors or dicts, but got torch.FloatTensor"),
        (lambda o: o.SGD([]), ValueError, "optimizer got an empty parameter list"),
        (lambda o: o.SGD([3]), TypeError, "one of the params is int"),
        (lambda o: o.SGD([{"params": {leaf}}]), TypeError, "organized in ordered collections"),
        (lambda o: o.SGD([leaf * 2]), ValueError, "can't optimize a non-leaf Tensor"),
        (lambda o: o.SGD([{"params": [leaf]}, {"params": [leaf]}]), ValueError, "more than one parameter group"),
        (lambda o: o.SGD([("a", leaf), jtorch.zeros(1)]), ValueError, "Some param names are missing"),
        (lambda o: o.SGD([leaf]).add_param_group([leaf]), TypeError, "param_group must be a dict"),
        (
            lambda o: o.Optimizer([leaf], {"lr": o.optimizer.required}),
            ValueError,
            "didn't specify a value of required optimization parameter lr",
        ),
    ],
)
def test_errors(make, error, text):
    with pytest.raises(error, match=text):
        make(optim)


def test_duplicate_parameters_warn():
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optim.SGD([leaf, leaf])


def test_load_state_dict_checks_the_groups():
    one = optim.SGD(parameters(jtorch))
    with pytest.raises(ValueError, match="different number of parameter groups"):
        one.load_state_dict({"state": {}, "param_groups": []})
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        one.load_state_dict({"state": {}, "param_groups": [{"params": [0]}]})
