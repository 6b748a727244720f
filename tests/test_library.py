"""Operations of one's own, and operations by name."""

import pytest

import jtorch


def _cube(torch):
    @torch.library.custom_op("jtorch_test::cube", mutates_args=())
    def cube(x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return x * x * x * scale

    @cube.register_fake
    def _(x, scale=1.0):
        return torch.empty_like(x)

    def setup_context(ctx, inputs, output):
        x, ctx.scale = inputs
        ctx.save_for_backward(x)

    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x * x * ctx.scale, None

    cube.register_autograd(backward, setup_context=setup_context)
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = cube(x, scale=2.0)
    y.sum().backward()
    z = torch.ops.jtorch_test.cube(x.detach())
    assert repr(cube) == "<CustomOpDef(jtorch_test::cube)>"
    return y.tolist(), x.grad.tolist(), z.tolist(), torch.ops.jtorch_test.cube.default(x.detach(), 0.5).tolist()


def test_custom_op_is_pytorchs():
    ours = _cube(jtorch)
    assert ours == ([2.0, 16.0], [6.0, 24.0], [1.0, 8.0], [0.5, 4.0])
    torch = pytest.importorskip("torch")
    assert ours == _cube(torch)


def test_custom_op_without_gradient_says_so():
    twice = jtorch.library.custom_op("jtorch_test::twice", lambda x: x * 2, mutates_args=())
    x = jtorch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        twice(x).sum().backward()
    with pytest.raises(ValueError, match="namespace"):
        jtorch.library.custom_op("nameless", lambda x: x, mutates_args=())


def test_mutating_op_and_kernels_by_device():
    @jtorch.library.custom_op("jtorch_test::fill", mutates_args=("x",))
    def fill(x, value):
        x.fill_(value)

    x = jtorch.zeros(2)
    fill(x, 3.0)
    assert x.tolist() == [3.0, 3.0]
    plus = jtorch.library.custom_op("jtorch_test::plus", lambda x: x + 1, mutates_args=())
    plus.register_kernel("cpu", lambda x: x + 2)
    assert plus(x).tolist() == [5.0, 5.0]


def test_library_and_names():
    lib = jtorch.library.Library("jtorch_test", "FRAGMENT")
    assert lib.define("negate(Tensor x) -> Tensor") == "negate"
    lib.impl("negate", lambda x: -x, "CPU")
    assert jtorch.ops.jtorch_test.negate(jtorch.ones(1)).item() == -1
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = jtorch.ops.jtorch_test.absent


def test_aten_by_name():
    aten, x = jtorch.ops.aten, jtorch.tensor([[1.0, -2.0], [3.0, 4.0]])
    assert aten.add.Tensor(x, x).tolist() == (x + x).tolist()
    assert aten.mm.default(x, x).tolist() == (x @ x).tolist()
    assert aten._softmax(x, 1, False).tolist() == x.softmax(1).tolist()
    assert aten.relu(x).tolist() == x.relu().tolist()
    assert aten._to_copy(x, dtype=jtorch.float64).dtype is jtorch.float64
    assert str(aten.add.Tensor) == "aten.add.Tensor" and aten.add.Tensor == jtorch.ops.aten.add.Tensor
    image, kernel = jtorch.randn(1, 2, 5, 5), jtorch.randn(3, 2, 3, 3)
    ours = aten.convolution(image, kernel, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    assert ours.shape == (1, 3, 5, 5)
    with pytest.raises(AttributeError, match="absent"):
        _ = aten.absent


def _by_key(torch):
    """An operation of a library with implementations for autocast and for autograd."""
    lib = torch.library.Library("jtorch_test", "FRAGMENT")
    lib.define("shift(Tensor x, float by) -> Tensor")
    lib.impl("shift", lambda x, by: x + by, "CPU")
    lib.impl("shift", lambda x, by: torch.empty_like(x), "Meta")
    keys, key = torch._C.DispatchKeySet, torch._C.DispatchKey
    autocast = keys(key.AutocastCPU) | keys(key.AutocastCUDA)
    seen = []

    class Shift(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, by):
            with torch._C._AutoDispatchBelowAutograd():
                return torch.ops.jtorch_test.shift(x, by)

        @staticmethod
        def backward(ctx, g):
            return g * 10, None

    def cast(x, by):
        seen.append("autocast")
        with torch._C._ExcludeDispatchKeyGuard(autocast):
            return torch.ops.jtorch_test.shift(x.double(), by)

    lib.impl("shift", cast, "AutocastCPU")
    lib.impl("shift", Shift.apply, "Autograd")
    x = torch.ones(2, requires_grad=True)
    plain = torch.ops.jtorch_test.shift(x, 1.0)
    plain.sum().backward()
    with torch.autocast("cpu"):
        lower = torch.ops.jtorch_test.shift(x.detach(), 1.0)
    return plain.tolist(), x.grad.tolist(), str(lower.dtype), seen, autocast.has(key.AutocastCUDA)


def test_implementations_by_key():
    ours = _by_key(jtorch)
    assert ours == ([2.0, 2.0], [10.0, 10.0], "torch.float64", ["autocast"], True)
    with pytest.raises(RuntimeError, match="could not parse dispatch key"):
        jtorch.library.Library("jtorch_test", "IMPL").impl("shift", abs, "Elsewhere")
    with pytest.raises(OSError, match="dispatcher"):
        jtorch.ops.load_library("lib.so")
    with pytest.raises(OSError, match="PyTorch's C.. dispatcher"):
        jtorch.classes.load_library("lib.so")
    with pytest.raises(RuntimeError, match="Class mine.Stack not registered!"):
        jtorch.classes.mine.Stack()
    torch = pytest.importorskip("torch")
    assert ours == _by_key(torch)


def _gradient_of_a_librarys(torch):
    lib = torch.library.Library("jtorch_test", "FRAGMENT")
    lib.define("triple(Tensor x, float more=0.0) -> Tensor")
    torch.library.register_autograd("jtorch_test::triple", lambda ctx, g: (g * ctx.more, None), setup_context=_keep)
    lib.impl("triple", lambda x, more=0.0: x * 3 + more, "CPU")
    x = torch.ones(2, requires_grad=True)
    y = torch.ops.jtorch_test.triple(x, 5.0)
    y.sum().backward()
    return y.tolist(), x.grad.tolist()


def _keep(ctx, inputs, output):
    ctx.more = inputs[1]


def test_gradient_of_a_librarys_operation():
    ours = _gradient_of_a_librarys(jtorch)
    assert ours == ([8.0, 8.0], [5.0, 5.0])
    torch = pytest.importorskip("torch")
    assert ours == _gradient_of_a_librarys(torch)


def test_torchvisions_operators():
    """The operators that torchvision finds in its shared library, against boxes computed by hand."""
    jtorch.ops.load_library("site-packages/torchvision/_C.so")
    boxes = jtorch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [1, 1, 11, 11], [0, 0, 10, 5], [2, 2, 12, 12]])
    scores, nms = jtorch.tensor([0.8, 0.7, 0.9, 0.6, 0.5]), jtorch.ops.torchvision.nms
    assert nms(boxes, scores, 0.5).tolist() == [2, 1, 3]  # box 0 overlaps box 2 by 81 / 119, box 3 by 36 / 114
    assert nms(boxes, scores, 0.1).tolist() == [2, 1] and nms(boxes, scores, 0.9).tolist() == [2, 0, 1, 3, 4]
    assert nms(boxes[:0], scores[:0], 0.5).shape == (0,)
    with pytest.raises(RuntimeError, match="2d tensor"):
        nms(boxes[0], scores, 0.5)
    jtorch.library.register_autograd("torchvision::roi_pool", lambda ctx, g: g)
    with pytest.raises(NotImplementedError, match="torchvision::roi_pool"):
        jtorch.ops.torchvision.roi_pool(boxes)
