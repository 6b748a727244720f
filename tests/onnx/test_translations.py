"""Each translation against the operation it stands for: the calls of the sample table, exported one by one."""

from __future__ import annotations

import importlib
import pkgutil
import warnings

import numpy as np
import pytest

import jtorch

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from .. import samples  # noqa: E402 (what follows needs onnx)
from ..samples.table import TABLE  # noqa: E402
from ..test_ops import flat, resolve, tensors  # noqa: E402

for _module in pkgutil.iter_modules(samples.__path__):
    importlib.import_module(f"{samples.__name__}.{_module.name}")

#: Checked on every run; all the others with --run-slow.
ALWAYS = (
    "torch.add", "torch.where", "torch.nn.functional.gelu", "torch.nn.functional.interpolate", "torch.remainder",
    "torch.nn.functional.max_pool2d", "torch.var", "torch.diag_embed", "torch.roll", "torch.nn.functional.unfold",
)  # fmt: skip
_NAN = "ONNX says nothing about NaN here, and onnxruntime does not do what PyTorch does"
KNOWN = {
    **dict.fromkeys(
        ("torch.sgn-3", "torch.sign-3", "torch.max-7", "torch.min-7", "torch.argmax-4", "torch.argmin-4",
         "torch.amax-5", "torch.amin-5", "torch.median-5", "torch.sort-3", "torch.sort-4", "torch.sort-5",
         "torch.topk-12", "torch.topk-13", "torch.topk-14", "torch.argsort-3", "torch.argsort-4"), _NAN,
    ),
    "torch.nn.functional.conv_transpose2d-3": "onnxruntime takes no output_padding as large as the stride",
    "torch.mv-1": "onnxruntime multiplies no matrices without columns",
}  # fmt: skip


def _marks(path: str, i: int) -> list:
    reason = KNOWN.get(f"{path}-{i}")
    return [*([] if path in ALWAYS else [pytest.mark.slow]), *([pytest.mark.xfail(reason=reason)] if reason else [])]


ROWS = [
    pytest.param(path, i, id=f"{path}-{i}", marks=_marks(path, i)) for path in TABLE for i in range(len(TABLE[path]))
]


@pytest.mark.parametrize("path, i", ROWS)
def test_against_onnxruntime(path, i):
    sample = TABLE[path][i]
    args, kwargs, _ = tensors(jtorch, sample)
    given = [a for a in flat([*args, *kwargs.values()], jtorch.Tensor) if a.numel()]
    if not given:
        pytest.skip("no tensor with elements among the arguments")

    def model(*inputs):
        it = iter(inputs)

        def put(x):
            if isinstance(x, jtorch.Tensor):
                return next(it) if x.numel() else x
            return type(x)(put(y) for y in x) if type(x) in (list, tuple) else x

        positional = [put(a) for a in args]
        result = resolve(jtorch, path)(*positional, **{k: put(v) for k, v in kwargs.items()})
        return tuple(flat(result, jtorch.Tensor))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = [t.detach().numpy() for t in model(*(g.clone() for g in given))]
            if not expected:
                pytest.skip("the result is no tensor")
            program = jtorch.onnx.export(model, tuple(given), verify=False)
        except jtorch.onnx.OnnxExporterError as error:
            pytest.skip(f"not exported: {str(error).splitlines()[0]}")
        try:
            actual = program.run(given)
        except Exception as error:
            if "NOT_IMPLEMENTED" not in str(error):
                raise
            pytest.skip("onnxruntime has no kernel for these types")
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        if b.dtype.kind == "f":
            tol = {2: 4e-3, 4: 2e-5, 8: 1e-9}[b.dtype.itemsize]
            np.testing.assert_allclose(a, b, rtol=tol, atol=tol)
        else:
            np.testing.assert_array_equal(a, b)
