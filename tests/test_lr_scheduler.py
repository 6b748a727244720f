"""Schedules against PyTorch's: every learning rate (and momentum) of 50 steps is equal, not close."""

import math
import types
import warnings

import pytest

import jtorch
from jtorch import optim

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed; it is the reference here")


def sgd(lib, lr=0.1, groups=1):
    params = [{"params": [lib.zeros(2, requires_grad=True)], "lr": lr * (i + 1)} for i in range(groups)]
    return lib.optim.SGD(params, lr=lr, momentum=0.9)


SCHEDULES = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda e: 0.95**e),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda e: 0.95**e, lambda e: 1 / (e + 1)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9 + 0.01 * (e % 3)),
    "step": lambda s, o: s.StepLR(o, 7, 0.3),
    "multistep": lambda s, o: s.MultiStepLR(o, [3, 9, 9, 30], 0.5),
    "constant": lambda s, o: s.ConstantLR(o, 0.3, 6),
    "linear": lambda s, o: s.LinearLR(o, 0.2, 0.8, 13),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.93),
    "polynomial": lambda s, o: s.PolynomialLR(o, 20, 1.7),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 8, 0.001),
    "cosine-long": lambda s, o: s.CosineAnnealingLR(o, 50),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, 2, 0.002),
    "restarts-equal": lambda s, o: s.CosineAnnealingWarmRestarts(o, 7),
    "onecycle": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=50),
    "onecycle-linear": lambda s, o: s.OneCycleLR(
        o, [0.5, 0.4], epochs=10, steps_per_epoch=6, anneal_strategy="linear", three_phase=True
    ),
    "onecycle-plain": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=60, cycle_momentum=False, pct_start=0.1),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, 8),
    "cyclic2": lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.2, 0.1], 6, mode="triangular2", cycle_momentum=False),
    "cyclic-exp": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, mode="exp_range", gamma=0.97),
    "cyclic-own": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, scale_fn=lambda x: 1 / (1 + x), scale_mode="iterations"),
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=5), s.CosineAnnealingLR(o, 20), s.ExponentialLR(o, 0.9)], [5, 25]
    ),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.5, 4), s.ExponentialLR(o, 0.95)]),
    "sequential-of-chained": lambda s, o: s.SequentialLR(
        o, [s.ChainedScheduler([s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9)]), s.StepLR(o, 5)], [10]
    ),
}
TWO_GROUPS = {"lambdas", "onecycle-linear", "cyclic2", "restarts", "cosine"}


def course(lib, name, steps=50):
    """(learning rate, momentum) of each group over the steps, and the scheduler."""
    optimizer = sgd(lib, groups=2 if name in TWO_GROUPS else 1)
    optimizer.step()
    scheduler = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
    out = []
    for _ in range(steps):
        out.append([(group["lr"], group["momentum"]) for group in optimizer.param_groups])
        assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
        scheduler.step()
    return out, scheduler


@needs_torch
@pytest.mark.parametrize("name", SCHEDULES)
def test_equal_to_pytorch(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, _ = course(torch, name)
    assert course(jtorch, name)[0] == expected


@pytest.mark.parametrize("name", SCHEDULES)
def test_state_dict_resumes(name):
    _, first = course(jtorch, name, steps=12)
    optimizer = sgd(jtorch, groups=len(first.optimizer.param_groups))
    optimizer.step()
    second = SCHEDULES[name](optim.lr_scheduler, optimizer)
    optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    for _ in range(20):
        assert second.get_last_lr() == first.get_last_lr()
        first.step()
        second.step()


@needs_torch
@pytest.mark.parametrize("name", SCHEDULES)
def test_state_dict_has_pytorchs_keys(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = set(course(torch, name, 2)[1].state_dict())
    derived = {"_scale_fn_ref", "max_lrs"}  # set on PyTorch's objects only, or worked out from the groups
    assert expected - derived <= set(course(jtorch, name, 2)[1].state_dict()) | {
        k for k in expected if k.startswith("_wrapped")
    }


@needs_torch
@pytest.mark.parametrize("name", ["cosine", "step", "linear", "polynomial", "exponential", "restarts"])
def test_state_of_a_pytorch_schedule_loads(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, theirs = course(torch, name, 9)
    _, ours = course(jtorch, name, 0)
    ours.load_state_dict(theirs.state_dict())
    for group, other in zip(ours.optimizer.param_groups, theirs.optimizer.param_groups, strict=True):
        group["lr"] = other["lr"]
    for _ in range(10):
        ours.step()
        theirs.step()
        assert ours.get_last_lr() == theirs.get_last_lr()


METRICS = [1.0, 0.9, 0.95, 0.95, 0.95, 0.94, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.7999, 0.9, 0.9, 0.9, 0.9, 0.9]


@needs_torch
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 1},
        {"patience": 1, "cooldown": 2, "factor": 0.5},
        {"mode": "max", "patience": 2, "threshold_mode": "abs", "threshold": 0.01},
        {"patience": 0, "min_lr": 0.02},
    ],
)
def test_plateau_equal_to_pytorch(options):
    courses = []
    for lib in (torch, jtorch):
        optimizer = sgd(lib)
        scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        lrs = []
        for metric in METRICS:
            scheduler.step(metric)
            lrs.append(scheduler.get_last_lr()[0])
        courses.append((lrs, scheduler.num_bad_epochs, scheduler.best))
        assert set(scheduler.state_dict()) >= {"best", "num_bad_epochs", "cooldown_counter", "last_epoch"}
    assert courses[0] == courses[1]


def test_plateau_takes_a_tensor():
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(sgd(jtorch), patience=0)
    scheduler.step(jtorch.tensor(1.0))
    scheduler.step(jtorch.tensor(2.0))
    assert scheduler.get_last_lr() == [pytest.approx(0.01)]


