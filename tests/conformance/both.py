"""PyTorch's tables, its values as jtorch's, and comparison. Importing this needs PyTorch."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

import jtorch

with warnings.catch_warnings():  # the tables are private, and use what their own library deprecates
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import module_db
    from torch.testing._internal.common_optimizers import optim_db

__all__ = ["Report", "close", "converted", "leaves", "module_db", "optim_db"]

#: How close float32 must be: what ``torch.testing.assert_close`` asks for.
TOLERANCE = {"rtol": 1.3e-6, "atol": 1e-5}


@dataclass
class Report:
    """What became of the samples of one entry: how many agreed, and what was said of each of the others."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def run(self, name: str, check, *args) -> None:
        """Count ``check(*args)``: what jtorch refuses by name is missing, any other exception is a failure."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(*args)
        except NotImplementedError as error:
            self.missing.append(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 (the next sample runs all the same)
            self.failed.append(f"{name}: {type(error).__name__}: {error}")
        else:
            self.passed += 1


def converted(value, seen: dict | None = None):
    """A value of PyTorch's as jtorch's; one tensor in several places stays one."""
    seen = {} if seen is None else seen
    if isinstance(value, torch.Tensor):
        if id(value) not in seen and value.is_sparse:
            parts = (converted(part.detach()) for part in (value._indices(), value._values()))
            seen[id(value)] = jtorch.sparse_coo_tensor(*parts, tuple(value.shape))
        elif id(value) not in seen:
            array = value.detach().numpy().copy()
            seen[id(value)] = jtorch.tensor(array, requires_grad=value.requires_grad)
        return seen[id(value)]
    if isinstance(value, torch.dtype):
        return getattr(jtorch, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return jtorch.device(str(value))
    if isinstance(value, dict):
        return {name: converted(entry, seen) for name, entry in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(converted(entry, seen) for entry in value)
    if isinstance(value, torch.nn.LinearCrossEntropyOptions):
        options = {f.name: converted(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return jtorch.nn.LinearCrossEntropyOptions(**options)
    module = getattr(value, "__module__", None) or ""
    if callable(value) and (module.startswith("torch.") or module == "torch._C._nn"):
        return _namesake(value)
    return value


def _namesake(value):
    """A function or module object of PyTorch's as jtorch's of the same name."""
    if isinstance(value, torch.nn.TransformerEncoderLayer):
        return _encoder_layer(value)
    if isinstance(value, torch.nn.Module):
        if list(value.parameters()):
            raise NotImplementedError(f"a {type(value).__name__} as an argument is not converted")
        return getattr(jtorch.nn, type(value).__name__)()
    for theirs, ours in ((torch.nn.functional, jtorch.nn.functional), (torch.nn, jtorch.nn), (torch, jtorch)):
        if getattr(theirs, value.__name__, None) is value:
            return getattr(ours, value.__name__)
    raise NotImplementedError(f"{value} as an argument is not converted")


def _encoder_layer(layer):
    made = jtorch.nn.TransformerEncoderLayer(
        layer.linear1.in_features,
        layer.self_attn.num_heads,
        layer.linear1.out_features,
        layer.dropout.p,
        converted(layer.activation),
        layer.norm1.eps,
        layer.self_attn.batch_first,
        layer.norm_first,
        layer.linear1.bias is not None,
    )
    made.load_state_dict(converted(layer.state_dict()))
    return made.train(layer.training)


def leaves(value, path: str = "") -> Iterator[tuple[str, object]]:
    """The tensors in nested results, of either library, and where they are."""
    if isinstance(value, (torch.Tensor, jtorch.Tensor)):
        yield path, value
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from leaves(entry, f"{path}.{name}")
    elif isinstance(value, (list, tuple)):
        for i, entry in enumerate(value):
            yield from leaves(entry, f"{path}[{i}]")


def close(what: str, ours, theirs, **tolerance) -> None:
    """Raises:
    AssertionError: shapes, dtypes or values differ, or only one is None.
    """
    if (ours is None) != (theirs is None):
        raise AssertionError(f"{what}: {'None' if ours is None else 'a tensor'}, where PyTorch has the other")
    if theirs is None:
        return
    described = [(tuple(x.shape), str(x.dtype).removeprefix("torch.").removeprefix("jtorch.")) for x in (ours, theirs)]
    if described[0] != described[1]:
        raise AssertionError(f"{what}: {described[0]}, expected {described[1]}")
    tolerance = TOLERANCE | tolerance
    a, b = (x.detach().numpy() for x in (ours, theirs))
    if b.dtype == np.float32 and b.size:  # a small element may be what large terms of a sum left: as exact as those
        tolerance["atol"] = max(tolerance["atol"], tolerance["rtol"] * float(np.nanmax(np.abs(b), initial=0)))
    np.testing.assert_allclose(a, b, err_msg=what, **tolerance)
