"""autocast and GradScaler, held to PyTorch's behaviour on CPU where it is installed."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import jtorch

F32, LOW = "float32", "bfloat16"


def _results(torch):
    """Each operation under CPU autocast: the dtype of its result."""
    F = torch.nn.functional
    torch.manual_seed(0)
    x, y = torch.randn(4, 4), torch.randn(4, 4)
    low = x.bfloat16()
    image, volume = torch.randn(1, 2, 6, 6), torch.randn(1, 2, 6, 6, 6)
    target = torch.tensor([0, 1, 2, 3])
    spd = x @ x.T + 4 * torch.eye(4)
    out = {}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out["mm"] = torch.mm(x, y)
        out["matmul"] = x @ y
        out["bmm"] = torch.bmm(x[None], y[None])
        out["addmm"] = torch.addmm(x, x, y)
        out["baddbmm"] = torch.baddbmm(x[None], x[None], y[None])
        out["linear"] = F.linear(x, y)
        out["linear, mixed"] = F.linear(low, y)
        out["conv2d"] = F.conv2d(image, torch.randn(3, 2, 3, 3))
        out["conv1d"] = F.conv1d(image[0], torch.randn(3, 6, 3))
        out["conv_transpose2d"] = F.conv_transpose2d(image, torch.randn(2, 3, 3, 3))
        out["sdpa"] = F.scaled_dot_product_attention(x[None], x[None], x[None])
        out["add"] = x + y
        out["add, mixed"] = low + y
        out["relu of low"] = F.relu(low)
        out["softmax of low"] = F.softmax(low, -1)
        out["exp of low"] = low.exp()
        out["layer_norm"] = F.layer_norm(x, (4,))
        out["sum of low"] = low.sum()
        out["prod of low"] = low.prod()
        out["mse_loss of low"] = F.mse_loss(low, low + 1)
        out["l1_loss of low"] = F.l1_loss(low, low + 1)
        out["cross_entropy of low"] = F.cross_entropy(low, target)
        out["nll_loss of low"] = F.nll_loss(low, target)
        out["bce_with_logits of low"] = F.binary_cross_entropy_with_logits(low, torch.ones(4, 4))
        out["bce of low"] = F.binary_cross_entropy(low.sigmoid(), torch.ones(4, 4))
        out["kl_div of low"] = F.kl_div(low, low.softmax(-1), reduction="batchmean")
        out["smooth_l1 of low"] = F.smooth_l1_loss(low, low + 1)
        out["trace of low"] = low.trace()
        out["cdist of low"] = torch.cdist(low, low)
        out["cat, mixed"] = torch.cat([low, y])
        out["stack, mixed"] = torch.stack([low, y])
        out["stack of low"] = torch.stack([low, low])
        out["inverse of low"] = torch.inverse(spd.bfloat16())
        out["max_pool2d"] = F.max_pool2d(image.bfloat16(), 2)
        out["max_pool3d"] = F.max_pool3d(volume.bfloat16(), 2)
        out["avg_pool3d"] = F.avg_pool3d(volume.bfloat16(), 2)
        out["max_pool3d with indices"] = F.max_pool3d(volume.bfloat16(), 2, return_indices=True)[0]
        out["adaptive_max_pool3d"] = F.adaptive_max_pool3d(volume.bfloat16(), 2)
        for mode in ("reflect", "replicate", "constant"):
            out[f"pad, {mode}"] = F.pad(image.bfloat16(), (1, 1, 1, 1), mode=mode)
        out["prelu"] = F.prelu(x, torch.ones(4))
        out["tensordot"] = torch.tensordot(x, y, 1)
        out["multi_dot"] = torch.linalg.multi_dot([x, y, x])
        out["matrix_norm of low"] = torch.linalg.matrix_norm(low)
        out["norm of low"] = torch.linalg.norm(low, 1)
        out["double mm"] = x.double() @ y.double()
        out["einsum"] = torch.einsum("ij,jk->ik", x, y)
        out["mv"] = torch.mv(x, y[0])
        states = {"none": None, "wide": torch.zeros(1, 4, 4), "low": torch.zeros(1, 4, 4).bfloat16()}
        for kind in ("LSTM", "GRU", "RNN"):
            layer, cell = getattr(torch.nn, kind)(4, 4), getattr(torch.nn, f"{kind}Cell")(4, 4)
            for given, data in (("x", x), ("low", low)):
                for state, h in states.items():
                    hx = h if h is None or kind != "LSTM" else (h, h)
                    hx0 = h if h is None else h[0] if kind != "LSTM" else (h[0], h[0])
                    out[f"{kind} of {given}, {state}"] = layer(data[None], hx)[0]
                    found = cell(data, hx0)
                    out[f"{kind}Cell of {given}, {state}"] = found[0] if kind == "LSTM" else found
        with torch.autocast("cpu", enabled=False):
            out["off inside"] = x @ y
    out["after"] = x @ y
    return {name: str(t.dtype).removeprefix("torch.").removeprefix("jtorch.") for name, t in out.items()}


def test_dtypes_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    expected, ours = _results(torch), _results(jtorch)
    assert {k: v for k, v in ours.items() if expected[k] != v} == {}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("low", [False, True])
def test_recurrent_layers_under_autocast_give_pytorchs_numbers(kind, low):
    torch = pytest.importorskip("torch")

    def run(torch):
        torch.manual_seed(0)
        layer, x = getattr(torch.nn, kind)(4, 8, num_layers=2), torch.randn(5, 3, 4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = layer(x.bfloat16() if low else x)[0]
        out.float().square().sum().backward()
        return [out.detach().float().numpy(), *(p.grad.numpy() for p in layer.parameters())]

    for ours, theirs in zip(run(jtorch), run(torch), strict=True):
        assert ours.dtype == theirs.dtype and abs(ours - theirs).max() < 0.05 * max(abs(theirs).max(), 0.1)


def test_devices_that_are_none():
    with pytest.raises(RuntimeError, match="Invalid device string: 'not a device'"):
        jtorch.autocast("not a device")
    with pytest.raises(RuntimeError, match="unsupported autocast device_type 'meta'"):
        jtorch.autocast("meta")


def test_policies_name_ops_that_exist():
    from jtorch.amp import policies
    from jtorch.ops.registry import OPS

    for kind in ("cpu", "cuda"):
        assert set(policies.table(kind)) <= set(OPS)
    assert all(attribute in OPS[name].static_names for name, (attribute, _) in policies.ONLY.items())


def test_lower_precision_and_gradients_in_the_type_of_the_weights():
    layer = jtorch.nn.Linear(8, 8)
    x = jtorch.randn(4, 8)
    with jtorch.autocast("cpu"):
        y = layer(x)
        loss = jtorch.nn.functional.mse_loss(y, jtorch.zeros(4, 8))
    assert y.dtype is jtorch.bfloat16 and loss.dtype is jtorch.float32
    loss.backward()
    assert layer.weight.grad.dtype is jtorch.float32
    exact = jtorch.nn.functional.mse_loss(layer(x), jtorch.zeros(4, 8))
    assert abs(exact.item() - loss.item()) < 2e-2 * exact.item()


def test_trains_like_pytorch_under_autocast():
    torch = pytest.importorskip("torch")

    def train(torch):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(32, 8), torch.randint(0, 3, (32,))
        losses = []
        for _ in range(10):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    # bfloat16 keeps 8 bits: the two libraries add products up in different orders
    np.testing.assert_allclose(train(jtorch), train(torch), rtol=1e-2)


def test_state_is_restored_also_after_an_error_and_per_thread():
    import threading

    assert not jtorch.is_autocast_enabled("cpu")
    with pytest.raises(ZeroDivisionError):
        with jtorch.autocast("cpu"):
            assert jtorch.is_autocast_enabled("cpu") and jtorch.get_autocast_dtype("cpu") is jtorch.bfloat16
            seen = []
            thread = threading.Thread(target=lambda: seen.append((jtorch.ones(2, 2) @ jtorch.ones(2, 2)).dtype))
            thread.start()
            thread.join()
            assert seen == [jtorch.float32]
            raise ZeroDivisionError
    assert not jtorch.is_autocast_enabled("cpu")
    assert (jtorch.ones(2, 2) @ jtorch.ones(2, 2)).dtype is jtorch.float32


def test_decorator_and_refusals():
    @jtorch.autocast("cpu")
    def product(x):
        return x @ x

    assert product(jtorch.ones(2, 2)).dtype is jtorch.bfloat16
    with pytest.raises(RuntimeError, match="unsupported autocast device_type"):
        jtorch.autocast("toaster")
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
        jtorch.autocast(3)
    with pytest.warns(UserWarning, match="not supported"):
        region = jtorch.autocast("cpu", dtype=jtorch.float64)
    with region:
        assert (jtorch.ones(2, 2) @ jtorch.ones(2, 2)).dtype is jtorch.float32


def test_custom_function_keeps_the_state_of_its_forward():
    seen = []

    class Double(jtorch.autograd.Function):
        @staticmethod
        @jtorch.amp.custom_fwd(device_type="cpu", cast_inputs=jtorch.float32)
        def forward(ctx, x):
            seen.append((x.dtype, jtorch.is_autocast_enabled("cpu")))
            return x * 2

        @staticmethod
        @jtorch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            seen.append(jtorch.is_autocast_enabled("cpu"))
            return g * 2

    x = jtorch.ones(2, dtype=jtorch.bfloat16, requires_grad=True)
    with jtorch.autocast("cpu"):
        y = Double.apply(x)
        y.sum().backward()
    assert seen == [(jtorch.float32, False), False]
    assert y.dtype is jtorch.float32 and x.grad.tolist() == [2.0, 2.0]


def _scaled_steps(torch, bad_step):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    x = torch.randn(8, 4)
    history = []
    for step in range(6):
        optimizer.zero_grad()
        loss = model(x).pow(2).mean()
        scaler.scale(loss).backward()
        if step == bad_step:
            model.weight.grad[0, 1] = float("inf")
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        history.append((scaler.get_scale(), model.weight.detach().numpy().copy()))
    return history, scaler.state_dict()


def test_grad_scaler_is_pytorchs():
    torch = pytest.importorskip("torch")
    (ours, state), (theirs, expected) = _scaled_steps(jtorch, 3), _scaled_steps(torch, 3)
    assert [s for s, _ in ours] == [s for s, _ in theirs]
    for (_, a), (_, b) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert state == expected


def test_grad_scaler_refuses_misuse():
    parameter = jtorch.nn.Parameter(jtorch.ones(2))
    optimizer = jtorch.optim.SGD([parameter], lr=0.1)
    scaler = jtorch.amp.GradScaler("cpu")
    for method, arguments in (("update", ()), ("unscale_", (optimizer,)), ("step", (optimizer,))):
        with pytest.raises(AssertionError, match=f"Attempted {method} but _scale is None"):
            getattr(scaler, method)(*arguments)
    scaler.scale(parameter.sum()).backward()
    with pytest.raises(AssertionError, match="No inf checks"):
        scaler.update()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    scaler.update()
    with pytest.raises(RuntimeError, match="empty"):
        scaler.load_state_dict({})
    off = jtorch.amp.GradScaler("cpu", enabled=False)
    assert off.get_scale() == 1.0 and off.state_dict() == {} and off.scale(parameter) is parameter


OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9},
    "SGD, damped": {"lr": 0.1, "momentum": 0.9, "dampening": 0.5},
    "Adam": {"lr": 0.1, "amsgrad": True},
    "AdamW": {"lr": 0.1},
    "RMSprop": {"lr": 0.1, "momentum": 0.9},
    "Adagrad": {"lr": 0.1},
    "NAdam": {"lr": 0.1},
    "ASGD": {"lr": 0.1},
}


def _skipping_steps(torch, how, compiled, bad=(0, 1, 4)):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    optimizer = getattr(torch.optim, how.split(",")[0])(model.parameters(), **OPTIMIZERS[how])
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    x = torch.randn(8, 4)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).pow(2).mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    run = torch.compile(step) if compiled else step
    history = []
    for i in range(9):
        loss = run(x * float("inf") if i in bad else x)
        history.append((loss.detach().clone(), *(p.detach().clone() for p in model.parameters())))
    return [[t.numpy() for t in row] for row in history], scaler.state_dict(), run


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("how", OPTIMIZERS)
def test_steps_with_infinite_gradients_change_nothing(how, compiled):
    torch = pytest.importorskip("torch")
    ours, state, run = _skipping_steps(jtorch, how, compiled)
    theirs, expected, _ = _skipping_steps(torch, how, False)
    assert state == expected
    for a, b in zip(ours, theirs, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
    if compiled and how not in ("ASGD", "SGD, damped"):  # which have the host decide
        assert run.captures == 1, run.latest


def test_a_scaled_step_is_one_program(compiled_at_once):
    from jtorch.debug import counters

    model = jtorch.nn.Linear(4, 5)
    optimizer, scaler = jtorch.optim.Adam(model.parameters()), jtorch.amp.GradScaler("cpu")
    x, labels = jtorch.randn(8, 4), jtorch.arange(8) % 5

    def step():
        optimizer.zero_grad()
        with jtorch.autocast("cpu", dtype=jtorch.bfloat16):
            loss = jtorch.nn.functional.cross_entropy(model(x), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    for _ in range(3):
        step()
    before = counters()
    for _ in range(4):
        step()
    after = counters()
    assert after["compiles"] == before["compiles"] and after["flushes"] - before["flushes"] == 4


def test_a_label_out_of_range_and_an_infinite_gradient():
    """Either leaves parameters as they are."""
    w = jtorch.nn.Parameter(jtorch.ones(3, 4))
    optimizer, scaler = jtorch.optim.Adam([w], lr=0.1), jtorch.amp.GradScaler("cpu")

    def step(factor, row):
        optimizer.zero_grad()
        scaler.scale((w[jtorch.tensor([row])] * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    step(1.0, 0)
    after_one = w.detach().numpy().copy()
    assert (after_one[0] != 1).all() and (after_one[1:] == 1).all()
    step(float("nan"), 1)
    np.testing.assert_array_equal(w.detach().numpy(), after_one)
    assert scaler.get_scale() == 2.0**15
    step(1.0, 7)
    with pytest.raises(IndexError):
        jtorch.sync()
    np.testing.assert_array_equal(w.detach().numpy(), after_one)
    step(1.0, 2)
    assert (w.detach().numpy()[2] != 1).all()


def test_the_host_decides_where_more_happens_in_a_step():
    """Hooks, and steps of the program's own, run only if the step is not skipped."""
    ran = []

    class Own(jtorch.optim.SGD):
        def step(self, closure=None):
            ran.append("own")
            return super().step(closure)

    class Aware(jtorch.optim.SGD):
        _step_supports_amp_scaling = True

        def step(self, closure=None):
            ran.append((self.grad_scale, self.found_inf.item()))

    for kind, hooked, expected in ((jtorch.optim.SGD, True, ["hook"]), (Own, False, ["own"]),
                                   (Aware, False, [(None, 1.0), (None, 0.0)])):  # fmt: skip
        w = jtorch.ones(2, requires_grad=True)
        optimizer, scaler = kind([w], lr=0.1), jtorch.amp.GradScaler("cpu")
        if hooked:
            optimizer.register_step_post_hook(lambda *_: ran.append("hook"))
        for factor in (float("inf"), 1.0):
            w.grad = None
            scaler.scale((w * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        assert ran == expected
        ran.clear()


@pytest.mark.parametrize("new", [3.0, "tensor", "two elements", "with a gradient"])
def test_update_takes_a_new_scale(new):
    def run(torch):
        scaler = torch.amp.GradScaler("cpu")
        scaler.scale(torch.ones(()))
        value = {"tensor": torch.tensor(4.0), "two elements": torch.ones(2)}.get(new, new)
        scaler.update(torch.tensor(4.0, requires_grad=True) if new == "with a gradient" else value)
        return scaler.get_scale(), scaler._scale.item(), scaler._growth_tracker.item()

    results = []
    for lib in (jtorch, pytest.importorskip("torch")):
        try:
            results.append(run(lib))
        except AssertionError as error:
            results.append(str(error))
    assert results[0] == results[1]


@pytest.mark.skipif(jtorch.cuda.is_available(), reason="where there is no GPU")
def test_grad_scaler_for_a_gpu_that_is_not_there_does_nothing():
    for make in (jtorch.amp.GradScaler, jtorch.cuda.amp.GradScaler):
        with pytest.warns(UserWarning, match="CUDA is not available"):
            scaler = make()
        assert not scaler.is_enabled() and scaler.get_scale() == 1.0 and scaler.state_dict() == {}


def test_stages_of_a_scaled_step():
    from jtorch.amp.grad_scaler import OptState

    w = jtorch.ones(2, requires_grad=True)
    optimizer, scaler = jtorch.optim.SGD([w]), jtorch.amp.GradScaler("cpu")
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    state = scaler._per_optimizer_states[id(optimizer)]
    assert state["stage"] is OptState.UNSCALED
    scaler.step(optimizer)
    assert state["stage"] is OptState.STEPPED
    scaler.update()
    assert scaler._per_optimizer_states[id(optimizer)]["stage"] is OptState.READY


def test_what_autocast_casts_is_not_held():
    """Activations are freed as they go, without the cyclic collector."""
    gc.disable()
    try:
        x, w = jtorch.randn(8, 8), jtorch.randn(8, 8, requires_grad=True)
        with jtorch.autocast("cpu", dtype=jtorch.bfloat16):
            h = (x @ w).relu()
            held = weakref.ref(h)
            loss = (h @ w).sum()
        del h
        loss.backward()
        assert held() is None
    finally:
        gc.enable()
