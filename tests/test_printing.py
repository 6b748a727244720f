"""The printed form of tensors: golden strings, and PyTorch's own ``repr`` where it is installed."""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jtorch import dtypes
from jtorch.tensor import printing
from jtorch.tensor.printing import format_parameter, format_sparse, format_tensor, get_printoptions, set_printoptions

from .both import check


@pytest.fixture(autouse=True)
def default_options():
    yield
    set_printoptions(profile="default")
    dtypes.set_default_dtype(dtypes.float32)


def show(data, **options) -> str:
    data = np.asarray(data)
    return format_tensor(data, dtypes.of_numpy(data.dtype), data.shape, **options)


F4, I8 = np.float32, np.int64
GOLDEN = [
    (np.array([1, 2], F4), {}, "tensor([1., 2.])"),
    (np.array([1, 2.5], F4), {}, "tensor([1.0000, 2.5000])"),
    (np.array([1, 2], np.float64), {}, "tensor([1., 2.], dtype=torch.float64)"),
    (np.array(3, I8), {}, "tensor(3)"),
    (np.array(0.1, F4), {}, "tensor(0.1000)"),
    (np.array([3, -100], np.int32), {}, "tensor([   3, -100], dtype=torch.int32)"),
    (np.array([True, False]), {}, "tensor([ True, False])"),
    (np.array([1e-5, 1], F4), {}, "tensor([1.0000e-05, 1.0000e+00])"),
    (np.array([np.nan, 1], F4), {}, "tensor([nan, 1.])"),
    (np.array([np.nan, 1.5, -np.inf], F4), {}, "tensor([   nan, 1.5000,   -inf])"),
    (np.array([1 + 2j, 3 - 0.5j], np.complex64), {}, "tensor([1.+2.0000j, 3.-0.5000j])"),
    (np.array([1, 2.5], ml_dtypes.bfloat16), {}, "tensor([1.0000, 2.5000], dtype=torch.bfloat16)"),
    (np.array([448, 1], ml_dtypes.float8_e4m3fn), {}, "tensor([448.,   1.], dtype=torch.float8_e4m3fn)"),
    (np.zeros((0, 3), F4), {}, "tensor([], size=(0, 3))"),
    (np.zeros(0, I8), {}, "tensor([], dtype=torch.int64)"),
    (np.ones(2, F4), {"grad_fn": "MulBackward0", "requires_grad": True}, "tensor([1., 1.], grad_fn=<MulBackward0>)"),
    (np.ones(2, F4), {"requires_grad": True}, "tensor([1., 1.], requires_grad=True)"),
    (np.ones(1, np.float16), {"device": "cuda:0"}, "tensor([1.], device='cuda:0', dtype=torch.float16)"),
    (np.ones((2, 2), F4), {}, "tensor([[1., 1.],\n        [1., 1.]])"),
    (np.ones((2, 1, 1), F4), {}, "tensor([[[1.]],\n\n        [[1.]]])"),
    (np.arange(1001), {}, "tensor([   0,    1,    2,  ...,  998,  999, 1000])"),
    (np.ones(1, F4), {"extras": ["names=('N',)"]}, "tensor([1.], names=('N',))"),
]


@pytest.mark.parametrize("data,options,expected", GOLDEN, ids=[g[2][:40] for g in GOLDEN])
def test_golden(data, options, expected):
    assert show(data, **options) == expected


def test_meta_has_no_values():
    text = format_tensor(None, dtypes.float32, (2, 3), device="meta")
    assert text == "tensor(..., device='meta', size=(2, 3))"
    text = format_tensor(None, dtypes.int64, (), device="meta", requires_grad=False)
    assert text == "tensor(..., device='meta', size=(), dtype=torch.int64)"


def test_parameter():
    assert format_parameter(show(np.ones(1, F4), requires_grad=True)) == (
        "Parameter containing:\ntensor([1.], requires_grad=True)"
    )


def test_classes_of_ones_own():
    def texts(torch):
        class Named(torch.Tensor):
            pass

        class Own(torch.nn.Parameter):
            pass

        class OnManifold(torch.nn.Parameter):
            def __repr__(self):
                return "on a sphere: " + torch.Tensor.__repr__(self)

        ones = torch.ones(2, 2)
        return [repr(ones.as_subclass(Named)), repr(Own(ones)), repr(OnManifold(ones)), repr(torch.nn.Parameter(ones))]

    check(texts)


