"""The switch of PyTorch that turns checks of sparse index tensors on."""

from __future__ import annotations


class check_sparse_tensor_invariants:
    """A context manager, and two static methods. Here indices are always checked where that takes no waiting."""

    _on = False

    def __init__(self, enable: bool = True):
        self._wanted = enable

    @staticmethod
    def is_enabled() -> bool:
        """Whether checks are asked for."""
        return check_sparse_tensor_invariants._on

    @staticmethod
    def enable() -> None:
        """Ask for checks."""
        check_sparse_tensor_invariants._on = True

    @staticmethod
    def disable() -> None:
        """Ask for none."""
        check_sparse_tensor_invariants._on = False

    def __enter__(self):
        self._before = check_sparse_tensor_invariants._on
        check_sparse_tensor_invariants._on = self._wanted

    def __exit__(self, *exc):
        check_sparse_tensor_invariants._on = self._before

    def __call__(self, function):
        def wrapped(*args, **kwargs):
            with type(self)(self._wanted):
                return function(*args, **kwargs)

        return wrapped
