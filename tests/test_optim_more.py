"""The less common optimizers and weight averaging against PyTorch's."""

import copy
import warnings

import numpy as np
import pytest

import jtorch
from jtorch import debug, nn, optim
from jtorch.optim import swa_utils

from .both import check
from .test_optim import (
    assert_close,
    assert_same_state,
    check_complex_parameters,
    give_gradients,
    needs_torch,
    numbers,
    parameters,
    run,
    torch,
)

CONFIGS = [
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.5, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.1, "beta2_decay": -0.5, "eps": (1e-5, 0.1), "d": 1.5, "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 2, "weight_decay": 0.1}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.3, "momentum_decay": 0.01, "maximize": True}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.1, "betas": (0.8, 0.99), "weight_decay": 0.3, "eps": 1e-5, "maximize": True}),
    ("RAdam", {"lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.3, 1.7), "step_sizes": (1e-2, 0.2), "maximize": True}),
]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(CONFIGS)]
NAMES = sorted({name for name, _ in CONFIGS})


@needs_torch
@pytest.mark.parametrize("name, options", CONFIGS, ids=IDS)
def test_float32_equals_pytorch(name, options):
    ours, our_optimizer = run(jtorch, name, options, steps=20)
    theirs, their_optimizer = run(torch, name, options, steps=20)
    assert repr(our_optimizer) == repr(their_optimizer)
    assert_close(ours, theirs, rtol=3e-6, atol=3e-7)
    assert_same_state(our_optimizer.state_dict(), their_optimizer.state_dict(), rtol=3e-6, atol=3e-7)


@needs_torch
@pytest.mark.parametrize("name, options", CONFIGS, ids=IDS)
def test_float64_equals_pytorch(name, options):
    ours, _ = run(jtorch, name, options, steps=20, dtype="float64")
    theirs, _ = run(torch, name, options, steps=20, dtype="float64")
    # the counts and products that PyTorch keeps in float32 are float32 here too
    assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


@needs_torch
@pytest.mark.parametrize("name", NAMES)
def test_parameters_without_gradient_are_skipped(name):
    results = []
    for lib in (jtorch, torch):
        params = parameters(lib)
        optimizer = getattr(lib.optim, name)(params, lr=0.1)
        for step in range(5):
            give_gradients(lib, params, step, skip=(0,) if step >= 2 else (0, 1))
            optimizer.step()
        results.append((params, optimizer.state_dict()))
    assert_close(results[0][0], results[1][0], rtol=3e-6, atol=3e-7)
    assert_same_state(results[0][1], results[1][1], rtol=3e-6, atol=3e-7)


@needs_torch
@pytest.mark.parametrize("name", [n for n in NAMES if n != "Adafactor"])
def test_complex_parameters(name):
    check_complex_parameters(name)


def test_complex_parameters_are_refused():
    p = jtorch.zeros(2, 2, dtype=jtorch.complex64, requires_grad=True)
    p.grad = jtorch.zeros_like(p)
    for name in ("Adafactor", "Muon"):
        with pytest.raises(RuntimeError, match=f"{name} does not support complex parameters"):
            getattr(optim, name)([p]).step()


@pytest.mark.parametrize("name, options", [*CONFIGS, ("Muon", {})], ids=[*IDS, "Muon"])
def test_the_first_step_is_the_program_of_all_steps(name, options):
    x = jtorch.tensor(numbers(0, 0, (6, 3)))
    w = jtorch.full((3, 2), 0.5, requires_grad=True)
    optimizer = getattr(optim, name)([w], **options)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    debug.clear_executables()
    compiles = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = ((x @ w).tanh() ** 2).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        loss.item()
        compiles.append(debug.counters()["compiles"])
    assert len(set(compiles)) == 1, compiles


@needs_torch
@pytest.mark.parametrize("name", NAMES)
def test_state_goes_on_in_the_other_library(name):
    """Half of the steps here, half of them in PyTorch, and back."""
    theirs, _ = run(torch, name, {"lr": 0.1}, steps=6)
    ours, optimizer = run(jtorch, name, {"lr": 0.1}, steps=3)
    moved = [torch.tensor(p.detach().numpy(), requires_grad=True) for p in ours]
    other = getattr(torch.optim, name)(moved)
    saved = optimizer.state_dict()
    state = {i: {k: torch.tensor(v.numpy()) for k, v in s.items()} for i, s in saved["state"].items()}
    other.load_state_dict({"state": state, "param_groups": copy.deepcopy(saved["param_groups"])})
    again = getattr(optim, name)(ours)
    again.load_state_dict(saved)
    for step in range(3, 6):
        give_gradients(torch, moved, step)
        other.step()
        give_gradients(jtorch, ours, step)
        again.step()
    assert_close(moved, theirs, rtol=3e-6, atol=3e-7)
    assert_close(ours, theirs, rtol=3e-6, atol=3e-7)


# --- Muon ----------------------------------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize(
    "options",
    [{}, {"adjust_lr_fn": "match_rms_adamw", "nesterov": False}, {"ns_steps": 3, "weight_decay": 0.3, "momentum": 0.5}],
)
def test_muon_equals_pytorch(options):
    """To float32's last places, though it computes in bfloat16: it rounds where PyTorch rounds."""
    results = []
    for lib in (jtorch, torch):
        params = [lib.tensor(numbers(9, i, s), requires_grad=True) for i, s in enumerate([(3, 4), (4, 3), (6, 6)])]
        optimizer = lib.optim.Muon(params, lr=0.01, **options)
        for step in range(20):
            give_gradients(lib, params, step)
            optimizer.step()
        results.append(params)
    assert_close(*results, rtol=3e-6, atol=1e-6)


