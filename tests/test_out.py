"""``out=`` of functions that are no single operation: what is written, what becomes of dtypes, what is refused."""

from __future__ import annotations

import pytest

import jtorch

from .both import check, check_raises

#: makes tensors of the dtype of ``out``
FACTORIES = {
    "arange": lambda torch, **o: torch.arange(1, 4, **o),
    "empty": lambda torch, **o: torch.empty(0, **o),
    "eye": lambda torch, **o: torch.eye(2, 3, **o),
    "fftfreq": lambda torch, **o: torch.fft.fftfreq(5, 0.5, **o),
    "full": lambda torch, **o: torch.full((2,), 3.0, **o),
    "linspace": lambda torch, **o: torch.linspace(0, 1, 3, **o),
    "logspace": lambda torch, **o: torch.logspace(0, 1, 3, **o),
    "normal": lambda torch, **o: torch.normal(1.0, 2.0, (3,), **o),
    "ones": lambda torch, **o: torch.ones(2, 3, **o),
    "rand": lambda torch, **o: torch.rand(3, **o),
    "randint": lambda torch, **o: torch.randint(0, 9, (4,), **o),
    "randn": lambda torch, **o: torch.randn(3, **o),
    "randperm": lambda torch, **o: torch.randperm(5, **o),
    "range": lambda torch, **o: torch.range(1, 3, **o),
    "rfftfreq": lambda torch, **o: torch.fft.rfftfreq(5, **o),
    "zeros": lambda torch, **o: torch.zeros((2,), **o),
}
REAL_ONLY = {"fftfreq", "normal", "rand", "randn", "rfftfreq"}


@pytest.mark.parametrize("name", FACTORIES)
def test_factories(name):
    make = FACTORIES[name]

    def program(torch):
        found = []
        for kind in ("float32", "float64", "bfloat16") + (() if name in REAL_ONLY else ("int64", "int32")):
            torch.manual_seed(1)
            given = torch.empty(0, dtype=getattr(torch, kind))
            result = make(torch, out=given)
            found += [given, result is given]
        leaf = torch.empty(0)
        return [*found, make(torch, out=leaf, requires_grad=True).requires_grad, leaf.is_leaf]

    check(program)
    wide = "does not match dtype of out parameter (Double)"
    check_raises(lambda torch: make(torch, dtype=torch.float32, out=torch.empty(0).double()), RuntimeError, wide)
    check_raises(lambda torch: make(torch, layout=torch.sparse_coo, out=torch.empty(0)), RuntimeError, "layout")
    check_raises(lambda torch: make(torch, out=torch.empty(0, requires_grad=True)), RuntimeError, "differentiation")
    if name in REAL_ONLY:
        error = RuntimeError if name.endswith("freq") else NotImplementedError
        check_raises(lambda torch: make(torch, out=torch.empty(0).long()), error)


