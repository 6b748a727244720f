"""The lens laws of every view op, alone and in chains, on drawn shapes, parameters and element types.

    get(put(base, new)) == new        put(base, get(base)) == base        put(put(base, a), b) == put(base, b)

The op bodies and their puts are called as plain functions on arrays; NumPy says what indexing means.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jtorch import dtypes
from jtorch.ops import index, view, view_strided  # noqa: F401  (registers the ops)
from jtorch.ops.registry import OPS

settings.register_profile("lenses", max_examples=12, deadline=None, derandomize=True)
settings.load_profile("lenses")

DTYPES = ("float32", "int64", "bool", "complex64", "bfloat16")


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


# --- drawing -------------------------------------------------------------------------------------------------------


def _shapes(low=0, high=3, smallest=0):
    return st.lists(st.integers(smallest, 4), min_size=low, max_size=high).map(tuple)


def _dim(draw, ndim):
    return draw(st.integers(-max(ndim, 1), max(ndim, 1) - 1))


def _regrouping(draw, shape):
    """Another shape with as many elements."""
    n = math.prod(shape)
    if n == 0:
        return draw(st.permutations(shape).map(tuple))
    sizes = []
    while n > 1:
        factor = draw(st.sampled_from([f for f in range(2, n + 1) if n % f == 0]))
        sizes.append(factor)
        n //= factor
    for _ in range(draw(st.integers(0, 2))):
        sizes.insert(draw(st.integers(0, len(sizes))), 1)
    if sizes and draw(st.booleans()):
        sizes[draw(st.integers(0, len(sizes) - 1))] = -1
    return tuple(sizes)


def _span(draw, n):
    step = draw(st.integers(1, 3))
    start = draw(st.integers(0, n))
    longest = -(-(n - start) // step)
    return start, draw(st.integers(0, longest)), step


def _two_dims(draw, ndim):
    first, second = draw(st.permutations(range(ndim)))[:2]
    return first, second


def _draw_flatten(draw, s):
    first = draw(st.integers(0, max(len(s) - 1, 0)))
    return {"start_dim": first, "end_dim": draw(st.integers(first, max(len(s) - 1, 0)))}


def _draw_unflatten(draw, s):
    assume(s)
    dim = draw(st.integers(0, len(s) - 1))
    return {"dim": dim, "sizes": _regrouping(draw, (s[dim],)) or (1,)}


def _draw_movedim(draw, s):
    k = draw(st.integers(0, len(s)))
    source = tuple(draw(st.permutations(range(len(s))))[:k])
    return {"source": source, "destination": tuple(draw(st.permutations(range(len(s))))[:k])}


def _draw_expand(draw, s):
    lead = (1,) * draw(st.integers(0, 2))
    return {"size": lead + tuple(draw(st.sampled_from([-1, n])) for n in s)}


def _draw_select(draw, s):
    assume(s and 0 not in s)
    dim = _dim(draw, len(s))
    return {"dim": dim, "index": draw(st.integers(-s[dim], s[dim] - 1))}


def _draw_narrow(draw, s):
    assume(s)
    dim = _dim(draw, len(s))
    start = draw(st.integers(0, s[dim]))
    return {"dim": dim, "start": start, "length": draw(st.integers(0, s[dim] - start))}


def _draw_slice(draw, s):
    assume(s)
    dim = _dim(draw, len(s))
    start, length, step = _span(draw, s[dim])
    return {"dim": dim, "start": start, "length": length, "step": step}


def _draw_slices(draw, s):
    assume(s)
    dims = tuple(sorted(draw(st.sets(st.integers(0, len(s) - 1), min_size=1))))
    spans = [_span(draw, s[d]) for d in dims]
    starts, lengths, steps = (tuple(column) for column in zip(*spans, strict=True))
    return {"starts": starts, "dims": dims, "lengths": lengths, "steps": steps}


def _draw_diagonal(draw, s):
    assume(len(s) >= 2)
    first, second = _two_dims(draw, len(s))
    return {"offset": draw(st.integers(-3, 3)), "dim1": first, "dim2": second - len(s)}


def _draw_unfold(draw, s):
    """Windows that do not overlap: others cannot be written through."""
    assume(s and 0 not in s)
    dim = _dim(draw, len(s))
    size = draw(st.integers(1, s[dim]))
    return {"dimension": dim, "size": size, "step": draw(st.integers(size, size + 2))}


def _draw_as_strided(draw, s):
    """Every other column, backwards in the order of dimensions, of the storage read as a matrix."""
    n = math.prod(s)
    assume(n >= 2)
    columns = draw(st.integers(2, n))
    offset = draw(st.integers(0, columns - 1))
    rows = (n - offset - 1) // columns + 1
    per_row = min(columns, n - offset - (rows - 1) * columns)
    return {"size": (-(-per_row // 2), rows), "stride": (2, columns), "storage_offset": offset}


#: op -> parameters for a base of the given shape
DRAWS = {
    "view": lambda draw, s: {"size": _regrouping(draw, s)},
    "reshape": lambda draw, s: {"shape": _regrouping(draw, s)},
    "flatten": _draw_flatten,
    "ravel": lambda draw, s: {},
    "unflatten": _draw_unflatten,
    "squeeze": lambda draw, s: {"dim": draw(st.sampled_from([None, *range(len(s)), tuple(range(len(s)))]))},
    "unsqueeze": lambda draw, s: {"dim": _dim(draw, len(s) + 1)},
    "_atleast": lambda draw, s: {"ndim": draw(st.integers(1, 3))},
    "detach": lambda draw, s: {},
    "alias": lambda draw, s: {},
    "permute": lambda draw, s: {"dims": tuple(draw(st.permutations(range(len(s)))))},
    "transpose": lambda draw, s: {"dim0": _dim(draw, len(s)), "dim1": _dim(draw, len(s))},
    "t": lambda draw, s: assume(len(s) <= 2) and {},
    "movedim": _draw_movedim,
    "expand": _draw_expand,
    "broadcast_to": _draw_expand,
    "select": _draw_select,
    "select.tensor": _draw_select,
    "narrow": _draw_narrow,
    "slice": _draw_slice,
    "slices": _draw_slices,
    "diagonal": _draw_diagonal,
    "unfold_view": _draw_unfold,
    "as_strided": _draw_as_strided,
}
#: views that need or change an element type, tested on their own
TYPED = {"real", "imag", "view_as_real", "view_as_complex", "view.dtype"}


def _array(draw, shape, dtype):
    return _random(np.random.default_rng(draw(st.integers(0, 2**16))), shape, dtype)


def _random(rng, shape, dtype):
    target = dtypes.of_name(dtype).np
    if dtype == "bool":
        return jnp.asarray(rng.integers(0, 2, shape).astype(bool))
    if dtype == "complex64":
        return jnp.asarray((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(target))
    return jnp.asarray(rng.integers(-100, 100, shape).astype(target))


def _same(a, b) -> None:
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


# --- lenses --------------------------------------------------------------------------------------------------------


def get(base, chain):
    for name, parameters in chain:
        base = OPS[name].fn(base, **parameters)
    return base


def put(base, new, chain):
    (name, parameters), rest = chain[0], chain[1:]
    if rest:
        new = put(OPS[name].fn(base, **parameters), new, rest)
    return OPS[name].put(base, new, **parameters)


def check_laws(chain, base, random) -> None:
    """The three laws, and that writing changes nothing that the view does not show."""
    seen = get(base, chain)
    _same(put(base, seen, chain), base)
    a, b = random(seen), random(seen)
    written = put(base, a, chain)
    assert written.shape == base.shape and written.dtype == base.dtype
    _same(get(written, chain), a)
    _same(put(written, b, chain), put(base, b, chain))
    # What the view does not show keeps its value: no more elements change than are seen (bytes, where types differ).
    changed = int(np.sum(np.asarray(written != base)))
    assert changed <= seen.size * max(seen.dtype.itemsize // base.dtype.itemsize, 1)


def _laws(data, chain, base):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    name = dtypes.of_numpy(np.dtype(get(base, chain).dtype)).name
    check_laws(chain, base, lambda seen: _random(rng, seen.shape, name))


@pytest.mark.parametrize("name", sorted(DRAWS))
@given(data=st.data())
def test_laws(name, data):
    shape = data.draw(_shapes())
    base = _array(data.draw, shape, data.draw(st.sampled_from(DTYPES)))
    _laws(data, [(name, DRAWS[name](data.draw, shape))], base)


@given(data=st.data())
@settings(max_examples=40)
def test_laws_of_chains(data):
    """A view of a view of a view is a lens."""
    base = _array(data.draw, data.draw(_shapes(1, 3, smallest=1)), "int64")
    chain, seen = [], base
    for _ in range(data.draw(st.integers(2, 4))):
        usable = [n for n in sorted(DRAWS) if seen.ndim <= 4 or n in ("select", "flatten", "ravel", "squeeze")]
        name = data.draw(st.sampled_from(usable))
        chain.append((name, DRAWS[name](data.draw, seen.shape)))
        seen = get(seen, chain[-1:])
    _laws(data, chain, base)


def test_every_view_is_drawn():
    assert {n for n, op in OPS.items() if op.put is not None} == set(DRAWS) | TYPED


# --- views with an element type of their own -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype", "parameters"),
    [
        ("real", "complex64", {}),
        ("real", "float32", {}),
        ("imag", "complex64", {}),
        ("view_as_real", "complex64", {}),
        ("view_as_complex", "float32", {}),
        *(
            ("view.dtype", a, {"dtype": dtypes.of_name(b)})
            for a, b in (
                ("float32", "int32"), ("int32", "int16"), ("int16", "int64"), ("bool", "uint8"), ("int64", "float64"),
                ("complex64", "float32"), ("float32", "complex64"),
            )
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("lead", [(), (3,), (0,)])
def test_laws_of_typed_views(name, dtype, parameters, lead):
    rng = np.random.default_rng(0)
    shape = (*lead, 2) if name == "view_as_complex" else (*lead, 4)
    base = _random(rng, shape, dtype)

    def random(seen):
        if dtype == "bool":  # whose bytes are 0 and 1 only
            return _random(rng, seen.shape, dtype).astype(seen.dtype)
        return _random(rng, seen.shape, dtypes.of_numpy(np.dtype(seen.dtype)).name)

    check_laws([(name, parameters)], base, random)


# --- what cannot be written through --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("unfold_view", (5,), {"dimension": 0, "size": 3, "step": 1}),
        ("as_strided", (4,), {"size": (2, 2), "stride": (0, 1)}),
    ],
)
def test_writing_repeated_elements_is_refused(name, shape, parameters):
    base = jnp.zeros(shape)
    seen = OPS[name].fn(base, **parameters)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor refers to a single memory"):
        OPS[name].put(base, seen, **parameters)


# --- basic indexing, as chains of views ----------------------------------------------------------------------------


def _chain(steps):
    """``parse_basic``'s steps as a chain."""
    chain = []
    for name, statics, numbers in steps:
        run_time = {"slices": {"starts": numbers}}.get(name) or dict(
            zip(OPS[name].operand_names[1:], numbers, strict=True)
        )
        chain.append((name, {**statics, **run_time}))
    return chain


