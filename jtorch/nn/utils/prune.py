"""Pruning: a parameter multiplied by a mask of zeros and ones before each forward.

A pruned parameter ``name`` becomes the parameter ``name_orig`` and the buffer ``name_mask``; ``name`` itself is their
product, computed anew by a forward pre-hook, the pruning method. Pruning it again narrows the mask.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable

import jtorch

from .convert_parameters import parameters_to_vector


class BasePruningMethod(ABC):
    """A forward pre-hook that masks a parameter. Subclasses define ``PRUNING_TYPE`` and :meth:`compute_mask`.

    ``PRUNING_TYPE``: ``"unstructured"`` (a further pruning looks only at elements that are left), ``"structured"``
    (only at slices along ``self.dim`` with something left) or ``"global"`` (at everything).
    """

    _tensor_name: str

    def __call__(self, module, inputs) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t, default_mask):
        """The mask of ``t``, given the mask so far."""

    def apply_mask(self, module):
        """The masked tensor."""
        name = getattr(self, "_tensor_name", None)
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        original = getattr(module, f"{name}_orig")
        return getattr(module, f"{name}_mask").to(dtype=original.dtype) * original

    @classmethod
    def apply(cls, module, name: str, *args, importance_scores=None, **kwargs):
        """Prune ``module.name`` by ``cls(*args, **kwargs)``; the scores (default: the values) say what is important.

        Raises:
            AssertionError: scores of another shape than the parameter.
        """
        method = cls(*args, **kwargs)
        method._tensor_name = name
        hooks = module._forward_pre_hooks
        earlier = [k for k, h in hooks.items() if isinstance(h, BasePruningMethod) and h._tensor_name == name]
        if len(earlier) > 1:
            raise AssertionError(
                f"Avoid adding multiple pruning hooks to the same tensor {name} of module {module}. Use a "
                "PruningContainer."
            )
        current = getattr(module, name)
        scores = current if importance_scores is None else importance_scores
        if scores.shape != current.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}, got {scores.shape} vs "
                f"{current.shape}"
            )
        if earlier:
            before = hooks[earlier[0]]
            container = before if isinstance(before, PruningContainer) else PruningContainer(before)
            container.add_pruning_method(method)
            method, mask = container, getattr(module, f"{name}_mask").detach().clone()
        else:
            mask = jtorch.ones_like(current)
        mask = method.compute_mask(scores, default_mask=mask)  # nothing is changed if this raises
        if earlier:
            del hooks[earlier[0]]
        else:
            module.register_parameter(f"{name}_orig", current)
            del module._parameters[name]
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t, default_mask=None, importance_scores=None):
        """``t`` with its mask applied.

        Raises:
            AssertionError: scores of another shape than ``t``.
        """
        scores = t if importance_scores is None else importance_scores
        if scores.shape != t.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as tensor t, got {scores.shape} vs {t.shape}"
            )
        return t * self.compute_mask(scores, jtorch.ones_like(t) if default_mask is None else default_mask)

    def remove(self, module) -> None:
        """Make the masked values the parameter's own; the hook itself stays with the caller."""
        weight, name = self.apply_mask(module), self._tensor_name
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters.pop(f"{name}_orig")
        original.data = weight.data
        del module._buffers[f"{name}_mask"]
        setattr(module, name, original)


