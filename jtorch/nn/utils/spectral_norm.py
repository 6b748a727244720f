"""Spectral normalisation: a weight divided by its largest singular value (Miyato et al., 2018)."""

from __future__ import annotations

import jtorch

from .. import functional as F
from ..modules.conv import _ConvTranspose
from ..parameter import Parameter, is_lazy


def as_matrix(weight, dim: int):
    """``weight`` as a matrix whose rows are the slices along ``dim``."""
    if dim != 0:
        weight = weight.permute(dim, *[d for d in range(weight.dim()) if d != dim])
    return weight.reshape(weight.shape[0], -1)


def iterate(matrix, u, v, steps: int, eps: float) -> None:
    """Power iterations that bring ``u`` and ``v`` closer to the first singular vectors, in place."""
    with jtorch.no_grad():
        for _ in range(steps):
            v.copy_(F.normalize(jtorch.mv(matrix.t(), u), dim=0, eps=eps))
            u.copy_(F.normalize(jtorch.mv(matrix, v), dim=0, eps=eps))


class SpectralNorm:
    """The forward pre-hook that computes the weight."""

    _version = 1

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12):
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.name, self.n_power_iterations, self.dim, self.eps = name, n_power_iterations, dim, eps

    def compute_weight(self, module, do_power_iteration: bool):
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            iterate(matrix.detach(), u, v, self.n_power_iterations, self.eps)
            u, v = u.clone(), v.clone()  # the buffers change in the next forward, backward needs them as they are now
        sigma = jtorch.dot(u, jtorch.mv(matrix, v))
        return weight / sigma

    def _note_version(self, module, state_dict, prefix, local_metadata) -> None:
        local_metadata.setdefault("spectral_norm", {})[f"{self.name}.version"] = self._version

    def __call__(self, module, inputs) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))


def spectral_norm(
    module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
):
    """Divide the parameter ``name`` by its largest singular value in each forward; returns the module.

    Args:
        n_power_iterations: refinements of the singular vectors per forward in training.
        dim: the dimension of outputs (default 0; 1 for transposed convolutions).

    Raises:
        RuntimeError: it is normalised already.
    """
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    if dim is None:
        dim = 1 if isinstance(module, _ConvTranspose) else 0
    hook = SpectralNorm(name, n_power_iterations, dim, eps)
    weight = module._parameters[name]
    if weight is None:
        raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    if is_lazy(weight):
        raise ValueError(
            "The module passed to `SpectralNorm` can't have uninitialized parameters. Make sure to run the dummy "
            "forward before applying spectral normalization"
        )
    with jtorch.no_grad():
        rows, columns = as_matrix(weight, dim).shape
        u = F.normalize(weight.new_empty(rows).normal_(0, 1), dim=0, eps=eps)
        v = F.normalize(weight.new_empty(columns).normal_(0, 1), dim=0, eps=eps)
    del module._parameters[name]
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.detach())
    module.register_buffer(f"{name}_u", u)
    module.register_buffer(f"{name}_v", v)
    module.register_forward_pre_hook(hook)
    module._register_state_dict_hook(hook._note_version)
    return module


def remove_spectral_norm(module, name: str = "weight"):
    """Make ``name`` an ordinary parameter again; returns the module.

    Raises:
        ValueError: it is not normalised.
    """
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, SpectralNorm) and hook.name == name:
            with jtorch.no_grad():
                weight = hook.compute_weight(module, do_power_iteration=False)
            delattr(module, name)
            for suffix in ("_u", "_v", "_orig"):
                delattr(module, name + suffix)
            module.register_parameter(name, Parameter(weight.detach()))
            del module._forward_pre_hooks[key]
            hooks = module._state_dict_hooks
            for key in [k for k, f in hooks.items() if getattr(f, "__self__", None) is hook]:
                del hooks[key]
            return module
    raise ValueError(f"spectral_norm of '{name}' not found in {module}")
