"""Common mistakes raise PyTorch's exception types, and say what was passed and what was expected."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import jtorch
from jtorch.ops.registry import OPS

from .both import check, check_raises


def z(torch, *shape, **options):
    return torch.zeros(shape, **options)


def index(torch, *values):
    return torch.tensor(values, dtype=torch.int64)


def F(torch):
    return torch.nn.functional


#: name -> (program, exception, words its message contains)
ERRORS = {
    # shapes
    "add": (lambda t: z(t, 2, 3) + z(t, 2, 4), RuntimeError, "size of tensor a (3)", "tensor b (4)", "dimension 1"),
    "add method": (lambda t: z(t, 5).add(z(t, 4)), RuntimeError, "(5)", "(4)"),
    "comparison": (lambda t: z(t, 2) == z(t, 3), RuntimeError, "(2)", "(3)"),
    "where": (lambda t: t.where(z(t, 2) > 0, z(t, 2), z(t, 3)), RuntimeError, "2", "3"),
    "masked_fill": (lambda t: z(t, 2).masked_fill(z(t, 3) > 0, 1), RuntimeError, "2", "3"),
    "matmul": (lambda t: z(t, 2, 3) @ z(t, 2, 3), RuntimeError, "mat1 and mat2", "2x3 and 2x3"),
    "mm": (lambda t: t.mm(z(t, 2, 3), z(t, 4, 5)), RuntimeError, "2x3 and 4x5"),
    "mm of vectors": (lambda t: t.mm(z(t, 2), z(t, 2, 2)), RuntimeError, "matrix"),
    "mv": (lambda t: t.mv(z(t, 2, 3), z(t, 2)), RuntimeError, "3", "2"),
    "dot": (lambda t: t.dot(z(t, 2), z(t, 3)), RuntimeError, "2", "3"),
    "dot of matrices": (lambda t: t.dot(z(t, 2, 2), z(t, 2, 2)), RuntimeError, "1D tensors"),
    "bmm": (lambda t: t.bmm(z(t, 2, 3, 4), z(t, 2, 3, 4)), RuntimeError, "3", "4"),
    "batched matmul": (lambda t: z(t, 2, 3, 4) @ z(t, 3, 4, 5), RuntimeError, "(2)", "(3)"),
    "matmul of 0-d": (lambda t: z(t) @ z(t, 2), RuntimeError, "at least 1D"),
    "einsum": (lambda t: t.einsum("ij,jk->ik", z(t, 2, 3), z(t, 4, 5)), RuntimeError, "j"),
    "einsum by a number": (lambda t: t.einsum("i1", z(t, 2, 2)), RuntimeError, "index 1", "[a-zA-Z]"),
    "einsum to one label twice": (lambda t: t.einsum("ij->ii", z(t, 2, 2)), RuntimeError, "i appears more than once"),
    "einsum to a new label": (lambda t: t.einsum("ij->k", z(t, 2, 2)), RuntimeError, "k does not appear"),
    "einsum of nothing": (lambda t: t.einsum("ij"), ValueError, "at least one operand"),
    "fft of nothing": (lambda t: t.fft.fft(z(t, 2, 0)), RuntimeError, "number of data points (0)"),
    "rfftn of nothing": (lambda t: t.fft.rfftn(z(t, 2, 0)), RuntimeError, "number of data points (0)"),
    "irfft of one": (lambda t: t.fft.irfft(z(t, 1)), RuntimeError, "number of data points (0)"),
    "hfft2 of one": (lambda t: t.fft.hfft2(z(t, 2, 1)), RuntimeError, "number of data points (0)"),
    "fftn of too many": (lambda t: t.fft.fftn(z(t, 2), (1, 2)), RuntimeError, "2 values", "1 dimensions"),
    "rfft of complex": (lambda t: t.fft.rfft(z(t, 2) * 1j), RuntimeError, "ComplexFloat"),
    "bce of doubles": (
        lambda t: t.nn.functional.binary_cross_entropy(z(t, 2), z(t, 2).double()), RuntimeError,
        "found dtype Double but expected Float",
    ),
    "class weights of doubles": (
        lambda t: t.nn.functional.cross_entropy(z(t, 2, 3), t.tensor([0, 1]), z(t, 3).double()), RuntimeError,
        "scalar type Float but found Double",
    ),
    "cdist of two types": (lambda t: t.cdist(z(t, 2, 2), z(t, 2, 2).double()), RuntimeError, "found Double"),
    "cdist of integers": (lambda t: t.cdist(z(t, 2, 2), z(t, 2, 2).long()), RuntimeError, "X2 got: Long"),
    "cross of two types": (lambda t: t.cross(z(t, 3), z(t, 3).double(), dim=0), RuntimeError, "found Double"),
    "tensordot of two types": (lambda t: t.tensordot(z(t, 3), z(t, 3).double(), 1), RuntimeError, "same dtype"),
    "batch norm of doubles": (lambda t: t.nn.BatchNorm1d(3)(z(t, 2, 3).double()), RuntimeError, "mixed dtype"),
    "bilinear of two types": (
        lambda t: t.nn.Bilinear(2, 2, 1)(z(t, 2, 2), z(t, 2, 2).double()), RuntimeError, "type",
    ),
    "lstm of doubles": (lambda t: t.nn.LSTM(3, 4)(z(t, 1, 1, 3).double()), ValueError, "does not match weight dtype"),
    "gru with a state of doubles": (
        lambda t: t.nn.GRU(3, 4)(z(t, 1, 1, 3), z(t, 1, 1, 4).double()), RuntimeError, "Double and Float",
    ),
    "gru cell of doubles": (lambda t: t.nn.GRUCell(3, 4)(z(t, 1, 3).double()), RuntimeError, "Double and Float"),
    "lstm of no features": (lambda t: t.nn.LSTM(0, 4), ValueError, "input_size must be greater than zero"),
    "int of complex": (lambda t: int(t.tensor(1 + 2j)), RuntimeError, "int64_t without overflow"),
    "cat": (lambda t: t.cat([z(t, 2, 3), z(t, 2, 4)]), RuntimeError, "sizes of tensors must match", "3", "4"),
    "cat of nothing": (lambda t: t.cat([]), (RuntimeError, ValueError), "non-empty"),
    "cat of 0-d": (lambda t: t.cat([z(t), z(t)]), RuntimeError, "zero-dimensional"),
    "cat a tensor": (lambda t: t.cat(z(t, 2)), TypeError),
    "stack": (lambda t: t.stack([z(t, 2), z(t, 3)]), RuntimeError, "equal size", "[2]", "[3]"),
    "stack of nothing": (lambda t: t.stack([]), RuntimeError, "non-empty"),
    "view": (lambda t: z(t, 2, 3).view(4, 2), RuntimeError, "[4, 2]", "size 6"),
    "view with two holes": (lambda t: z(t, 6).view(-1, -1), RuntimeError, "only one dimension"),
    "view with a hole that does not fit": (lambda t: z(t, 6).view(4, -1), RuntimeError, "[4, -1]", "size 6"),
    "reshape": (lambda t: z(t, 6).reshape(5), RuntimeError, "[5]", "size 6"),
    "expand": (lambda t: z(t, 2).expand(3), RuntimeError, "(3)", "(2)"),
    "expand to fewer": (lambda t: z(t, 2, 2).expand(2), RuntimeError, "number of sizes"),
    "permute": (lambda t: z(t, 2, 3).permute(0), RuntimeError, "dims"),
    "permute twice": (lambda t: z(t, 2, 3).permute(0, 0), RuntimeError, "duplicate"),
    "t of 3-d": (lambda t: z(t, 2, 2, 2).t(), RuntimeError, "2 dimensions", "3"),
    "split sizes": (lambda t: z(t, 5).split([2, 2]), RuntimeError, "sum exactly to 5", "[2, 2]"),
    "chunk": (lambda t: z(t, 5).chunk(0), RuntimeError, "greater than 0", "0"),
    "unflatten": (lambda t: z(t, 6).unflatten(0, (4, 2)), RuntimeError, "[4, 2]", "6"),
    "repeat": (lambda t: z(t, 2, 2).repeat(2), RuntimeError, "repeat"),
    "broadcast_to": (lambda t: t.broadcast_to(z(t, 3), (2,)), RuntimeError, "3", "2"),
    "out shape": (lambda t: z(t, 1, 3).mul_(z(t, 2, 3)), RuntimeError, "[1, 3]", "[2, 3]"),
    "max_pool2d stride": (
        lambda t: t.nn.functional.max_pool2d(z(t, 1, 3, 3), 2, stride=0), RuntimeError, "stride", "zero"),
    "max_pool2d padding": (
        lambda t: t.nn.functional.max_pool2d(z(t, 0, 1, 9), 2, padding=-1), RuntimeError, "non-negative", "-1"),
    "adaptive_avg_pool2d": (
        lambda t: t.nn.functional.adaptive_avg_pool2d(z(t, 2, 2), (2, 2)), ValueError, "at least 3"),
    "adaptive_max_pool2d of more than there can be": (
        lambda t: t.nn.functional.adaptive_max_pool2d(z(t, 2, 3, 8, 8), 10**9), RuntimeError, "overflow"),
    "adaptive_avg_pool2d of more than there can be": (
        lambda t: t.nn.functional.adaptive_avg_pool2d(z(t, 2, 3, 8, 8), 10**12), RuntimeError, "overflow"),
    "adaptive_max_pool1d": (
        lambda t: t.nn.functional.adaptive_max_pool1d(z(t, 1, 2, 3), ()), RuntimeError, "one int"),
    "soft_margin_loss": (
        lambda t: t.nn.functional.soft_margin_loss(z(t, 5, 4), z(t, 5)), RuntimeError, "tensor a (4)", "tensor b (5)"),
    "multi_margin_loss target": (
        lambda t: t.nn.functional.multi_margin_loss(z(t, 5, 4), z(t, 5)), RuntimeError, "Long", "Float"),
    "foreach of nothing": (lambda t: t._foreach_add([], 1.0), RuntimeError, "at least one tensor"),
    "foreach in place of nothing": (lambda t: t._foreach_mul_([], []), RuntimeError, "at least one tensor"),
    "foreach of two lists": (
        lambda t: t._foreach_addcmul([z(t, 2)] * 2, [z(t, 2)] * 2, [z(t, 2)]), RuntimeError, "2 and 1"),
    "foreach of too many numbers": (
        lambda t: t._foreach_add([z(t, 2)], [1.0, 2.0]), RuntimeError, "scalar list"),
    "sum_to_size": (lambda t: z(t, 4, 5).sum_to_size(4, 2), RuntimeError, "not expandable"),
    "narrow start": (lambda t: z(t, 5).narrow(0, t.tensor([1, 2]), 2), RuntimeError, "0-dim integral"),
    "_int_mm": (lambda t: t._int_mm(z(t, 2, 2), z(t, 2, 2)), RuntimeError, "int8", "float"),
    "zeros of no size": (lambda t: t.zeros(), TypeError, "size"),
    "rand of no size": (lambda t: t.rand(), TypeError, "size"),
    "new_zeros of no size": (lambda t: z(t, 2).new_zeros(), TypeError, "size"),
    "view as nothing": (lambda t: z(t).view(), TypeError),
    "reshape to nothing": (lambda t: z(t).reshape(), TypeError, "shape"),
    "repeat no times": (lambda t: z(t).repeat(), TypeError, "repeats"),
    "resize to nothing": (lambda t: z(t, 1).resize_(), TypeError, "size"),
    "flip of nothing": (lambda t: z(t, 2, 2).flip(), TypeError, "dims"),
    "permute by nothing": (lambda t: t.permute(z(t)), TypeError, "dims"),
    # None where a tensor belongs
    "relu of None": (lambda t: t.nn.functional.relu(None), TypeError, "input", "Tensor, not NoneType"),
    "sum with None": (lambda t: t.add(z(t, 2), None), TypeError, "other", "Tensor, not NoneType"),
    "product with None": (lambda t: t.matmul(z(t, 2), None), TypeError, "other", "Tensor, not NoneType"),
    "linear of None": (lambda t: t.nn.functional.linear(None, z(t, 2, 2)), TypeError, "Tensor, not NoneType"),
    # what losses and layers ask of their values
    "probability above one": (
        lambda t: t.nn.functional.binary_cross_entropy(t.tensor([0.5, 1.5]), t.ones(2)).item(),
        RuntimeError, "elements of input should be between 0 and 1"),
    "probability that is NaN": (
        lambda t: t.nn.functional.binary_cross_entropy(t.tensor([float("nan")]), t.ones(1)).item(),
        RuntimeError, "elements of input should be between 0 and 1"),
    "target above one": (
        lambda t: t.nn.functional.binary_cross_entropy(t.tensor([0.5]), t.tensor([2.0])).item(),
        RuntimeError, "elements of target should be between 0 and 1"),
    "negative variance": (
        lambda t: t.nn.functional.gaussian_nll_loss(z(t, 2), z(t, 2), -t.ones(2)).item(),
        ValueError, "var has negative entry"),
    "cosine of vectors of two lengths": (
        lambda t: t.nn.functional.cosine_embedding_loss(z(t, 1, 5), z(t, 1, 6), t.ones(1)), RuntimeError, "(5)", "(6)"),
    "weights of another dtype": (
        lambda t: t.nn.functional.embedding_bag(
            t.tensor([0]), z(t, 2, 2), t.tensor([0]), mode="sum", per_sample_weights=t.ones(1, dtype=t.float64)),
        RuntimeError, "weight", "per_sample_weights"),
    "LSTM of no steps": (lambda t: t.nn.LSTM(2, 3)(z(t, 0, 1, 2)), RuntimeError, "sequence length", "larger than 0"),
    "GRU of no steps": (lambda t: t.nn.GRU(2, 3)(z(t, 0, 1, 2)), RuntimeError, "sequence length", "larger than 0"),
    "RNN of no steps": (lambda t: t.nn.RNN(2, 3)(z(t, 0, 1, 2)), RuntimeError, "sequence length", "larger than 0"),
    "size of a lazy parameter": (lambda t: t.nn.LazyLinear(2).weight.numel(), ValueError, "uninitialized"),
    # nonzero
    "nonzero into floats": (lambda t: t.nonzero(z(t, 2), out=z(t, 0)), RuntimeError, "Long", "Float"),
    "nonzero's columns into a tensor": (
        lambda t: t.nonzero(z(t, 2), as_tuple=True, out=z(t, 0, dtype=t.int64)), RuntimeError, "out", "as_tuple"),
    "shape in a tensor": (lambda t: t.unravel_index(t.tensor(1), t.tensor([2])), TypeError, "int or sequence of ints"),
    "index into nothing": (lambda t: z(t, 2, 0)[[0], [0]], IndexError, "for dimension with size 0"),
    # dims
    "dim of a float": (lambda t: z(t, 2).cumsum(1.0), TypeError, "must be int, not float"),
    "dim of a string": (lambda t: z(t, 2, 2).unflatten("a", (1, 2)), TypeError, "must be int, not str"),
    "unbind of 0-d": (lambda t: z(t).unbind(), IndexError, "no dimensions"),
    "roll without shifts": (lambda t: z(t, 2).roll(()), RuntimeError, "shifts"),
    "roll of 0-d": (lambda t: z(t).roll(1, 0), IndexError, "no dimensions"),
    "sum": (lambda t: z(t, 2, 3).sum(2), IndexError, "Dimension out of range", "[-2, 1]", "2"),
    "sum twice": (lambda t: z(t, 2, 3).sum((0, 0)), RuntimeError, "multiple times"),
    "softmax": (lambda t: z(t, 2).softmax(1), IndexError, "[-1, 0]", "1"),
    "transpose": (lambda t: z(t, 2, 3).transpose(0, 3), IndexError, "[-2, 1]", "3"),
    "unsqueeze": (lambda t: z(t, 2).unsqueeze(3), IndexError, "[-2, 1]", "3"),
    "squeeze": (lambda t: z(t, 1).squeeze(2), IndexError, "[-1, 0]"),
    "cat dim": (lambda t: t.cat([z(t, 2), z(t, 2)], 1), IndexError, "[-1, 0]", "1"),
    "argmax of nothing": (lambda t: z(t, 0).argmax(), IndexError, "argmax"),
    "max of nothing": (lambda t: z(t, 0).max(), RuntimeError, "max"),
    "topk": (lambda t: z(t, 3).topk(4), RuntimeError, "k"),
    "size": (lambda t: z(t, 2).size(2), IndexError, "[-1, 0]"),
    "flatten": (lambda t: z(t, 2, 2).flatten(1, 0), RuntimeError, "start_dim"),
    # dtypes
    "matmul dtypes": (lambda t: z(t, 2, 2) @ z(t, 2, 2, dtype=t.float64), RuntimeError, "same dtype", "float",
                      "double"),
    "linear dtypes": (
        lambda t: t.nn.functional.linear(z(t, 2, 2), z(t, 2, 2, dtype=t.float64)), RuntimeError, "dtype"),
    "int in place": (lambda t: z(t, 2, dtype=t.int64).add_(0.5), RuntimeError, "Float", "Long"),
    "bool minus": (lambda t: (z(t, 2) > 0) - (z(t, 2) > 0), RuntimeError, "bool"),
    "neg of bool": (lambda t: -(z(t, 2) > 0), RuntimeError, "bool"),
    "not of float": (lambda t: ~z(t, 2), (RuntimeError, TypeError)),
    "and of floats": (lambda t: z(t, 2) & z(t, 2), (RuntimeError, TypeError)),
    "gather index dtype": (lambda t: z(t, 2).gather(0, z(t, 1)), RuntimeError, "int64"),
    "embedding of floats": (lambda t: t.nn.functional.embedding(z(t, 2), z(t, 3, 4)), RuntimeError, "Long", "Float"),
    "mask dtype": (lambda t: z(t, 2).masked_fill(z(t, 2), 1), RuntimeError, "bool"),
    "masked_select dtype": (lambda t: z(t, 2).masked_select(z(t, 2)), RuntimeError, "bool"),
    "scatter dtype": (
        lambda t: z(t, 2).scatter(0, z(t, 1, dtype=t.int64), z(t, 1, dtype=t.float64)), RuntimeError, "dtype"),
    "mean of ints": (lambda t: z(t, 2, dtype=t.int64).mean(), RuntimeError, "Long"),
    "cross entropy target": (
        lambda t: t.nn.functional.cross_entropy(z(t, 2, 3), z(t, 2)), (RuntimeError, ValueError)),
    "gather out": (
        lambda t: t.gather(z(t, 2), 0, z(t, 2, dtype=t.int64), out=z(t, 2, dtype=t.float64)), RuntimeError, "double"),
    "mm out": (lambda t: t.mm(z(t, 2, 2), z(t, 2, 2), out=z(t, 2, 2, dtype=t.float64)), RuntimeError, "double"),
    "cat out": (lambda t: t.cat([z(t, 2)], out=z(t, 2, dtype=t.int64)), TypeError, "Long"),
    "stack out": (lambda t: t.stack([z(t, 2)], out=z(t, 1, 2, dtype=t.int64)), TypeError, "Long"),
    "cat into an operand": (lambda t: (lambda x: t.cat([x[:1], x[1:]], out=x))(z(t, 4)), RuntimeError, "memory"),
    "scatter into the source": (
        lambda t: (lambda x: t.scatter(z(t, 2), 0, z(t, 2, dtype=t.int64), x, out=x))(z(t, 2)), RuntimeError, "memory"),
    "out resized under expansion": (
        lambda t: t.index_select(z(t, 2, 2), 0, t.tensor([0]), out=z(t, 1, 2).expand(3, 2)), RuntimeError, "clone()"),
    "amax out": (lambda t: t.amax(z(t, 2), out=z(t, dtype=t.int64)), RuntimeError, "Float for input", "Long for out"),
    "nansum out": (lambda t: t.nansum(z(t, 2), out=z(t, dtype=t.int64)), NotImplementedError, "nansum_cpu", "Long"),
    "normal out": (
        lambda t: t.normal(z(t, 2), 1.0, out=z(t, 2, dtype=t.int64)), NotImplementedError, "Long"),
    "multinomial out": (lambda t: t.multinomial(z(t, 2) + 1, 1, out=z(t, 1)), RuntimeError, "Long", "Float"),
    "out dtype": (lambda t: t.add(z(t, 2), 1.5, out=z(t, 2, dtype=t.int64)), RuntimeError, "Float", "Long"),
    # values
    "item": (lambda t: z(t, 2).item(), RuntimeError, "2 elements"),
    "truth": (lambda t: not z(t, 2), RuntimeError, "ambiguous"),
    "dropout": (lambda t: t.nn.functional.dropout(z(t, 2), 1.5), ValueError, "1.5"),
    "one_hot": (lambda t: t.nn.functional.one_hot(t.tensor([3]), 2).tolist(), (RuntimeError, IndexError), "class"),
    "cross entropy range": (
        lambda t: t.nn.functional.cross_entropy(z(t, 1, 3), t.tensor([3])).item(), IndexError, "out of bounds"),
    "embedding range": (lambda t: t.nn.functional.embedding(t.tensor([3]), z(t, 3, 2)).tolist(), IndexError, "range"),
    "multinomial": (lambda t: t.multinomial(z(t, 3), 1), RuntimeError, "sum"),
    "normal": (lambda t: t.normal(0.0, -1.0, (2,)), RuntimeError, "std", "-1"),
    "randint": (lambda t: t.randint(3, 3, (2,)), RuntimeError, "from=3"),
    "linspace": (lambda t: t.linspace(0, 1, -1), RuntimeError, "steps"),
    "arange": (lambda t: t.arange(0, 3, 0), RuntimeError, "step must be nonzero"),
    "arange of a step that is no integer": (
        lambda t: t.arange(0, 3, 0.5, dtype=t.int64), ValueError, "step must be nonzero"),
    "renorm of a vector": (lambda t: z(t, 2).renorm(2, 0, 1.0), RuntimeError, "at least 2 dimensions, got 1"),
    "gradient spacing": (
        lambda t: t.gradient(z(t, 3, 3), spacing=[0.1], dim=(0, 1)), RuntimeError, "length 1", "length 2"),
    "gradient order": (lambda t: t.gradient(z(t, 3), edge_order=3), RuntimeError, "edge_order=1 and edge_order=2"),
    "aminmax of nothing": (lambda t: z(t, 0).aminmax(), RuntimeError, "no identity"),
    "infinity norm of nothing": (lambda t: t.linalg.norm(z(t, 0), float("inf")), RuntimeError, "identity"),
    "logits with integer targets": (
        lambda t: t.nn.functional.binary_cross_entropy_with_logits(z(t, 2), z(t, 2, dtype=t.int64)), RuntimeError,
        "result type Float can't be cast to the desired output type Long"),
    "logits with truths as targets": (
        lambda t: t.nn.functional.binary_cross_entropy_with_logits(z(t, 2), z(t, 2, dtype=t.bool)), RuntimeError,
        "Bool"),
    "probabilities with integer targets": (
        lambda t: t.nn.functional.binary_cross_entropy(z(t, 2), z(t, 2, dtype=t.int64)), RuntimeError,
        "Found dtype Long but expected Float"),
    "a function in place of a module": (
        lambda t: t.nn.Sequential(t.nn.functional.relu), TypeError,
        "torch.nn.functional.relu is not a Module subclass"),
    "randn of a negative size": (
        lambda t: t.randn(2, -1), RuntimeError, "Trying to create tensor with negative dimension -1: [2, -1]"),
    "a text as an index": (lambda t: z(t, 2)["a"], TypeError),
    "linear of another dtype": (
        lambda t: t.nn.Linear(2, 2)(z(t, 1, 2, dtype=t.float64)), RuntimeError, "same dtype, but got Double and Float"),
    "cross entropy of int32 targets": (
        lambda t: t.nn.functional.cross_entropy(z(t, 2, 3), z(t, 2, dtype=t.int32)), RuntimeError,
        "expected target dtype to be Long or Byte, but got Int"),
    "cross entropy of float targets": (
        lambda t: t.nn.functional.cross_entropy(z(t, 2, 3), z(t, 2)), RuntimeError,
        "expected target dtype to be Long or Byte, but got Float"),
    "nll_loss of int32 targets": (
        lambda t: t.nn.functional.nll_loss(z(t, 2, 3), z(t, 2, dtype=t.int32)), RuntimeError, "Int"),
    "nll_loss of int32 targets in two dimensions": (
        lambda t: t.nn.functional.nll_loss(z(t, 2, 3, 1, 1), z(t, 2, 1, 1, dtype=t.int32)), RuntimeError, "Int"),
    "full of a negative size": (lambda t: t.full((-2,), 1), RuntimeError, "negative dimension"),
    "cholesky": (lambda t: t.linalg.cholesky(-t.eye(2)).tolist() and 1 / 0, (RuntimeError, ZeroDivisionError)),
    "inverse of non-square": (lambda t: z(t, 2, 3).inverse(), RuntimeError, "square"),
    # arguments
    "add text": (lambda t: t.add(z(t, 2), "a"), TypeError, "str"),
    "sum of a list": (lambda t: t.sum([1, 2]), TypeError, "sum()", "list"),
    "relu of a number": (lambda t: t.relu(1.0), TypeError, "Tensor", "float"),
    "matmul with a number": (lambda t: z(t, 2) @ 3, TypeError),
    "eq of a number": (lambda t: t.eq(1, z(t, 2)), TypeError, "eq()", "int", "must be Tensor"),
    "pow of numbers": (lambda t: t.pow(2, 3), TypeError, "pow()", "(int, int)", "Tensor"),
    "maximum with a number": (
        lambda t: t.maximum(z(t, 2), 1), TypeError, "maximum(): argument 'other' (position 2) must be Tensor, not int"),
    "isclose to a number": (lambda t: z(t, 2).isclose(0.0), TypeError, "isclose()", "float"),
    "sin of a number": (lambda t: t.sin(1.0), TypeError, "sin(): argument 'input' (position 1)", "float"),
    "where of a truth": (lambda t: t.where(True, z(t, 2), 1), TypeError, "where()", "condition", "bool"),
    "cat of a number": (lambda t: t.cat([z(t, 2), 1]), TypeError, "element 1", "int"),
    "a reflected operator on a number": (lambda t: t.Tensor.__radd__(1, z(t, 2)), TypeError, "int"),
    "linspace steps": (lambda t: t.linspace(0, 1, 2.0), TypeError, "linspace()", "(int, int, float)"),
    "no argument": (lambda t: t.matmul(z(t, 2)), TypeError),
    "too many": (lambda t: z(t, 2).relu(1, 2, 3), TypeError),
    "wrong keyword": (lambda t: z(t, 2).sum(dims=0), TypeError, "dims"),
    "dtype as text": (lambda t: z(t, 2, dtype="float32"), TypeError, "dtype", "float32"),
    "reduction": (lambda t: t.nn.functional.mse_loss(z(t, 2), z(t, 2), reduction="all"), ValueError, "all"),
    "unknown attribute": (lambda t: z(t, 2).foo, AttributeError, "foo"),
    "shape is read-only": (lambda t: setattr(z(t, 2), "shape", (1, 2)), AttributeError),
    # layers
    "nll_loss of a number": (lambda t: F(t).nll_loss(z(t), index(t, 0)), ValueError, "(got 0)"),
    "nll_loss of 1 and 3": (lambda t: F(t).nll_loss(z(t, 10), index(t, 1, 2, 3)), ValueError, "target size: 3"),
    "nll_loss of rows and pairs": (
        lambda t: F(t).nll_loss(z(t, 1, 3), z(t, 1, 2).long()), RuntimeError, "0D or 1D target tensor expected"),
    "nll_loss of rows and a number": (
        lambda t: F(t).nll_loss(z(t, 2, 3), z(t).long()), ValueError, "(2) to match target batch_size (0)"),
    "nll_loss of images": (
        lambda t: F(t).nll_loss(z(t, 2, 3, 4, 4), z(t, 2, 4).long()), RuntimeError, "dimension: 2"),
    "cosine_similarity": (
        lambda t: F(t).cosine_similarity(z(t, 2, 2), z(t, 2, 2), eps=-1e-8), RuntimeError, "eps must be non-negative"),
    "channel_shuffle": (lambda t: F(t).channel_shuffle(z(t, 1, 3, 2, 2), 0), RuntimeError, "must be positive"),
    "pixel_shuffle": (lambda t: F(t).pixel_shuffle(z(t, 1, 16, 2, 2), 2**40), ValueError, "overflowed"),
    "unfold": (lambda t: F(t).unfold(z(t, 3, 0, 3, 4), (2, 3)), RuntimeError, "Expected 3D or 4D", "[3, 0, 3, 4]"),
    "fold": (lambda t: F(t).fold(z(t, 1, 3, 4), 4, 2**40), RuntimeError, "overflowed"),
    "lstm_cell": (
        lambda t: t.lstm_cell(z(t, 4, 8), [z(t, 4, 16)] * 2, z(t, 65, 8), z(t, 64, 16), z(t, 64), z(t, 64)),
        RuntimeError, "weight_ih first dim must be 4 * hidden_size = 64, but got 65"),
    "ctc_loss": (
        lambda t: F(t).ctc_loss(z(t, 0, 0, 4), index(t), index(t), index(t)), RuntimeError, "must not be empty"),
    "softshrink": (lambda t: F(t).softshrink(z(t, 3).half(), 1e6), RuntimeError, "[0, 65504]", "Half", "1e+06"),
    "rrelu": (lambda t: F(t).rrelu(z(t, 3), 0.1, float("inf")), RuntimeError, "upper bound must be finite"),
    "batch_norm": (
        lambda t: t.nn.BatchNorm2d(3)(z(t, 1, 3, 2, 2).double()), RuntimeError, "all inputs must share same datatype"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    program, error, *words = ERRORS[name]
    check_raises(program, error, *words)


#: Operations of two tensors, each of which may or may not be a number as well.
BINARY = [
    (namespace, op.name)
    for op in OPS.values() for namespace in op.namespaces
    if namespace in ("torch", "special") and [p.kind for p in op.parameters if p.required] == ["array", "array"]
]  # fmt: skip


@pytest.mark.parametrize("namespace", ["torch", "special"])
def test_numbers_are_accepted_where_pytorch_accepts_them(namespace):
    torch = pytest.importorskip("torch")
    names = [name for n, name in BINARY if n == namespace and "." not in name]
    assert len(names) > 15
    differ = {}
    for name in names:
        for first, second in ((0, 1), (1, 0), (1, 1)):  # 1: a number
            refused = []
            for t in (torch, jtorch):
                operands = [1.5 if number else t.ones(2, dtype=t.float64) for number in (first, second)]
                try:
                    getattr(t if namespace == "torch" else t.special, name)(*operands)
                    refused.append(False)
                except Exception as error:  # noqa: BLE001 (shapes and dtypes need not suit)
                    refused.append(isinstance(error, (TypeError, AttributeError)))
            if refused[0] != refused[1]:
                differ[name, first, second] = f"PyTorch {'refuses' if refused[0] else 'accepts'} this"
    assert not differ


@pytest.mark.parametrize("number", [True, 2, 1.5, np.float32(1.5), np.int64(2), np.bool_(True)])
def test_every_kind_of_number_will_do(number):
    def program(t):
        x = t.tensor([1.0, 2.0])
        return [
            t.eq(x, number), x > number, number / x, t.add(number, x), t.mul(x, number), t.where(x > 1, number, x),
            t.pow(number, x), t.remainder(number, x), t.xlogy(number, x), x.clamp(max=number), t.div(x, number),
            t.masked_fill(x, x > 1, number), t.special.zeta(2.0 + x, number), t.fmod(x, number),
        ]  # fmt: skip

    check(program)


def test_sums_and_products_of_numbers():
    check(lambda t: [t.add(1, 2), t.sub(1, 2.0), t.mul(2, 3), t.div(1, 2), t.floor_divide(7, 2), t.div(True, 2)])


def test_an_error_surfaces_at_the_users_line():
    """Shapes are checked when an operation is recorded, not when the program runs."""
    x = jtorch.zeros(2, 3)
    try:
        x + jtorch.zeros(4)
    except RuntimeError as error:
        frames = error.__traceback__
        assert frames.tb_frame.f_code.co_name == "test_an_error_surfaces_at_the_users_line"
    else:
        pytest.fail("nothing was raised")


def test_a_failed_operation_leaves_the_rest_alone():
    x = jtorch.ones(2)
    y = x * 3
    with pytest.raises(RuntimeError, match="size of tensor a"):
        y + jtorch.ones(3)
    with pytest.raises(RuntimeError, match="can't be cast"):
        jtorch.ones(2, dtype=jtorch.int64).add_(0.5)
    assert (y + 1).tolist() == [4.0, 4.0]


def test_accessing_grad_of_a_result_warns():
    y = jtorch.ones(1, requires_grad=True) * 2
    with pytest.warns(UserWarning, match="retain_grad"):
        assert y.grad is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y.retain_grad()
        assert y.grad is None


def test_only_integers_have_a_complement():
    for dtype in (jtorch.float32, jtorch.complex64):
        with pytest.raises(TypeError, match="only implemented on integer and Boolean"):
            ~jtorch.ones(2, dtype=dtype)
    assert (~jtorch.tensor([1])).item() == -2 and not (~jtorch.tensor(True)).item()
