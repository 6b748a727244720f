"""Rows for Bessel and Airy functions and for orthogonal polynomials."""

from .table import S, T, rows

WIDE = T(24, low=-40, high=60, grad=False)
for _name in ("bessel_j0", "bessel_j1", "spherical_bessel_j0", "modified_bessel_i0", "modified_bessel_i1", "airy_ai"):
    rows(f"torch.special.{_name}", S(T(12, low=-12, high=12, grad=False)), S(WIDE), S(T(3, dtype="int64")))
for _name in (
    "bessel_y0", "bessel_y1", "modified_bessel_k0", "modified_bessel_k1", "scaled_modified_bessel_k0",
    "scaled_modified_bessel_k1",
):  # fmt: skip
    rows(f"torch.special.{_name}", S(T(12, low=0.3, high=12, grad=False)), S(WIDE), S(T(3, dtype="int64")))

DEGREES = T(3, 1, values=[[0], [3], [9]], dtype="int64")
for _name in (
    *(f"{shifted}chebyshev_polynomial_{kind}" for shifted in ("", "shifted_") for kind in "tuvw"),
    "hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p",
):  # fmt: skip
    rows(
        f"torch.special.{_name}", S(T(3, 5, grad=False), DEGREES), S(T(4, grad=False), 2),
        S(1.5, T(3, dtype="int64", low=-1)),
    )  # fmt: skip
rows("torch.special.multigammaln", S(T(4, low=2, high=5), 3))
rows("torch.igamma", S(T(4, low=0.2, high=3, grad=False), T(4, low=0.2, high=3)), S(T(2, 1, low=0.2, high=3, grad=False), T(3, low=1, high=2)))  # fmt: skip  # noqa: E501
rows("torch.igammac", S(T(4, low=0.2, high=3, grad=False), T(4, low=0.2, high=3)))
