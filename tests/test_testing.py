"""``jtorch.testing`` against PyTorch's, and the small modules programs import in passing."""

from __future__ import annotations

import pytest

import jtorch


def _outcomes(torch):
    t, close = torch.tensor, torch.testing.assert_close
    cases = [
        lambda: close(t([1.0, 2.0]), t([1.0, 2.0 + 1e-7])),
        lambda: close(t([1.0, 2.0]), t([1.0, 2.5])),
        lambda: close(t([1, 2]), t([1, 3])),
        lambda: close(t([1.0]), t([1.0], dtype=torch.float64)),
        lambda: close(t([1.0]), t([1.0], dtype=torch.float64), check_dtype=False),
        lambda: close(t([1.0]), t([1.0, 2.0])),
        lambda: close(t([float("nan")]), t([float("nan")])),
        lambda: close(t([float("nan")]), t([float("nan")]), equal_nan=True),
        lambda: close({"a": t([1.0])}, {"a": t([2.0])}),
        lambda: close([t([1.0])], [t([1.0]), t([1.0])]),
        lambda: close(1.0, 1.0 + 1e-9),
        lambda: close(1, 2),
        lambda: close(t([1.0]), t([1.1]), rtol=0.2, atol=0.0),
        lambda: close(t([1.0]), t([1.1]), rtol=0.2),
        lambda: close(t([1.0]), t([2.0]), msg="mine"),
        lambda: close(t([1.0]), "text"),
        lambda: close(t([1 + 2j]), t([1 + 2.5j])),
    ]
    found = []
    for case in cases:
        try:
            case()
            found.append(None)
        except Exception as error:
            first = str(error).splitlines()[0] if isinstance(error, AssertionError) else ""
            found.append((type(error).__name__, first))
    return found


def test_assert_close_decides_as_pytorch_does():
    torch = pytest.importorskip("torch")
    assert _outcomes(jtorch) == _outcomes(torch)


def test_assert_close_says_where():
    with pytest.raises(AssertionError, match=r"Mismatched elements: 1 / 4 \(25.0%\)[\s\S]*at index \(1, 0\)"):
        jtorch.testing.assert_close(jtorch.zeros(2, 2), jtorch.tensor([[0.0, 0.0], [3.0, 0.0]]))


def test_make_tensor():
    x = jtorch.testing.make_tensor(3, 4, dtype=jtorch.float32, noncontiguous=True, requires_grad=True)
    assert x.shape == (3, 4) and not x.is_contiguous() and x.requires_grad
    counts = jtorch.testing.make_tensor((50,), dtype=jtorch.uint8, low=0, high=2, exclude_zero=True)
    assert set(counts.tolist()) == {1}
    with pytest.raises(ValueError, match="must be less"):
        jtorch.testing.make_tensor(2, dtype=jtorch.float32, low=1, high=0)


def test_streams_and_events_keep_programs_running():
    stream, start, end = jtorch.cuda.Stream(), *(jtorch.cuda.Event(enable_timing=True) for _ in range(2))
    with jtorch.cuda.stream(stream):
        start.record()
        x = jtorch.ones(64, 64) @ jtorch.ones(64, 64)
        end.record()
    jtorch.cuda.current_stream().wait_stream(stream)
    assert start.elapsed_time(end) > 0 and x[0, 0] == 64
    with pytest.raises(RuntimeError, match="enable_timing"):
        jtorch.cuda.Event().elapsed_time(end)


def test_futures():
    first, second = jtorch.futures.Future(), jtorch.futures.Future()
    both = jtorch.futures.collect_all([first, second]).then(lambda f: [x.value() for x in f.value()])
    first.set_result(1)
    assert not both.done()
    second.set_result(2)
    assert both.wait() == [1, 2]
    with pytest.raises(RuntimeError, match="completed"):
        first.set_result(3)


def test_flatten_and_unflatten_are_inverse():
    tensors = [jtorch.ones(2, 3), jtorch.zeros(4)]
    flat = jtorch._utils._flatten_dense_tensors(tensors)
    assert flat.shape == (10,)
    back = jtorch._utils._unflatten_dense_tensors(flat, tensors)
    assert all(jtorch.equal(a, b) for a, b in zip(back, tensors, strict=True))


def test_building_extensions_names_the_ways_out():
    from jtorch.utils.cpp_extension import CUDAExtension

    with pytest.raises(NotImplementedError, match="jtorch ops"):
        CUDAExtension("fast", ["fast.cu"])
