"""Modules on several devices, each called with arguments of its own."""

from __future__ import annotations


def parallel_apply(modules, inputs, kwargs_tup=None, devices=None) -> list:
    """``[m(*x, **k) for each]``; an input that is no tuple is the only one. What is recorded on several devices runs on
    them at the same time, so no threads are needed; ``devices`` is accepted.

    Raises:
        ValueError: the lengths differ.
    """
    kwargs_tup = [{}] * len(modules) if kwargs_tup is None else kwargs_tup
    if not len(modules) == len(inputs) == len(kwargs_tup):
        raise ValueError(
            f"The number of modules {len(modules)} is not equal to the number of inputs {len(inputs)} or of keyword "
            f"arguments {len(kwargs_tup)}"
        )
    return [
        module(*(x if isinstance(x, (tuple, list)) else (x,)), **kwargs)
        for module, x, kwargs in zip(modules, inputs, kwargs_tup, strict=True)
    ]
