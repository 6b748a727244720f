"""``torch._int_mm`` and its kin: products of 8-bit matrices and of groups, under the names PyTorch's own code uses."""

from __future__ import annotations

from .. import dtypes
from ..ops.registry import OPS
from ..tensor.export import composite, function
from .functional import products

_int_mm = function(OPS["_int_mm"])


@composite(out=True)
def _scaled_mm(self, mat2, scale_a, scale_b, bias=None, scale_result=None, out_dtype=None, use_fast_accum=False):
    """``(A sa) (B sb) + bias`` of float8 matrices ``(M, K)``, ``(K, N)``, in A's dtype by default; sums are in float32.

    A scale is one number, or one a row of A, ``(M, 1)``, and one a column of B, ``(1, N)``. ``scale_result`` and
    ``use_fast_accum`` are for accelerators' kernels and have no effect on the values here.

    Raises:
        ValueError: operands that are not float8, or scales of other shapes.
        RuntimeError: shapes that do not fit.
    """
    if self.dim() != 2 or mat2.dim() != 2 or self.shape[1] != mat2.shape[0]:
        a, b = ("x".join(map(str, m.shape)) for m in (self, mat2))
        raise RuntimeError(f"mat_a and mat_b shapes cannot be multiplied ({a} and {b})")
    rows, columns = (self.shape[0], 1), (1, mat2.shape[1])
    single = scale_a.numel() == scale_b.numel() == 1
    narrow = all(m.dtype.is_floating_point and m.dtype.itemsize == 1 for m in (self, mat2))
    if not narrow or not (single or (tuple(scale_a.shape) == rows and tuple(scale_b.shape) == columns)):
        raise ValueError(
            "Invalid scaling configuration: a and b should be float8, and the scales either single numbers or of sizes "
            f"{list(rows)} and {list(columns)}. Got {self.dtype} and {mat2.dtype}, scales of sizes "
            f"{list(scale_a.shape)} and {list(scale_b.shape)}"
        )
    scales = [s.reshape(()) if single else s for s in (scale_a, scale_b)]
    kinds = [products.ScalingType.TensorWise if single else products.ScalingType.RowWise] * 2
    return products.scaled_mm(
        self, mat2, scales[0], kinds[0], scales[1], kinds[1], bias=bias, output_dtype=out_dtype or self.dtype
    )


@composite(out=True)
def _scaled_mm_v2(
    self, mat2, scale_a, recipe_a, swizzle_a, scale_b, recipe_b, swizzle_b, bias, out_dtype, contraction_dim=(),
    use_fast_accum=False,
):  # fmt: skip
    """:func:`jtorch.nn.functional.scaled_mm` with its arguments in another order; bfloat16 by default."""
    return products.scaled_mm(
        self, mat2, scale_a, recipe_a, scale_b, recipe_b, swizzle_a, swizzle_b, bias, out_dtype or dtypes.bfloat16
    )


def _grouped_mm(self, mat2, offs=None, bias=None, out_dtype=None):
    """:func:`jtorch.nn.functional.grouped_mm`."""
    return products.grouped_mm(self, mat2, offs=offs, bias=bias, out_dtype=out_dtype)


FUNCTIONS = {f.__name__: f for f in (_int_mm, _scaled_mm, _scaled_mm_v2, _grouped_mm)}
