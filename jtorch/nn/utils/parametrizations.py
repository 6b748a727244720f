"""Ready-made parametrizations: weight norm, spectral norm and orthogonal matrices."""

from __future__ import annotations

import jtorch

from .. import functional as F
from ..modules.conv import _ConvTranspose
from ..modules.module import Module
from .parametrize import register_parametrization
from .spectral_norm import as_matrix
from .weight_norm import norm_except_dim, normalized


class _WeightNorm(Module):
    """``g v / ‖v‖`` from ``original0 = g`` and ``original1 = v``."""

    def __init__(self, dim: int | None = 0):
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g, weight_v):
        return normalized(weight_v, weight_g, self.dim)

    def right_inverse(self, weight):
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module, name: str = "weight", dim: int = 0):
    """Parametrize ``name`` by a magnitude and a direction (Salimans & Kingma, 2016); returns the module.

    Files of the older ``nn.utils.weight_norm`` (``name_g``, ``name_v``) can be loaded.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(state_dict, prefix, *args) -> None:
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(k in state_dict for k in old):
            for i, k in enumerate(old):
                state_dict[f"{prefix}parametrizations.{name}.original{i}"] = state_dict.pop(k)

    module._register_load_state_dict_pre_hook(rename)
    return module


class _SpectralNorm(Module):
    """A weight divided by its largest singular value, found by power iteration."""

    def __init__(self, weight, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12):
        super().__init__()
        if dim >= weight.dim() or dim < -weight.dim():
            raise IndexError(
                "Dimension out of range (expected to be in range of "
                f"[-{weight.dim()}, {weight.dim() - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps, self.n_power_iterations = dim % weight.dim(), eps, n_power_iterations
        if weight.dim() > 1:
            with jtorch.no_grad():
                matrix = as_matrix(weight, self.dim)
                u = F.normalize(matrix.new_empty(matrix.shape[0]).normal_(0, 1), dim=0, eps=eps)
                v = F.normalize(matrix.new_empty(matrix.shape[1]).normal_(0, 1), dim=0, eps=eps)
            self.register_buffer("_u", u)
            self.register_buffer("_v", v)
            self._power_method(matrix, 15)

    def _power_method(self, matrix, steps: int) -> None:
        with jtorch.no_grad():
            for _ in range(steps):
                self._u.copy_(F.normalize(jtorch.mv(matrix, self._v), dim=0, eps=self.eps))
                self._v.copy_(F.normalize(jtorch.mv(matrix.t(), self._u), dim=0, eps=self.eps))

    def forward(self, weight):
        if weight.dim() == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._power_method(matrix.detach(), self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()
        return weight / jtorch.dot(u, jtorch.mv(matrix, v))

    def right_inverse(self, value):
        return value


def spectral_norm(
    module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
):
    """Parametrize ``name`` as itself over its largest singular value (Miyato et al., 2018); returns the module.

    Raises:
        ValueError: there is no such tensor.
    """
    weight = getattr(module, name, None)
    if weight is None:
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        dim = 1 if isinstance(module, _ConvTranspose) else 0
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


# --- orthogonal matrices -------------------------------------------------------------------------------------------


def _skew(x):
    """The skew-Hermitian matrix ``(n, n)`` below whose diagonal ``x`` ``(n, k)`` stands, padded with zeros."""
    x = x.tril()
    rows, columns = x.shape[-2:]
    if rows != columns:
        x = jtorch.cat([x, x.new_zeros(*x.shape[:-2], rows, rows - columns)], -1)
    return x - x.mH


def _cayley(a):
    eye = jtorch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    return jtorch.linalg.solve(eye - 0.5 * a, eye + 0.5 * a)


def _reflections(x):
    """The product of the Householder reflections below the diagonal of ``x``, columns signed by the diagonal."""
    below = x.tril(-1)
    tau = 2.0 / (1.0 + (below * below).sum(-2))
    return jtorch.linalg.householder_product(below, tau) * x.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)


_ORTHOGONAL = {
    "matrix_exp": lambda x: jtorch.linalg.matrix_exp(_skew(x))[..., : x.shape[-1]],
    "cayley": lambda x: _cayley(_skew(x))[..., : x.shape[-1]],
    "householder": _reflections,
}


def _orthogonalized(a):
    """The orthogonal factor of ``a`` whose triangular factor has a positive diagonal."""
    reflectors, tau = jtorch.geqrf(a)
    signs = reflectors.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)
    return jtorch.linalg.householder_product(reflectors, tau) * signs


def _is_orthogonal(q) -> bool:
    rows, columns = q.shape[-2:]
    eye = jtorch.eye(columns, dtype=q.dtype, device=q.device)
    return bool(jtorch.allclose(q.mH @ q, eye, atol=10 * rows * jtorch.finfo(q.dtype).eps))


class _Orthogonal(Module):
    """A matrix with orthonormal columns (rows, when it is wide), by one of the maps above.

    With trivialization it is ``base`` times the map of the parameter, and setting it makes it the base; the parameter
    then starts at minus the identity (Lezcano Casado, 2019).
    """

    def __init__(self, weight, orthogonal_map: str, use_trivialization: bool = True):
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x):
        wide = x.shape[-2] < x.shape[-1]
        q = _ORTHOGONAL[self.orthogonal_map](x.mT if wide else x)
        if hasattr(self, "base"):
            q = self.base @ q
        return q.mT if wide else q

    def right_inverse(self, value):
        if value.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {value.shape}."
            )
        with jtorch.no_grad():
            wide = value.shape[-2] < value.shape[-1]
            q = value.mT if wide else value
            rows, columns = q.shape[-2:]
            if not hasattr(self, "base"):
                if self.orthogonal_map != "householder":
                    raise NotImplementedError(
                        "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                        "use_trivialization=False."
                    )
                reflectors, tau = jtorch.geqrf(q)
                signs = reflectors.diagonal(dim1=-2, dim2=-1).sign()
                x = _with_diagonal(reflectors, jtorch.where(tau == 0, -signs, signs))
                return x.mT if wide else x
            if rows == columns:
                self.base = q.clone() if _is_orthogonal(q) else _orthogonalized(q)
            else:  # any completion to a square matrix
                rest = jtorch.randn(*q.shape[:-2], rows, rows - columns, dtype=q.dtype, device=q.device)
                self.base = _orthogonalized(jtorch.cat([q, rest], -1))
            start = jtorch.zeros_like(value)
            start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
            return start


def _with_diagonal(x, diagonal):
    x = x.clone()
    x.diagonal(dim1=-2, dim2=-1).copy_(diagonal)
    return x


def orthogonal(module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True):
    """Parametrize ``name``, ``(..., n, k)``, by matrices with orthonormal columns, or rows when ``n < k``.

    Args:
        orthogonal_map: ``"matrix_exp"`` and ``"cayley"`` of a skew-symmetric matrix, or ``"householder"``, a product of
            reflections; default ``"matrix_exp"`` for square or complex matrices, else ``"householder"``.
        use_trivialization: start the map at the present value, instead of at the identity.

    Raises:
        ValueError: there is no such tensor, it is no matrix, or the map is unknown (or ``"householder"`` of complex
            numbers).
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, jtorch.Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.dim() < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions.")
    if orthogonal_map is None:
        exponential = weight.shape[-2] == weight.shape[-1] or weight.is_complex()
        orthogonal_map = "matrix_exp" if exponential else "householder"
    if orthogonal_map not in _ORTHOGONAL:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    return register_parametrization(module, name, _Orthogonal(weight, orthogonal_map, use_trivialization), unsafe=True)