def test_muon_refuses_what_is_no_matrix():
    with pytest.raises(ValueError, match="Muon only supports 2D parameters whereas we found a parameter with size"):
        optim.Muon([jtorch.zeros(3, requires_grad=True)])
    with pytest.raises(ValueError, match="Adjust learning rate function arbitrary is not supported"):
        optim.Muon([jtorch.zeros(3, 3, requires_grad=True)], adjust_lr_fn="arbitrary")


# --- L-BFGS --------------------------------------------------------------------------------------------------------


def lbfgs(lib, steps, **options):
    """Fits a small network; returns its parameters, the optimizer, and the losses."""
    x, y = lib.tensor(numbers(0, 0, (30, 4), "float64")), lib.tensor(numbers(0, 1, (30, 2), "float64"))
    w = lib.tensor(numbers(0, 2, (4, 3), "float64") * 0.3, requires_grad=True)
    v = lib.tensor(numbers(0, 3, (3, 2), "float64") * 0.3, requires_grad=True)
    optimizer = lib.optim.LBFGS([w, v], **options)

    def closure():
        optimizer.zero_grad()
        loss = ((lib.tanh(x @ w) @ v - y) ** 2).mean()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(steps)]
    return [w, v], optimizer, losses


@needs_torch
@pytest.mark.parametrize(
    "options",
    [{"lr": 0.5}, {"line_search_fn": "strong_wolfe"}, {"lr": 0.1, "history_size": 3, "max_iter": 7, "max_eval": 30}],
)
def test_lbfgs_equals_pytorch(options):
    ours, our_optimizer, our_losses = lbfgs(jtorch, 2, **options)
    theirs, their_optimizer, their_losses = lbfgs(torch, 2, **options)
    np.testing.assert_allclose(our_losses, their_losses, rtol=1e-8)
    assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    for name in ("func_evals", "n_iter"):
        assert our_optimizer.state_dict()["state"][0][name] == their_optimizer.state_dict()["state"][0][name]
    assert repr(our_optimizer) == repr(their_optimizer)


def test_lbfgs_goes_on_from_its_state_dict():
    _, _, losses = lbfgs(jtorch, 1, lr=0.5, max_iter=8)
    params, optimizer, _ = lbfgs(jtorch, 1, lr=0.5, max_iter=8)
    again = optim.LBFGS(params)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert again.state_dict()["state"][0]["n_iter"] == 8
    first = again.step(lambda: _fit(params, again))
    assert again.state_dict()["state"][0]["n_iter"] == 16
    assert _fit(params, again).item() < first.item() < losses[0]


def _fit(params, optimizer):
    x, y = jtorch.tensor(numbers(0, 0, (30, 4), "float64")), jtorch.tensor(numbers(0, 1, (30, 2), "float64"))
    optimizer.zero_grad()
    loss = ((jtorch.tanh(x @ params[0]) @ params[1] - y) ** 2).mean()
    loss.backward()
    return loss