def test_tensor_learning_rate_is_filled_in_place():
    lr = jtorch.tensor(0.1)
    optimizer = jtorch.optim.SGD([jtorch.zeros(1, requires_grad=True)], lr=lr)
    optimizer.step()
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(0.05)


def test_warns_when_stepped_before_the_optimizer():
    scheduler = optim.lr_scheduler.StepLR(sgd(jtorch), 2)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    optimizer = sgd(jtorch)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 2)
    optimizer.step()
    scheduler.step()


@pytest.mark.parametrize("lib", [jtorch, pytest.param(torch, marks=needs_torch)], ids=["jtorch", "torch"])
def test_warns_when_the_optimizers_step_was_replaced_after_the_schedule_was_made(lib):
    def wrapped(optimizer):
        step = optimizer.step
        optimizer.step = types.MethodType(lambda self, *args: step(*args), optimizer)
        return optimizer

    optimizer = sgd(lib)
    scheduler = lib.optim.lr_scheduler.StepLR(optimizer, 2)
    wrapped(optimizer).step()
    with pytest.warns(UserWarning, match="has been overridden after learning rate scheduler initialization"):
        scheduler.step()
    optimizer = wrapped(sgd(lib))
    scheduler = lib.optim.lr_scheduler.StepLR(optimizer, 2)
    optimizer.step()
    scheduler.step()  # a warning would be an error


def test_warns_when_get_lr_is_called_directly():
    with pytest.warns(UserWarning, match="get_last_lr"):
        optim.lr_scheduler.StepLR(sgd(jtorch), 2).get_lr()


def test_explicit_epoch_uses_the_closed_form():
    optimizer = sgd(jtorch)
    optimizer.step()
    scheduler = optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(6)
    assert scheduler.get_last_lr() == [0.1 * 0.5**3]


def test_resuming_needs_initial_lr():
    with pytest.raises(KeyError, match="initial_lr"):
        optim.lr_scheduler.StepLR(sgd(jtorch), 2, last_epoch=3)


def test_a_schedule_of_ones_own():
    class Inverse(optim.lr_scheduler.LRScheduler):
        def get_lr(self):
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    optimizer = sgd(jtorch)
    optimizer.step()
    scheduler = Inverse(optimizer)
    scheduler.step()
    assert scheduler.get_last_lr() == [0.05]


S = optim.lr_scheduler


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda o: S.StepLR(object(), 2), TypeError, "object is not an Optimizer"),
        (lambda o: S.LambdaLR(o, [lambda e: 1.0, lambda e: 1.0]), ValueError, "Expected 1 lr_lambdas, but got 2"),
        (lambda o: S.MultiplicativeLR(o, 0.5), TypeError, "should be a function, but got float"),
        (lambda o: S.ConstantLR(o, 1.5), ValueError, "between 0 and 1"),
        (lambda o: S.LinearLR(o, 0.0), ValueError, "greater than 0"),
        (lambda o: S.LinearLR(o, 0.5, 1.5), ValueError, "between 0 and 1"),
        (lambda o: S.CosineAnnealingWarmRestarts(o, 0), ValueError, "Expected positive integer T_0, but got 0"),
        (lambda o: S.CosineAnnealingWarmRestarts(o, 2, 0), ValueError, "Expected integer T_mult >= 1, but got 0"),
        (lambda o: S.OneCycleLR(o, 0.1), ValueError, "You must define either total_steps"),
        (lambda o: S.OneCycleLR(o, 0.1, total_steps=-1), ValueError, "positive integer total_steps, but got -1"),
        (lambda o: S.OneCycleLR(o, 0.1, total_steps=5, pct_start=2.0), ValueError, "Expected float between 0 and 1"),
        (lambda o: S.OneCycleLR(o, 0.1, total_steps=5, anneal_strategy="x"), ValueError, "'cos' or 'linear'"),
        (lambda o: S.CyclicLR(o, 0.1, 0.2, mode="x"), ValueError, "mode is invalid"),
        (lambda o: S.CyclicLR(o, [0.1, 0.1], 0.2), ValueError, "base_lr must have the same length"),
        (lambda o: S.ReduceLROnPlateau(o, factor=1.0), ValueError, "Factor should be < 1.0"),
        (lambda o: S.ReduceLROnPlateau(o, mode="x"), ValueError, "mode x is unknown!"),
        (lambda o: S.SequentialLR(o, [], []), ValueError, "at least one scheduler"),
        (lambda o: S.SequentialLR(o, [S.StepLR(o, 1)], [3]), ValueError, "one more than the number of milestone"),
        (lambda o: S.ChainedScheduler([S.ReduceLROnPlateau(o)]), ValueError, "does not support `ReduceLROnPlateau`"),
        (lambda o: S.SequentialLR(o, [S.StepLR(sgd(jtorch), 1)], []), ValueError, "belong to the same optimizer"),
    ],
)
def test_errors(make, error, text):
    with pytest.raises(error, match=text):
        make(sgd(jtorch))


def test_too_many_steps_of_one_cycle():
    optimizer = sgd(jtorch)
    optimizer.step()
    scheduler = S.OneCycleLR(optimizer, 0.1, total_steps=3)
    for _ in range(3):
        scheduler.step()
    with pytest.raises(ValueError, match="Tried to step 4 times. The specified number of total steps is 3"):
        scheduler.step()


def test_momentum_needed_to_cycle_it():
    adagrad = optim.Adagrad([jtorch.zeros(1, requires_grad=True)])
    with pytest.raises(ValueError, match="must support momentum"):
        S.CyclicLR(adagrad, 0.1, 0.2)
    assert math.isclose(S.CyclicLR(adagrad, 0.1, 0.2, cycle_momentum=False).get_last_lr()[0], 0.1)
