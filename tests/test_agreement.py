"""Small programs that random comparison with PyTorch found to differ: the same results, and the same refusals."""

import numpy as np
import pytest

from .both import check, check_raises

NAN = float("nan")

#: name -> program
SAME = {
    "numpy numbers fill": lambda t: (
        t.zeros(2).new_full((2,), np.float32(2)), t.full_like(t.zeros(2), np.int64(3)), t.zeros(3).fill_(np.float64(1)),
    ),
    "numpy numbers are assigned": lambda t: _assigned(t.zeros(2, 3, dtype=t.int32), (0, [0, 1]), np.int64(3)),
    "tensors and numbers in one list": lambda t: (
        t.tensor([t.tensor(1.0), 2]), t.tensor([[t.tensor(1.0)], [2]]), t.tensor([1, np.float64(2)]),
        t.tensor([np.float32(1), 2]), t.tensor([t.tensor(1, dtype=t.int8), 2.5]),
    ),
    "negative numbers wrap around": lambda t: (t.tensor(-1, dtype=t.uint8), t.full((1,), -1, dtype=t.uint8)),
    "the old constructor keeps a tensor's dtype": lambda t: (t.Tensor(t.tensor([1, 2])), t.LongTensor([1, 2])),
    "strides of a 0-d window": lambda t: [*t.zeros(()).unfold(0, 1, 1).stride()],
    "the same tensor": lambda t: _same(t.zeros(2, 2, requires_grad=True), t),
    "0-d transposes": lambda t: (t.tensor(2.0).mT, t.tensor(2.0).mH, t.tensor(2.0).H, t.tensor(2.0).adjoint()),
    "resized beside one that shares": lambda t: _resized(t),
    "NaNs are unlike each other": lambda t: t.unique(t.tensor([NAN, 2.0, NAN]), True, True, True),
    "searched in another dtype": lambda t: (
        t.searchsorted(t.tensor([1.0, 2.0]), t.tensor([1, 2])), t.searchsorted(t.tensor([1, 3]), t.tensor([1.5, 3.5])),
        t.bucketize(t.tensor([1.5], dtype=t.float64), t.tensor([1, 2], dtype=t.int32)),
    ),
    "NumPy numbers are looked for": lambda t: [np.int64(3) in t.tensor([1, 3]), np.float32(2) in t.tensor([1.0])],
    "strides of what nothing is in": lambda t: [
        *t.zeros(()).expand(1, 1).stride(), t.zeros(2, 2).diagonal(2).storage_offset(),
    ],
    "histogram has names": lambda t: [t.histogram(t.tensor([1.0, 2.0]), 2).hist, t.histogram(t.ones(1), 1).bin_edges],
    "gradient is a tuple": lambda t: type(t.gradient(t.tensor([1.0, 3.0]))).__name__,
    "a 0-d weight of another dtype": lambda t: t.lerp(t.ones(2), t.zeros(2), t.tensor(0.5, dtype=t.float64)),
    "addcdiv of integers into floats": lambda t: t.addcdiv(t.ones(2), t.ones(2), t.tensor([1, 2])),
    "masked products over dims in any order": lambda t: (
        t.masked.prod(t.arange(24.0).reshape(2, 3, 2, 2) + 1, dim=(2, 0)),
        t.masked.prod(t.arange(24.0).reshape(2, 3, 2, 2) + 1, dim=(-1, 0, 1), keepdim=True),
    ),
    "no dims are none for all and any": lambda t: (
        t.all(t.tensor([[1.0, 0.0]]), dim=()), t.any(t.zeros(2, 1), dim=(), keepdim=True), t.sum(t.ones(2, 3), dim=()),
    ),
    "hashes over dims": lambda t: (
        t.hash_tensor(t.arange(6).reshape(2, 3), dim=None).to(t.int64),
        t.hash_tensor(t.arange(6).reshape(2, 3), dim=(-1,), keepdim=True).to(t.int64),
    ),
    "histogramdd has names": lambda t: [
        t.histogramdd(t.tensor([[0.0, 1.0]]), 2).hist, *t.histogramdd(t.tensor([[0.0, 1.0]]), 2).bin_edges,
    ],
    "NumPy numbers of pieces": lambda t: [
        *t.chunk(t.arange(5), np.int64(2)), *t.vsplit(t.ones(4, 2), np.int64(2)), *t.ones(2, 4).hsplit(np.int32(2)),
        t.repeat_interleave(t.tensor([1, 2]), np.int64(2)), t.arange(4).repeat_interleave(np.int64(2), dim=0),
    ],
    "Bernoulli numbers of any dtype": lambda t: (
        t.bernoulli(t.tensor([0.0, 1.0]), out=t.zeros(2, dtype=t.int64)),
        t.bernoulli(t.tensor([0.0, 1.0]), out=t.zeros(2, dtype=t.bool)),
    ),
    "nonzero into a tensor": lambda t: (
        t.nonzero(t.eye(2), out=t.zeros(0, dtype=t.int64)), t.nonzero(t.eye(2), as_tuple=True),
    ),
    "quantiles": lambda t: (t.ones(3).quantile(0.5), t.ones(2, 3).quantile(t.tensor([0.1, 0.9]), dim=1, keepdim=True)),
}  # fmt: skip