def test_lbfgs_refuses():
    a, b = (jtorch.zeros(2, requires_grad=True) for _ in range(2))
    with pytest.raises(ValueError, match="LBFGS doesn't support per-parameter options"):
        optim.LBFGS([{"params": a}, {"params": b}])
    optimizer = optim.LBFGS([a], line_search_fn="armijo")

    def closure():
        optimizer.zero_grad()
        loss = ((a - 1) ** 2).sum()
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        optimizer.step(closure)


# --- averaging -----------------------------------------------------------------------------------------------------


def model(lib):
    made = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.BatchNorm1d(4), lib.nn.Linear(4, 2))
    with lib.no_grad():
        for i, p in enumerate(made.parameters()):
            p.copy_(lib.tensor(numbers(5, i, tuple(p.shape))))
    return made


@needs_torch
@pytest.mark.parametrize(
    "how, use_buffers",
    [
        ("default", False),
        ("default", True),
        ("ema", False),
        ("ema", True),
        ("multi ema", False),
        ("multi ema", True),
        ("multi swa", False),  # with buffers PyTorch's divides integers, and raises
    ],
)
def test_averaged_model_equals_pytorch(how, use_buffers):
    results = []
    for lib in (jtorch, torch):
        utils = lib.optim.swa_utils
        functions = {
            "default": {},
            "ema": {"avg_fn": utils.get_ema_avg_fn(0.7)},
            "multi ema": {"multi_avg_fn": utils.get_ema_multi_avg_fn(0.7)},
            "multi swa": {"multi_avg_fn": utils.get_swa_multi_avg_fn()},
        }[how]
        source = model(lib)
        average = utils.AveragedModel(source, use_buffers=use_buffers, **functions)
        for step in range(4):
            source(lib.tensor(numbers(step, 7, (5, 3))))
            with lib.no_grad():
                for i, p in enumerate(source.parameters()):
                    p.add_(lib.tensor(numbers(step, i, tuple(p.shape))))
            average.update_parameters(source)
        results.append(average.state_dict())
    assert list(results[0]) == list(results[1])
    assert_close(results[0].values(), results[1].values(), rtol=2e-6, atol=1e-6)


@needs_torch
def test_update_bn_equals_pytorch():
    results = []
    for lib in (jtorch, torch):
        made = model(lib).eval()
        batches = [[lib.tensor(numbers(step, 3, (6, 3))), "label"] for step in range(3)]
        lib.optim.swa_utils.update_bn(batches, made)
        assert not made.training and made[1].momentum == 0.1
        results.append([made[1].running_mean, made[1].running_var])
    assert_close(*results, rtol=2e-6, atol=1e-6)


@needs_torch
@pytest.mark.parametrize("options", [{}, {"anneal_strategy": "linear", "anneal_epochs": 4}, {"anneal_epochs": 0}])
def test_swalr_equals_pytorch(options):
    results = []
    for lib in (jtorch, torch):
        optimizer = lib.optim.SGD([lib.zeros(1, requires_grad=True)], lr=0.5)
        schedule = lib.optim.swa_utils.SWALR(optimizer, swa_lr=0.05, **options)
        rates = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(12):
                optimizer.step()
                schedule.step()
                rates += schedule.get_last_lr()
        results.append(rates)
    assert results[0] == results[1]


def test_averaging_refuses():
    with pytest.raises(ValueError, match="Invalid decay value 1.5 provided"):
        swa_utils.get_ema_multi_avg_fn(1.5)
    with pytest.raises(AssertionError, match="Only one of avg_fn and multi_avg_fn"):
        fn = swa_utils.get_swa_avg_fn()
        swa_utils.AveragedModel(nn.Linear(1, 1), avg_fn=fn, multi_avg_fn=fn)
    optimizer = optim.SGD([jtorch.zeros(1, requires_grad=True)])
    with pytest.raises(ValueError, match="anneal_strategy must be one of"):
        swa_utils.SWALR(optimizer, 0.1, anneal_strategy="exp")
    with pytest.raises(ValueError, match="anneal_epochs must be equal or greater than 0"):
        swa_utils.SWALR(optimizer, 0.1, anneal_epochs=-1)


def test_state_that_is_of_no_parameter():
    def program(torch):
        optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=0.1, momentum=0.9)
        optimizer.register_state_dict_pre_hook(lambda o: o.state.__setitem__("count", 1))
        other = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=0.1)
        other.load_state_dict(optimizer.state_dict())
        return optimizer.state_dict()["state"], dict(other.state)

    check(program)