class PruningContainer(BasePruningMethod):
    """Pruning methods applied one after the other; the mask is that of the latest, within what the others left."""

    def __init__(self, *methods):
        self._pruning_methods: tuple = ()
        if len(methods) == 1:
            self._tensor_name = methods[0]._tensor_name
        for method in methods:
            self.add_pruning_method(method)

    def add_pruning_method(self, method) -> None:
        """Raises:
        TypeError: it is no pruning method.
        ValueError: it is about another parameter.
        """
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if self._tensor_name != method._tensor_name:
            raise ValueError(
                f"Can only add pruning methods acting on the parameter named '{self._tensor_name}' to "
                f"PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self):
        return iter(self._pruning_methods)

    def __getitem__(self, index):
        return self._pruning_methods[index]

    def compute_mask(self, t, default_mask):
        method = self._pruning_methods[-1]
        mask = default_mask.to(dtype=t.dtype).clone()
        where = _left(method, t, default_mask)
        mask[where] = method.compute_mask(t[where], default_mask=default_mask[where]).to(dtype=mask.dtype)
        return mask


def _left(method, t, mask):
    """The index of what ``method`` may still prune."""
    if method.PRUNING_TYPE == "unstructured":
        return mask == 1
    if method.PRUNING_TYPE == "global":
        return (slice(None),) * t.dim()
    if method.PRUNING_TYPE != "structured":
        raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
    if not hasattr(method, "dim"):
        raise AttributeError('Pruning methods of PRUNING_TYPE "structured" need to have the attribute `dim` defined.')
    dim = method.dim + t.dim() if method.dim < 0 else method.dim
    if dim < 0:
        raise IndexError(f"Index is out of bounds for tensor with dimensions {t.dim()}")
    kept = mask.sum(dim=[d for d in range(t.dim()) if d != dim]) != 0
    return tuple(kept if d == dim else slice(None) for d in range(t.dim()))


class Identity(BasePruningMethod):
    """Prunes nothing, but makes the mask."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        return default_mask

    @classmethod
    def apply(cls, module, name: str):
        return super().apply(module, name)


def _validate_pruning_amount_init(amount) -> None:
    """Raises:
    TypeError: ``amount`` is no number.
    ValueError: it is neither a share in [0, 1] nor a number of elements.
    """
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or (amount > 1 and not isinstance(amount, numbers.Integral)):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _validate_pruning_amount(amount, tensor_size: int) -> None:
    """Raises:
    ValueError: ``amount`` is a number of elements, and more than there are.
    """
    if isinstance(amount, numbers.Integral) and amount > tensor_size:
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={tensor_size}")


def _compute_nparams_toprune(amount, tensor_size: int) -> int:
    """How many of ``tensor_size`` an ``amount`` is. (Pruning methods of users' own call these three as well.)"""
    return amount if isinstance(amount, numbers.Integral) else round(amount * tensor_size)


class _Share(BasePruningMethod):
    """A method that prunes ``amount``: a number of elements (or slices), or a share of them in [0, 1]."""

    def __init__(self, amount):
        _validate_pruning_amount_init(amount)
        self.amount = amount

    def count(self, size: int) -> int:
        """How many of ``size`` to prune.

        Raises:
            ValueError: more than there are.
        """
        _validate_pruning_amount(self.amount, size)
        return _compute_nparams_toprune(self.amount, size)


class _Unstructured(_Share):
    """Prunes the elements with the ``count`` worst scores."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        mask = default_mask.clone()
        count = self.count(t.numel())
        if count:
            mask.view(-1)[self._worst(t, count)] = 0
        return mask

    def _worst(self, t, count: int):
        """The flat indices of the elements to prune."""
        raise NotImplementedError


class RandomUnstructured(_Unstructured):
    """Prunes elements drawn at random."""

    def _worst(self, t, count: int):
        return jtorch.topk(jtorch.rand_like(t).view(-1), k=count).indices

    @classmethod
    def apply(cls, module, name: str, amount):
        return super().apply(module, name, amount=amount)


class L1Unstructured(_Unstructured):
    """Prunes the elements of the smallest magnitude."""

    def _worst(self, t, count: int):
        return jtorch.topk(t.abs().reshape(-1), k=count, largest=False).indices

    @classmethod
    def apply(cls, module, name: str, amount, importance_scores=None):
        return super().apply(module, name, amount=amount, importance_scores=importance_scores)


class _Structured(_Share):
    """Prunes whole slices along ``dim``."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount, dim: int = -1):
        super().__init__(amount)
        self.dim = dim

    def compute_mask(self, t, default_mask):
        if t.dim() <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
                f"{t.shape} with {t.dim()} dims"
            )
        if self.dim >= t.dim():
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        count = self.count(t.shape[self.dim])
        if not count:
            return default_mask
        mask = jtorch.zeros_like(t)
        dim = self.dim % t.dim()
        mask[tuple(self._kept(t, dim, count) if d == dim else slice(None) for d in range(t.dim()))] = 1
        return mask * default_mask.to(dtype=mask.dtype)

    def _kept(self, t, dim: int, count: int):
        """An index of the slices that stay."""
        raise NotImplementedError


class RandomStructured(_Structured):
    """Prunes slices drawn at random."""

    def _kept(self, t, dim: int, count: int):
        draws = jtorch.rand(t.shape[dim])
        return draws > jtorch.kthvalue(draws, k=count).values

    @classmethod
    def apply(cls, module, name: str, amount, dim: int = -1):
        return super().apply(module, name, amount=amount, dim=dim)


class LnStructured(_Structured):
    """Prunes the slices of the smallest ``n``-norm (a number, ``inf``, ``-inf``, ``"fro"`` or ``"nuc"``)."""

    def __init__(self, amount, n, dim: int = -1):
        super().__init__(amount, dim)
        self.n = n

    def _kept(self, t, dim: int, count: int):
        size = jtorch.norm(t, p=self.n, dim=[d for d in range(t.dim()) if d != dim])
        return jtorch.topk(size, k=t.shape[dim] - count, largest=True).indices

    @classmethod
    def apply(cls, module, name: str, amount, n, dim: int, importance_scores=None):
        return super().apply(module, name, amount=amount, n=n, dim=dim, importance_scores=importance_scores)


class CustomFromMask(BasePruningMethod):
    """Prunes by a given mask."""

    PRUNING_TYPE = "global"

    def __init__(self, mask):
        self.mask = mask

    def compute_mask(self, t, default_mask):
        if default_mask.shape != self.mask.shape:
            raise AssertionError(
                f"default_mask shape {default_mask.shape} must match self.mask shape {self.mask.shape}"
            )
        return default_mask * self.mask.to(dtype=default_mask.dtype)

    @classmethod
    def apply(cls, module, name: str, mask):
        return super().apply(module, name, mask=mask)


# --- functions -----------------------------------------------------------------------------------------------------


def identity(module, name: str):
    """Give ``module.name`` a mask of ones; returns the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module, name: str, amount):
    """Prune ``amount`` elements (or that share) of ``module.name`` at random; returns the module."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module, name: str, amount, importance_scores=None):
    """Prune the ``amount`` elements (or that share) of least magnitude, or of least score; returns the module."""
    L1Unstructured.apply(module, name, amount, importance_scores)
    return module


def random_structured(module, name: str, amount, dim: int):
    """Prune ``amount`` slices (or that share) along ``dim`` at random; returns the module."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module, name: str, amount, n, dim: int, importance_scores=None):
    """Prune the ``amount`` slices (or that share) along ``dim`` of least ``n``-norm; returns the module."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores)
    return module


def custom_from_mask(module, name: str, mask):
    """Prune ``module.name`` by ``mask``; returns the module."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(parameters, pruning_method, importance_scores=None, **kwargs) -> None:
    """Prune several parameters, ``(module, name)`` pairs, as if they were one vector.

    Args:
        pruning_method: an unstructured method's class, made with ``kwargs``.
        importance_scores: a tensor by pair, where not the values.

    Raises:
        TypeError: ``parameters`` is no iterable, the scores are no dict, or the method is not unstructured.
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    scores = {} if importance_scores is None else importance_scores
    if not isinstance(scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    pairs = list(parameters)
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method {pruning_method} of '
            f"type {method.PRUNING_TYPE}"
        )
    method._tensor_name = "all"
    tensors = [getattr(module, name) for module, name in pairs]
    values = [scores.get(pair, t) for pair, t in zip(pairs, tensors, strict=True)]
    so_far = [getattr(m, f"{name}_mask", jtorch.ones_like(t)) for (m, name), t in zip(pairs, tensors, strict=True)]
    mask = PruningContainer(method).compute_mask(parameters_to_vector(values), parameters_to_vector(so_far))
    for (module, name), t, part in zip(pairs, tensors, mask.split([t.numel() for t in tensors]), strict=True):
        custom_from_mask(module, name, part.view_as(t))


def remove(module, name: str):
    """Make the pruned values of ``module.name`` permanent, as an ordinary parameter; returns the module.

    Raises:
        ValueError: it is not pruned.
    """
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")


def is_pruned(module) -> bool:
    """Whether a parameter of the module, or of one within it, is pruned."""
    hooks = (hook for m in module.modules() for hook in m._forward_pre_hooks.values())
    return any(isinstance(hook, BasePruningMethod) for hook in hooks)
