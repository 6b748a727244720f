"""``torch._subclasses.fake_tensor``: tensors without data, which in jtorch are those of the ``meta`` device."""

from __future__ import annotations

from .._C import _never

FakeTensor = _never("FakeTensor")


class FakeTensorMode:
    """Raises NotImplementedError: shapes without data are found on the ``meta`` device."""

    def __init__(self, *args, **kwargs):
        raise NotImplementedError(
            "FakeTensorMode: jtorch makes no fake tensors; create them with device='meta' to find shapes without data"
        )


def is_fake(x) -> bool:
    """Whether a tensor is a fake one: none is."""
    return isinstance(x, FakeTensor)