def test_suffix_moves_to_its_own_line_when_the_line_is_full():
    text = show(np.full(18, 2, F4), grad_fn="MulBackward0")
    assert text.splitlines()[1] == "       grad_fn=<MulBackward0>)"


def test_default_dtype_decides_the_suffix():
    dtypes.set_default_dtype(dtypes.float64)
    assert show(np.ones(1, np.float64)) == "tensor([1.])"
    assert show(np.ones(1, F4)) == "tensor([1.], dtype=torch.float32)"
    assert show(np.ones(1, np.complex128)) == "tensor([1.+0.j])"
    assert show(np.zeros(0, F4)) == "tensor([], dtype=torch.float32)"


def test_options():
    assert get_printoptions() == {
        "precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None,
    }  # fmt: skip
    set_printoptions(precision=2, sci_mode=True)
    assert show(np.array([1, 2.5], F4)) == "tensor([1.00e+00, 2.50e+00])"
    set_printoptions(linewidth=20)  # sci_mode goes back to None
    assert show(np.array([1, 2.5, 3], F4)) == "tensor([1.00, 2.50,\n        3.00])"
    set_printoptions(profile="full")
    assert get_printoptions()["threshold"] == math.inf
    with pytest.raises(ValueError, match="profile must be one of 'default', 'short', 'full', got 'tiny'"):
        set_printoptions(profile="tiny")


# --- against PyTorch -----------------------------------------------------------------------------------------------


def same_as_torch(data: np.ndarray, **options):
    torch = pytest.importorskip("torch")
    dtype = dtypes.of_numpy(data.dtype)
    if options:
        torch.set_printoptions(**options)
        set_printoptions(**options)
    try:
        widened = np.asarray(data).astype(F4) if dtype.is_floating_point and dtype.itemsize < 4 else data
        reference = torch.from_numpy(np.array(widened)).to(getattr(torch, dtype.name))
        assert show(data) == repr(reference)
    finally:
        torch.set_printoptions(profile="default")
        set_printoptions(profile="default")


NUMPY_TYPES = [d.np for d in dtypes.ALL]
SHAPES = [(), (0,), (2, 0), (1,), (5,), (30,), (2, 3), (3, 1, 2), (2, 2, 2, 2), (1001,), (2, 3, 300), (40, 30)]


@pytest.mark.parametrize("np_type", NUMPY_TYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_like_torch_table(np_type, shape):
    rng = np.random.default_rng(0)
    for scale in (1, 50, 3000):
        data = np.asarray(rng.standard_normal(shape) * scale)
        if np_type.kind in "ui":
            data = np.abs(data) % 120
        if np_type.kind == "c":
            data = data + 1j * rng.standard_normal(shape)
        same_as_torch(np.asarray(data).astype(np_type))
        same_as_torch(np.round(data).astype(np_type))


special = st.sampled_from([0.0, -0.0, 1.0, 1000.0, 1001.0, 1e8, 1e9, 1e-4, 9.9e-5, math.nan, math.inf, -math.inf])
shapes = hnp.array_shapes(min_dims=0, max_dims=4, max_side=6)
ANY = {"deadline": None, "max_examples": 150}


@settings(**ANY)
@given(st.sampled_from([np.float32, np.float64]), shapes, st.data())
def test_like_torch_floats(np_type, shape, draw):
    width = np.dtype(np_type).itemsize * 8
    numbers = st.floats(width=width) | special.map(np_type).map(float) | st.integers(-2000, 2000).map(float)
    same_as_torch(draw.draw(hnp.arrays(np_type, shape, elements=numbers)))


@settings(**ANY)
@given(shapes, st.data())
def test_like_torch_complex(shape, draw):
    numbers = st.builds(complex, special | st.floats(-1e4, 1e4), special | st.floats(-1e4, 1e4))
    same_as_torch(draw.draw(hnp.arrays(np.complex128, shape, elements=numbers)))


@settings(**ANY)
@given(st.sampled_from([np.int64, np.int8, np.uint64, np.bool_, np.uint8]), shapes, st.data())
def test_like_torch_integers(np_type, shape, draw):
    same_as_torch(draw.draw(hnp.arrays(np_type, shape)))


@settings(**ANY)
@given(
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=12),
    st.booleans(),
    st.integers(0, 6),
    st.integers(0, 40),
    st.integers(0, 5),
    st.integers(1, 120),
    st.sampled_from([None, True, False]),
)
def test_like_torch_options(shape, whole, precision, threshold, edgeitems, linewidth, sci_mode):
    data = np.arange(math.prod(shape), dtype=np.float32).reshape(shape) * (1 if whole else 0.37)
    options = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    same_as_torch(data, **options, sci_mode=sci_mode)


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("n", [3, 60])
def test_like_torch_sparse(n):
    torch = pytest.importorskip("torch")
    dense = torch.eye(n, dtype=torch.float16)
    coo, csr = dense.to_sparse(), dense.to_sparse_csr()
    parts = {"indices": coo.indices().numpy(), "values": coo.values().numpy()}
    common = {"nnz": n, "dtype": dtypes.float16, "shape": (n, n)}
    assert format_sparse(parts, layout="torch.sparse_coo", **common) == repr(coo)
    names = ("crow_indices", "col_indices", "values")
    parts = {name: getattr(csr, name)().numpy() for name in names}
    assert format_sparse(parts, layout="torch.sparse_csr", **common) == repr(csr)