@st.composite
def _basic_index(draw, shape):
    bounds = st.none() | st.integers(-6, 6)
    entries = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        entry = st.builds(slice, bounds, bounds, st.none() | st.integers(1, 3))
        entries.append(draw(entry | st.integers(-n, n - 1) if n else entry))
        if draw(st.integers(0, 4)) == 0:
            entries.append(None)
    if draw(st.booleans()):
        entries.append(Ellipsis)
    return tuple(entries)


@given(data=st.data())
@settings(max_examples=60)
def test_basic_indexing_is_numpys(data):
    base = _array(data.draw, data.draw(_shapes()), "float32")
    entries = data.draw(_basic_index(base.shape))
    chain = _chain(index.parse_basic(entries, base.shape))
    assert len(chain) <= 3
    wanted = np.array(base)
    _same(get(base, chain), wanted[entries])
    if chain:
        wanted[entries] = 7
        _same(put(base, jnp.full_like(get(base, chain), 7), chain), wanted)


@pytest.mark.parametrize(
    ("entries", "shape", "error", "text"),
    [
        ((5,), (3, 4), IndexError, "index 5 is out of bounds for dimension 0 with size 3"),
        ((None, 0, -5), (3, 4), IndexError, "index -5 is out of bounds for dimension 2 with size 4"),
        ((..., 9), (3, 4), IndexError, "index 9 is out of bounds for dimension 1 with size 4"),
        ((0, 0, 0), (3, 4), IndexError, "too many indices for tensor of dimension 2"),
        ((0,), (), IndexError, "invalid index of a 0-dim tensor"),
        ((slice(None, None, -1),), (3,), ValueError, "step must be greater than zero"),
        ((slice(None, None, 0),), (3,), ValueError, "slice step cannot be zero"),
        ((True,), (3,), TypeError, "basic indices"),
    ],
)
def test_basic_indexing_errors(entries, shape, error, text):
    with pytest.raises(error, match=text):
        index.parse_basic(entries, shape)


def test_select_and_narrow_errors():
    assert view.check_select((3, 4), -1, -4) == 0
    assert view.check_narrow((3, 4), 1, -3, 2) == 1
    with pytest.raises(IndexError, match=r"index 5 out of range for tensor of size \[3, 4\] at dimension 0"):
        view.check_select((3, 4), 0, 5)
    with pytest.raises(IndexError, match="cannot be applied to a 0-dim tensor"):
        view.check_select((), 0, 0)
    with pytest.raises(RuntimeError, match=r"start \(2\) \+ length \(5\) exceeds dimension size \(3\)"):
        view.check_narrow((3, 4), 0, 2, 5)
    with pytest.raises(IndexError, match=r"expected to be in range of \[-3, 3\], but got 5"):
        view.check_narrow((3, 4), 0, 5, 1)