#: name -> (function of a matrix, the dtype of ``out``, or those of several)
FUNCTIONS = {
    "bernoulli": (lambda torch, x, **o: torch.bernoulli(x / 9 + 0.5, **o), "float64"),
    "chain_matmul": (lambda torch, x, **o: torch.chain_matmul(x, x, x, **o), "float32"),
    "complex": (lambda torch, x, **o: torch.complex(x, x + 1, **o), "complex64"),
    "div": (lambda torch, x, **o: torch.div(x, 2, **o), "float64"),
    "floored": (lambda torch, x, **o: torch.div(x, 2, rounding_mode="floor", **o), "float32"),
    "log_softmax": (lambda torch, x, **o: torch.log_softmax(x, -1, **o), "float32"),
    "masked_select": (lambda torch, x, **o: torch.masked_select(x, x > 0, **o), "float32"),
    "max": (lambda torch, x, **o: torch.max(x, 1, **o), ("float32", "int64")),
    "median": (lambda torch, x, **o: torch.median(x, dim=0, **o), ("float32", "int64")),
    "minimum": (lambda torch, x, **o: torch.min(x, x.t(), **o), "float32"),
    "multinomial": (lambda torch, x, **o: torch.multinomial(x + 2, 2, **o), "int64"),
    "nonzero": (lambda torch, x, **o: torch.nonzero(x, **o), "int64"),
    "polar": (lambda torch, x, **o: torch.polar(x, x + 1, **o), "complex64"),
    "unsqueeze_copy": (lambda torch, x, **o: torch.unsqueeze_copy(x, 0, **o), "float32"),
}
#: differentiable through ``out=`` in PyTorch, which breaks its own rule there
THROUGH = {"log_softmax", "unsqueeze_copy"}
#: without a gradient
NONE = {"nonzero", "multinomial"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    function, kinds = FUNCTIONS[name]

    def targets(torch):
        made = [torch.empty(0, dtype=getattr(torch, k)) for k in ((kinds,) if isinstance(kinds, str) else kinds)]
        return made[0] if isinstance(kinds, str) else tuple(made)

    def program(torch, grad=False):
        torch.manual_seed(1)
        x = torch.tensor([[2.0, -1.0], [0.0, 3.0]], requires_grad=grad)
        given = targets(torch)
        return [function(torch, x, out=given), given]

    check(program)
    if name in NONE:
        check(lambda torch: program(torch, grad=True))
    elif name in THROUGH:
        with pytest.raises(RuntimeError, match="differentiation"):
            program(jtorch, grad=True)
    else:
        check_raises(lambda torch: program(torch, grad=True), RuntimeError, "differentiation")


def test_refused_dtypes():
    def ones(torch):
        return torch.ones(2)

    check_raises(lambda t: t.softmax(ones(t), 0, out=ones(t).double()), RuntimeError, "dtype float", "double")
    check_raises(lambda t: t.masked_select(ones(t), ones(t) > 0, out=ones(t).long()), RuntimeError, "float", "long")
    check_raises(lambda t: t.multinomial(ones(t), 1, out=ones(t)), RuntimeError, "expects Long tensor out, got: Float")
    check_raises(lambda t: t.polar(ones(t), ones(t), out=ones(t)), RuntimeError, "type ComplexFloat", "argument 'out'")
    check_raises(lambda t: t.alias_copy(ones(t), out=ones(t).double()), RuntimeError, "float32", "float64")


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.abs(t.ones(2), out=t.ones(2).double()),
        lambda t: t.floor(t.ones(2, dtype=t.int64), out=t.ones(2)),
        lambda t: t.bitwise_not(t.ones(2, dtype=t.bool), out=t.ones(2)),
        lambda t: t.sort(t.ones(2), out=(t.ones(2), t.ones(2, dtype=t.int32))),
        lambda t: t.argmax(t.ones(2), out=t.ones(())),
        lambda t: t.kthvalue(t.ones(3), 1, out=(t.ones(()).double(), t.ones((), dtype=t.int64))),
        lambda t: t.linalg.vector_norm(t.ones(2), out=t.ones(()).double()),
        lambda t: t.cummax(t.ones(2), 0, out=(t.ones(2).double(), t.ones(2, dtype=t.int64))),
    ],
)
def test_operations_that_convert_no_result(call):
    check_raises(call, RuntimeError)


def test_the_modulus_is_converted():
    check(lambda t: t.abs(t.ones(2, dtype=t.complex64), out=t.zeros(2, dtype=t.complex64)))


@pytest.mark.parametrize("name", ["all", "any", "argmax", "argmin", "max", "min"])
@pytest.mark.parametrize("kind", ["int32", "float64"])
def test_reductions_that_ask_for_a_dtype(name, kind):
    def program(torch):
        wrong = torch.empty(0, dtype=getattr(torch, kind))
        out = (wrong, torch.empty(0, dtype=torch.int64)) if name in ("max", "min") else wrong
        return getattr(torch, name)(torch.ones(2), dim=0, out=out)

    check_raises(program, RuntimeError, "bool tensor for result" if name in ("all", "any") else "to have dtype")