def test_meta_like_torch():
    torch = pytest.importorskip("torch")
    for name, shape in [("float32", (2,)), ("bool", ()), ("float16", (0, 2))]:
        x = torch.empty(shape, dtype=getattr(torch, name), device="meta")
        assert format_tensor(None, dtypes.of_name(name), shape, device="meta") == repr(x)


def test_only_numpy_is_needed():
    assert "jax" not in vars(printing)


_NODES = """x.mean(0)|x.sum()|x.sum(0)|x.pow(2)|x.pow(x)|2**x|x.clamp(0)|x.clamp(t.ones(3))|x[None].squeeze(0)
x[None].squeeze()|x[None].squeeze((0,))|1-x|x-1|t.ones(1)-x|1/x|x/2|x.prod(0)|x.median()|x.median(0)[0]
x.masked_fill(x>0,t.tensor(1.))|x.div(2,rounding_mode='floor')|x.remainder(2)|x.remainder(x)|x.fmod(x)|x.lerp(x,.5)|x.lerp(x,x)|x.unflatten(1,(3,1))
x.movedim(0,1)|t.outer(x[0],x[0])|t.linalg.det(q)|t.linalg.slogdet(q)[1]|t.linalg.svd(x)[1]|t.linalg.qr(x)[0]|x.tile(2)
t.linalg.eigh(q)[0]|t.linalg.pinv(x)|t.linalg.vector_norm(x)|t.hstack([x,x])|t.broadcast_to(x,(2,2,3))|F.linear(x,x)
F.linear(x[0],x)|F.linear(b,q)|F.linear(x,x,x[:,0])|F.linear(b,q,q[0])|x[0]@x[0]|q@q[0]|x[0]@x.T|q@x|b@q|b@b|b@q[0]
F.interpolate(i,scale_factor=2)|F.interpolate(i,scale_factor=2,mode='bilinear')|F.pad(x,(1,1),mode='reflect')
F.pad(i,(1,1,1,1),mode='replicate')|F.pad(x,(1,1))|F.softmax(x,0)|F.relu(x)|x.view(6)|x.T|x.t()|x.exp()|x*2|x+x"""


@pytest.mark.parametrize("expression", _NODES.replace("\n", "|").split("|"))
def test_names_of_nodes(expression):
    def program(t):
        x, q = t.ones(2, 3, requires_grad=True), t.eye(2).requires_grad_()
        b, i = t.ones(2, 2, 2, requires_grad=True), t.ones(1, 1, 4, 4, requires_grad=True)
        return eval(expression, {"t": t, "x": x, "q": q, "b": b, "i": i, "F": t.nn.functional}).grad_fn.name()

    check(program)


@pytest.mark.parametrize("name", ("float16", "bfloat16", "float32", "float64", "int8", "int32", "int64", "uint8"))
def test_limits(name):
    def program(t):
        limits = (t.iinfo if "int" in name else t.finfo)(getattr(t, name))
        return [repr(limits), limits.max, getattr(limits, "resolution", None)]

    check(program)
