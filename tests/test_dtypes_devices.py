"""Element types and their promotion; devices, and what may be mixed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import jtorch

from .both import Table, check, check_raises, compare, plain

DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64",
    "complex128",
)  # fmt: skip
WIDE = ("uint16", "uint32", "uint64")
NUMBERS = (True, 3, 2.5, 1j)


def outcome(program, library):
    try:
        return plain(program(library), library)
    except RuntimeError:
        return "RuntimeError"


# --- promotion -----------------------------------------------------------------------------------------------------


def operand(library, dtype, kind):
    shape = {"dimensions": (2,), "0-d": ()}[kind]
    return library.empty(shape, dtype=getattr(library, dtype), device="meta")


@pytest.mark.parametrize("a", [*DTYPES, *WIDE])
def test_result_type(a):
    """All pairs of (dtype, with dimensions or 0-d) with (dtype, likewise) and with Python numbers."""
    torch = pytest.importorskip("torch")
    others = [(b, k) for b in (*DTYPES, *WIDE) for k in ("dimensions", "0-d")] + [(n, "number") for n in NUMBERS]
    for kind, (b, other) in itertools.product(("dimensions", "0-d"), others):
        if a == "float16" and (b == 1j or str(b).startswith("complex")):
            continue  # PyTorch's complex32 has no XLA counterpart: complex64 is given

        def program(lib, kind=kind, b=b, other=other):
            y = b if other == "number" else operand(lib, b, other)
            return lib.result_type(operand(lib, a, kind), y)

        if b == "float16" and a.startswith("complex"):
            continue
        compare(outcome(program, jtorch), outcome(program, torch), f"result_type({a} {kind}, {b} {other})")


@pytest.mark.parametrize("name", ["add", "mul", "true_divide", "pow", "eq", "maximum", "where"])
def test_operations_promote_as_result_type_says(name):
    torch = pytest.importorskip("torch")
    pairs = [("int32", "float16"), ("uint8", "int8"), ("bool", "int64"), ("float32", "float64"),
             ("bfloat16", "float16"),
             ("int64", "float32"), ("bool", "bool"), ("uint8", "int64")]  # fmt: skip
    for (a, b), ka, kb in itertools.product(pairs, ("dimensions", "0-d"), ("dimensions", "0-d")):

        def program(lib, a=a, b=b, ka=ka, kb=kb):
            x, y = operand(lib, a, ka), operand(lib, b, kb)
            if name == "where":
                return lib.where(operand(lib, "bool", "dimensions"), x, y)
            return getattr(lib, name)(x, y)

        if name == "pow" and a == b == "bool":
            continue
        compare(outcome(program, jtorch), outcome(program, torch), f"{name}({a} {ka}, {b} {kb})")


@pytest.mark.parametrize("a", [*DTYPES, *WIDE])
def test_promote_types_and_can_cast(a):
    torch = pytest.importorskip("torch")
    for b in (*DTYPES, *WIDE):
        for name in ("promote_types", "can_cast"):
            if name == "promote_types" and {"float16"} & {a, b} and (a + b).find("complex") >= 0:
                continue

            def program(lib, b=b, name=name):
                return getattr(lib, name)(getattr(lib, a), getattr(lib, b))

            compare(outcome(program, jtorch), outcome(program, torch), f"{name}({a}, {b})")


# --- facts about types ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*DTYPES, *WIDE])
def test_facts(name):
    def program(lib):
        d = getattr(lib, name)
        facts = [repr(d), d.is_floating_point, d.is_complex, d.is_signed, d.itemsize]
        if d.is_floating_point:
            i = lib.finfo(d)
            facts += [i.bits, i.eps, i.max, i.min, i.tiny, i.smallest_normal, i.resolution, i.dtype]
        elif not d.is_complex and name != "bool":
            i = lib.iinfo(d)
            facts += [i.bits, i.max, i.min, i.dtype]
        return facts

    check(program)


programs = Table()


@programs
def aliases(torch):
    return [torch.double, torch.float, torch.half, torch.long, torch.int, torch.short, torch.cfloat, torch.cdouble]


@programs
def to_real_and_complex(torch):
    return [torch.float64.to_complex(), torch.float32.to_complex(), torch.complex64.to_real(), torch.int32.to_real()]


@programs
def default_dtype(torch):
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        x = [torch.tensor(1.5), torch.zeros(2), torch.arange(0.0, 2.0), torch.tensor([1, 2]) / 2, torch.tensor(1j),
             torch.ones(1).exp(), torch.tensor([1]).sqrt(), torch.tensor([1, 2]) * 2.5,
             torch.get_default_dtype()]  # fmt: skip
    finally:
        torch.set_default_dtype(before)
    return [*x, torch.tensor(1.5), torch.tensor([1, 2]) / 2, torch.tensor([1]).sqrt()]


@programs
def casting_methods(torch):
    x = torch.tensor([-1.7, 0.0, 2.5, 100.0])
    names = ("double", "float", "half", "bfloat16", "long", "int", "short", "char", "bool", "cfloat", "cdouble")
    return [getattr(x, n)() for n in names] + [x.abs().byte(), x.type(torch.int32), x.type("torch.DoubleTensor")]


@programs
def type_names(torch):
    return [torch.zeros(1, dtype=getattr(torch, n)).type() for n in DTYPES if not n.startswith("complex")]


@programs
def type_with_a_tensor_type(torch):
    x = torch.tensor([1.5, 2.5])
    return [
        x.type(torch.LongTensor), x.type(torch.FloatTensor), x.type(torch.float) is x,
        x.type_as(torch.zeros(1).long()),
    ]  # fmt: skip


@programs
def legacy_constructors(torch):
    return [
        torch.FloatTensor([1, 2]), torch.LongTensor([[1, 2], [3, 4]]), torch.FloatTensor(2, 3).shape,
        torch.ByteTensor([1, 0]), torch.DoubleTensor([1.5]), torch.IntTensor(()), torch.Tensor([1, 2]),
        torch.Tensor(2, 0), torch.Tensor().shape, torch.HalfTensor([1.0]), torch.BoolTensor([True]),
        torch.Tensor(3).shape, isinstance(torch.zeros(1), torch.FloatTensor),
        isinstance(torch.zeros(1), torch.LongTensor), isinstance(torch.zeros(1).long(), torch.LongTensor),
        torch.Tensor(torch.Size([2, 0])),
    ]  # fmt: skip


@programs
def to_forms(torch):
    x = torch.tensor([1.5, -2.5])
    return [
        x.to(torch.int64), x.to("cpu"), x.to("cpu", torch.float64), x.to(device="cpu", dtype=torch.float16),
        x.to(torch.zeros(1, dtype=torch.int32)), x.to(torch.float32) is x, x.to(torch.float32, copy=True) is x,
        x.to(torch.float64, non_blocking=True), x.to(torch.device("cpu"), torch.int8, True), x.to(dtype=float),
        x.to(x) is x,
    ]  # fmt: skip


@programs
def casts_carry_gradients(torch):
    x = torch.tensor([1.5, -2.5], requires_grad=True)
    y = x.double().half().to(torch.float64) * 3
    y.sum().backward()
    return x.grad, y, x.long()


@programs
def tensor_infers_its_dtype(torch):
    return [
        torch.tensor(data)
        for data in (1, 1.5, True, 1j, [1, 2.5], [True, 2], [[]], [], [1, 2j], np.float64(2),
                     np.arange(3, dtype=np.int16),
                     [np.float64(1.0)], [np.int32(4)], (1, 2), range(3), [[True], [False]])
    ]  # fmt: skip


@programs
def factories_infer(torch):
    return [
        torch.full((2,), 1), torch.full((2,), 1.5), torch.full((2,), True), torch.full((1,), 1j), torch.arange(3),
        torch.arange(3.0), torch.arange(0, 1, 0.25), torch.zeros(2, dtype=torch.bool),
        torch.ones_like(torch.zeros(2).half()), torch.eye(2, dtype=torch.int64), torch.zeros((2, 3), dtype=int),
        torch.ones(2, dtype=float), torch.as_tensor([1, 2]), torch.as_tensor(np.float32(2.0)), torch.scalar_tensor(3),
        torch.full_like(torch.zeros(2, dtype=torch.int32), 7),
    ]  # fmt: skip


@programs
def division_and_mean(torch):
    x = torch.tensor([3, -7])
    return [
        x / 2, x // 2, x % 4, -x // 2, x.float().mean(), x.sum(), x.to(torch.int8).sum(), x.bool().sum(), x.prod(),
        torch.tensor([True, False]) + 1, torch.tensor([True]) + True, x * 1.5, 1.5 * x, 2**x.abs(), x.float() // 0.7,
    ]  # fmt: skip


@programs
def integer_overflow_wraps(torch):
    return [
        torch.tensor([127], dtype=torch.int8) + 1, torch.tensor([255], dtype=torch.uint8) + 1,
        torch.tensor([2**31 - 1], dtype=torch.int32) + 1, torch.tensor([2**63 - 1]) + 1,
    ]  # fmt: skip


@programs
def python_number_does_not_widen(torch):
    return [torch.ones(1, dtype=d) * 2.5 for d in (torch.float16, torch.bfloat16, torch.float64)] + [
        torch.ones(1, dtype=torch.uint8) * 2, torch.ones(1, dtype=torch.int16) + 2.0,
        torch.ones(2).half() + torch.tensor(1.0).double()]  # fmt: skip


@programs
def device_objects(torch):
    d = torch.device("cpu")
    return [
        str(d), repr(d), d.type, d.index, d == torch.device("cpu"), torch.device("cuda:1").index,
        torch.device("cuda", 2), torch.device("meta"), torch.device(d), hash(d) == hash(torch.device("cpu")),
        torch.device(type="cpu"), torch.zeros(1).device, torch.zeros(1).is_cpu, torch.zeros(1).is_cuda,
        torch.zeros(1).get_device(),
    ]  # fmt: skip


@programs
def meta_gives_shapes(torch):
    x = torch.empty(3, 4, device="meta", requires_grad=True)
    y = (x @ torch.empty(4, 5, device="meta")).softmax(-1)[:, 1:]
    z = torch.cat([y, y], 1).sum(0)
    z.sum().backward()
    return y, z, x.grad, x.to(torch.int8), torch.zeros_like(y), y.is_meta, x.device, y.add_(1) is y


@programs
def device_context(torch):
    with torch.device("meta"):
        x = [torch.zeros(2), torch.rand(3), torch.tensor([1, 2]), torch.arange(3), torch.zeros(1, device="cpu")]
    return x, torch.zeros(2)


@programs
def default_device(torch):
    torch.set_default_device("meta")
    try:
        x, d = torch.ones(2), torch.get_default_device()
    finally:
        torch.set_default_device(None)
    return x, d, torch.ones(2), torch.get_default_device()


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


# --- errors --------------------------------------------------------------------------------------------------------

ERRORS = {
    "device name": (lambda torch: torch.device("gpx"), RuntimeError, "gpx"),
    "device index": (lambda torch: torch.device("cpu:x"), RuntimeError, "cpu:x"),
    "two indices": (lambda torch: torch.device("cpu:0", 1), RuntimeError, "index"),
    "no cuda": (lambda torch: torch.zeros(1).cuda(), (RuntimeError, AssertionError), "cuda"),
    "to cuda": (lambda torch: torch.zeros(1).to("cuda"), (RuntimeError, AssertionError), "cuda"),
    "made on cuda": (lambda torch: torch.zeros(1, device="cuda:3"), (RuntimeError, AssertionError), "cuda"),
    "meta item": (lambda torch: torch.empty((), device="meta").item(), RuntimeError, "meta"),
    "meta to cpu": (lambda torch: torch.empty(2, device="meta").cpu(), NotImplementedError, "meta"),
    "default dtype": (lambda torch: torch.set_default_dtype(torch.int32), TypeError, "floating"),
    "float number in an int tensor": (lambda torch: torch.ones(1, dtype=torch.int64).add_(1.5), RuntimeError, "Float",
                                      "Long"),
    "iinfo of a float": (lambda torch: torch.iinfo(torch.float32), TypeError),
    "finfo of an int": (lambda torch: torch.finfo(torch.int32), TypeError),
    "dtype of strings": (lambda torch: torch.tensor("a"), TypeError, "str"),
    "dtype of objects": (lambda torch: torch.tensor([object()]), RuntimeError, "object"),
    "ragged": (lambda torch: torch.tensor([[1, 2], [3]]), ValueError, "length 2", "got 1"),
    "mean of ints": (lambda torch: torch.ones(2, dtype=torch.int64).mean(), RuntimeError, "Long", "floating"),
    "uint16 arithmetic with int16": (
        lambda torch: torch.zeros(1, dtype=torch.uint16) + torch.zeros(1, dtype=torch.int16), RuntimeError, "uint16"),
    "requires_grad of ints": (lambda torch: torch.zeros(1, dtype=torch.int64, requires_grad=True), RuntimeError,
                              "floating"),
    "unsupported numpy type": (lambda torch: torch.from_numpy(np.array(["a"])), TypeError, "supported types"),
    "from_numpy of a list": (lambda torch: torch.from_numpy([1]), TypeError, "ndarray"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    program, error, *words = ERRORS[name]
    check_raises(program, error, *words)


# --- devices (no PyTorch counterpart) ------------------------------------------------------------------------------


def test_xla_is_the_default_backend():
    x = jtorch.arange(4.0, device="xla")
    assert str(x.device) == "xla:0" and x.is_xla and not x.is_cpu
    y = (x * 2).cpu()
    assert str(y.device) == "cpu" and y.tolist() == [0.0, 2.0, 4.0, 6.0]
    assert (x.to("xla") is x) and x.to("xla:0") is x


def test_two_devices_do_not_mix():
    a, b = jtorch.ones(3), jtorch.ones(3, device="xla")
    for mix in (lambda: a + b, lambda: jtorch.cat([a, b]), lambda: a @ b, lambda: jtorch.where(a > 0, a, b)):
        with pytest.raises(RuntimeError, match=r"cpu.*xla:0|xla:0.*cpu"):
            mix()


def test_a_zero_dim_cpu_tensor_joins_any_device():
    x = jtorch.ones(3, device="xla")
    y = x * jtorch.tensor(2.0) + jtorch.tensor(1)
    assert str(y.device) == "xla:0" and y.cpu().tolist() == [3.0] * 3
    with pytest.raises(RuntimeError, match="xla:0"):
        jtorch.ones(3) * jtorch.tensor(2.0, device="xla")


def test_copies_between_devices_carry_gradients():
    x = jtorch.ones(3, requires_grad=True)
    (x.to("xla") * jtorch.arange(3.0, device="xla")).cpu().sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 2.0] and str(x.grad.device) == "cpu"
    y = jtorch.zeros(3, device="xla")
    y.copy_(jtorch.ones(3))
    y[0] = jtorch.tensor(5.0)
    assert str(y.device) == "xla:0" and y.cpu().tolist() == [5.0, 1.0, 1.0]


def test_device_context_nests():
    with jtorch.device("xla"):
        assert jtorch.zeros(1).device.type == "xla"
        with jtorch.device("cpu"):
            assert jtorch.zeros(1).device.type == "cpu"
        assert jtorch.rand(2).device.type == "xla"
    assert jtorch.zeros(1).device.type == "cpu"


def test_half_with_complex_is_complex64():
    """PyTorch's complex32 has no counterpart in XLA."""
    assert jtorch.result_type(jtorch.zeros(1).half(), 1j) is jtorch.complex64


def test_no_cuda_says_what_there_is():
    with pytest.raises(RuntimeError, match="available"):
        jtorch.zeros(1).cuda()


def test_float8_without_infinity_ends_at_its_largest_number():
    def program(t):
        x = t.tensor([1e5, float("inf"), -1e9, 460.0, 300.0, float("nan")])
        return [x.to(t.float8_e4m3fn).float(), t.tensor(x.tolist(), dtype=t.float8_e4m3fn).float(),
                x.to(t.float8_e5m2).float(), x.double().to(t.float8_e4m3fn).float()]  # fmt: skip

    check(program)


@pytest.mark.parametrize("kind", [bool, int, float, complex])
def test_to_takes_types_of_python(kind):
    x = jtorch.tensor([0.0, 1.5])
    expected = {bool: jtorch.bool, int: jtorch.int64, float: jtorch.float64, complex: jtorch.complex128}[kind]
    assert x.to(kind).dtype is x.to("cpu", kind).dtype is x.to(dtype=kind).dtype is expected
