"""The base class of all distributions: shapes, validation, and broadcasting of parameters."""

from __future__ import annotations

import warnings

import jtorch

from . import constraints
from .utils import all_numbers, broadcast_all, lazy_property


def _holds(valid) -> bool:
    return bool(valid.all().item())


class Distribution:
    """A probability distribution over events of ``event_shape``, independent over ``batch_shape``.

    Args:
        batch_shape, event_shape: the two parts of a sample's shape.
        validate_args: check parameters and values, which reads them on the host. Default: on, unless Python runs with
            ``-O`` or :meth:`set_default_validate_args` turned it off.

    Raises:
        ValueError: a parameter is outside its constraint.
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Turn validation on or off for distributions made from here on."""
        if value not in (True, False):
            raise ValueError(f"validate_args must be True or False, but got {value!r}")
        Distribution._validate_args = value

    def __init__(self, batch_shape=(), event_shape=(), validate_args: bool | None = None):
        self._batch_shape = jtorch.Size(batch_shape)
        self._event_shape = jtorch.Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._validate_parameters()
        super().__init__()  # the other base of a distribution that is a module too

    def _validate_parameters(self):
        try:
            arg_constraints = self.arg_constraints
        except NotImplementedError:
            arg_constraints = {}
            warnings.warn(
                f"{self.__class__} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or "
                "initialize the distribution with `validate_args=False` to turn off validation.",
                stacklevel=4,
            )
        for name, constraint in arg_constraints.items():
            if constraints.is_dependent(constraint):
                continue
            if name not in self.__dict__ and isinstance(getattr(type(self), name, None), lazy_property):
                continue
            value = getattr(self, name)
            if not _holds(constraint.check(value)):
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) "
                    f"of distribution {self!r} to satisfy the constraint {constraint!r}, "
                    f"but found invalid values:\n{value}"
                )

    # --- shapes ---------------------------------------------------------------------------------------------------

    @property
    def batch_shape(self):
        """The shape over which parameters are batched."""
        return self._batch_shape

    @property
    def event_shape(self):
        """The shape of one event."""
        return self._event_shape

    def _extended_shape(self, sample_shape=()):
        return jtorch.Size(tuple(sample_shape) + tuple(self._batch_shape) + tuple(self._event_shape))

    def expand(self, batch_shape, _instance=None):
        """This distribution with its parameters expanded to ``batch_shape``; nothing is validated again."""
        raise NotImplementedError

    def _get_checked_instance(self, cls, _instance=None):
        if _instance is None and type(self).__init__ != cls.__init__:
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ method "
                "must also define a custom .expand() method."
            )
        return self.__new__(type(self)) if _instance is None else _instance

    # --- what a family defines ------------------------------------------------------------------------------------

    @property
    def arg_constraints(self):
        """The constraint of each Tensor argument, by name."""
        raise NotImplementedError

    @property
    def support(self):
        """The constraint that values satisfy."""
        raise NotImplementedError

    @property
    def mean(self):
        """The mean."""
        raise NotImplementedError

    @property
    def mode(self):
        """The most probable value."""
        raise NotImplementedError(f"{self.__class__} does not implement mode")

    @property
    def variance(self):
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self):
        """The standard deviation."""
        return self.variance.sqrt()

    def rsample(self, sample_shape=()):
        """Samples of shape ``sample_shape + batch_shape + event_shape``, differentiable in the parameters."""
        raise NotImplementedError

    def sample(self, sample_shape=()):
        """Samples of shape ``sample_shape + batch_shape + event_shape``, without gradient."""
        with jtorch.no_grad():
            return self.rsample(sample_shape)

    def sample_n(self, n: int):
        """Deprecated: ``sample((n,))``."""
        warnings.warn("`sample_n(n)` will be deprecated. Use `sample((n,))` instead.", FutureWarning, stacklevel=2)
        return self.sample((n,))

    def log_prob(self, value):
        """Log of the density or mass at ``value``."""
        raise NotImplementedError

    def cdf(self, value):
        """P(X <= value)."""
        raise NotImplementedError

    def icdf(self, value):
        """The inverse of :meth:`cdf`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True):
        """All values of a finite support along a new first dimension."""
        raise NotImplementedError

    def entropy(self):
        """The entropy, in nats, of shape ``batch_shape``."""
        raise NotImplementedError

    def perplexity(self):
        """``exp(entropy())``."""
        return jtorch.exp(self.entropy())

    # --- validation and printing ----------------------------------------------------------------------------------

    def _check(self, value) -> None:
        """Raise ValueError for a value outside the support, where arguments are validated."""
        if self._validate_args:
            self._validate_sample(value)

    def _validate_sample(self, value) -> None:
        if not isinstance(value, jtorch.Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        shape = value.size()
        start = len(shape) - len(self._event_shape)
        if tuple(shape[start:]) != tuple(self._event_shape):
            raise ValueError(f"The right-most size of value must match event_shape: {shape} vs {self._event_shape}.")
        expected = jtorch.Size(tuple(self._batch_shape) + tuple(self._event_shape))
        if any(i != j and 1 not in (i, j) for i, j in zip(reversed(shape), reversed(expected), strict=False)):
            raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {shape} vs {expected}.")
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{self.__class__} does not define `support` to enable sample validation. Please initialize the "
                "distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not _holds(support.check(value)):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) "
                f"to be within the support ({support!r}) of the distribution {self!r}, "
                f"but found invalid values:\n{value}"
            )

    def __repr__(self) -> str:
        shown = {name: self.__dict__[name] for name in self.arg_constraints if name in self.__dict__}
        text = ", ".join(f"{name}: {v if v.numel() == 1 else v.size()}" for name, v in shown.items())
        return f"{type(self).__name__}({text})"


class Family(Distribution):
    """A distribution whose state is its arguments: ``expand`` follows from ``arg_constraints``.

    Each argument is expanded to ``batch_shape`` followed by as many of its own dimensions as its constraint has;
    distributions it is built on, and of the same batch shape, are expanded with it; other lazy values are dropped.
    """

    def _set(self, validate_args, **arguments) -> None:
        """Initialize from arguments, broadcast against each other; numbers alone make no batch dimensions."""
        tensors = broadcast_all(*arguments.values())
        for name, tensor in zip(arguments, tensors, strict=True):
            setattr(self, name, tensor)
        batch_shape = () if all_numbers(*arguments.values()) else tensors[0].size()
        Distribution.__init__(self, batch_shape, validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        """This distribution with its parameters expanded to ``batch_shape``; nothing is validated again."""
        batch_shape = jtorch.Size(batch_shape)
        new = self.__new__(type(self)) if _instance is None else _instance
        arguments = self.arg_constraints
        for name, value in self.__dict__.items():
            if name in arguments:
                if isinstance(value, jtorch.Tensor):
                    dims = arguments[name].event_dim
                    value = value.expand(tuple(batch_shape) + tuple(value.shape[value.dim() - dims :]))
            elif isinstance(getattr(type(self), name, None), lazy_property):
                continue
            elif isinstance(value, Distribution):
                value = self._expand_part(value, batch_shape)
            new.__dict__[name] = value
        new._batch_shape = batch_shape
        return new

    def _expand_part(self, part, batch_shape):
        return part.expand(batch_shape)