def _assigned(x, index, value):
    x[index] = value
    return x


def _same(x, t):
    return [x.positive() is x, t.atleast_2d(x) is x, t.atleast_1d(x)[0].is_leaf, (+x) is x]


def _resized(t):
    x = t.arange(6.0)
    other = x.detach()
    x.resize_(2, 2)
    x.fill_(7)
    return x, other


#: name -> (program, exception, words its message contains)
RAISES = {
    "a bool subtracted": (lambda t: t.ones(2) - t.tensor([True, False]), RuntimeError, "bool tensor", "logical_not"),
    "from a bool": (lambda t: 1 - t.tensor([True]), RuntimeError, "bool tensor"),
    "True subtracted": (lambda t: t.ones(2) - True, RuntimeError, "bool tensor"),
    "plus a bool": (lambda t: +t.tensor([True]), RuntimeError, "bool"),
    "not a float": (lambda t: ~t.ones(2), TypeError, "operator.invert"),
    "lerp of two dtypes": (lambda t: t.lerp(t.ones(2), t.ones(2).double(), 0.5), RuntimeError, "float", "double"),
    "isclose of two dtypes": (lambda t: t.isclose(t.ones(2), t.ones(2).double()), RuntimeError, "did not match"),
    "isclose by nan": (lambda t: t.isclose(t.ones(2), t.ones(2), rtol=NAN), RuntimeError, "rtol", "nan"),
    "heaviside of two dtypes": (lambda t: t.heaviside(t.ones(2), t.ones(2).double()), RuntimeError, "dtypes"),
    "addcdiv of integers": (
        lambda t: t.ones(2).addcdiv(t.tensor([1, 2]), t.tensor([1, 2])), RuntimeError, "Integer division"),
    "one of a batch is singular": (
        lambda t: t.linalg.inv(t.stack([t.eye(2), t.zeros(2, 2)])), RuntimeError, "(Batch element 1)", "is zero"),
    "one of a batch is not positive": (
        lambda t: t.linalg.cholesky(t.stack([t.eye(2), -t.eye(2)])), RuntimeError, "(Batch element 1)", "order 1"),
    "quantile beyond 1": (lambda t: t.ones(2).quantile(1.5), RuntimeError, "[0, 1]", "1.5"),
    "quantile by another dtype": (
        lambda t: t.ones(2).quantile(t.tensor(0.5, dtype=t.float64)), RuntimeError, "same dtype"),
    "too large for its dtype": (lambda t: t.full((2,), 300, dtype=t.uint8), RuntimeError, "uint8_t", "overflow"),
    "too large to fill": (lambda t: t.zeros(2, dtype=t.int8).fill_(1000), RuntimeError, "overflow"),
    "too large to assign": (lambda t: _assigned(t.zeros(2, dtype=t.uint8), 0, 300), RuntimeError, "overflow"),
    "NaN as an integer": (lambda t: t.zeros(2, dtype=t.int64).fill_(NAN), RuntimeError, "int64_t", "overflow"),
    "a list of too large ones": (lambda t: t.tensor([1, 300], dtype=t.uint8), RuntimeError, "overflow"),
    "an int of 64 bits": (lambda t: t.tensor(2**63), ValueError, "unpacking"),
    "complex data as floats": (lambda t: t.tensor(1j, dtype=t.float32), TypeError, "complex"),
    "Tensor of a number": (lambda t: t.Tensor(2.5), TypeError, "sequence", "float"),
    "a size of half an element": (lambda t: t.zeros(2, 3.0), TypeError, "int"),
    "a size in words": (lambda t: t.zeros("a"), TypeError, "int"),
    "no steps": (lambda t: t.linspace(0, 1), TypeError),
    "a type of no such name": (lambda t: t.ones(2).type("foo"), ValueError, "foo"),
    "an element deleted": (lambda t: t.ones(2).__delitem__(0), TypeError, "deleting"),
    "None assigned": (lambda t: _assigned(t.ones(2), 0, None), TypeError, "NoneType"),
    "H of a stack": (lambda t: t.ones(2, 2, 2).H, RuntimeError, "2-D", "3-D"),
    "mH of a vector": (lambda t: t.ones(2).mH, RuntimeError, "matrices", "1-D"),
    "adjoint of a vector": (lambda t: t.ones(2).adjoint(), RuntimeError, "matrices"),
    "another dtype's storage": (lambda t: t.ones(2).set_(t.ones(2).double()), RuntimeError, "tensor of type"),
    "a leaf set": (lambda t: t.ones(2, requires_grad=True).set_(t.ones(2)), RuntimeError, "leaf"),
    "mse of complex": (lambda t: t.nn.functional.mse_loss(*[t.tensor([1j])] * 2), NotImplementedError, "ComplexFloat"),
    "split of a number": (lambda t: t.ones(()).split(1), RuntimeError, "1-dimensional"),
    "chunk of a number": (lambda t: t.ones(()).chunk(1), RuntimeError, "1-dimensional"),
    "squeeze of a number": (lambda t: t.ones(()).squeeze(2), IndexError, "2"),
    "a leaf unsqueezed in place": (lambda t: t.ones(2, requires_grad=True).unsqueeze_(0), RuntimeError, "leaf"),
    "a leaf transposed in place": (lambda t: t.ones(2, 2, requires_grad=True).t_(), RuntimeError, "leaf"),
    "einsum diagonal": (lambda t: t.einsum("ii", t.ones(1, 2)), RuntimeError, "repeated", "2 != 1"),
    "masked_select": (lambda t: t.ones(2, 3).masked_select(t.ones(2, 2) > 0), RuntimeError, "(3)", "(2)"),
    "index_copy of other dimensions": (
        lambda t: t.ones(2, 3).index_copy(0, t.tensor([0]), t.ones(1)), IndexError, "dimensionality"),
    "index_copy of too few": (
        lambda t: t.ones(2, 3).index_copy(0, t.tensor([0, 1]), t.ones(1, 3)), IndexError, "(2)", "(1)"),
    "unique along no dimension": (lambda t: t.unique(t.ones(2, 2), dim=3), IndexError, "3"),
    "bincount of floats": (lambda t: t.ones(2).bincount(), NotImplementedError, "Float"),
    "bincount to fewer than none": (lambda t: t.tensor([1]).bincount(minlength=-1), RuntimeError, "minlength"),
    "dropout of integers": (lambda t: t.nn.functional.dropout(t.tensor([1, 2])), RuntimeError, "Long"),
    "relu of complex": (lambda t: t.nn.functional.relu(t.tensor([1j])), NotImplementedError, "complex"),
    "clamp of complex": (lambda t: t.tensor([1j]).clamp(min=0), NotImplementedError, "complex"),
    "gelu of complex": (lambda t: t.nn.functional.gelu(t.tensor([1j])), NotImplementedError, "ComplexFloat"),
    "erf of complex": (lambda t: t.special.erf(t.tensor([1j])), NotImplementedError, "ComplexFloat"),
    "extremes of complex": (lambda t: t.tensor([1j]).aminmax(), NotImplementedError, "ComplexFloat"),
    "median of complex": (lambda t: t.tensor([1j]).median(), NotImplementedError, "ComplexFloat"),
    "nansum of complex": (lambda t: t.nansum(t.tensor([1j])), RuntimeError, "complex"),
    "softmax of integers": (lambda t: t.softmax(t.tensor([1, 2]), 0), NotImplementedError, "Long"),
    "elu of integers": (lambda t: t.nn.functional.elu(t.tensor([1])), NotImplementedError, "Long"),
    "mse of integers": (lambda t: t.nn.functional.mse_loss(t.tensor([1]), t.tensor([1])), NotImplementedError, "Long"),
    "random complex numbers": (lambda t: t.zeros(2, dtype=t.complex64).random_(1, 5), RuntimeError, "bool"),
    "coins of integers": (lambda t: t.bernoulli(t.tensor([1, 0])), NotImplementedError, "Long"),
    "a window of integers": (lambda t: t.hann_window(3, dtype=t.int32), RuntimeError, "floating point"),
    "the gradient by no tensor": (lambda t: t.autograd.grad(t.ones(1, requires_grad=True) * 2, True), TypeError),
    "a version that is not counted": (lambda t: _inferred(t)._version, RuntimeError, "version counter"),
    "grad without aux": (lambda t: t.func.grad(lambda x: x.sum(), has_aux=True)(t.ones(2)), RuntimeError, "aux"),
    "jvp of integers": (
        lambda t: t.func.jvp(lambda x: x * 2, (t.ones(2),), (t.tensor([1, 2]),)), ValueError, "floating point"),
}  # fmt: skip


def _inferred(t):
    with t.inference_mode():
        return t.ones(2)


@pytest.mark.parametrize("name", SAME)
def test_the_same(name):
    check(SAME[name])


@pytest.mark.parametrize("name", RAISES)
def test_refused_alike(name):
    program, error, *words = RAISES[name]
    check_raises(program, error, *words)
