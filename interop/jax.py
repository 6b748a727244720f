"""jtorch and JAX in one program: arrays both ways without a copy, functions and modules both ways.

- :func:`to_jax`, :func:`from_jax`: a tensor's ``jax.Array`` and a tensor around one.
- :func:`jax_function`, :class:`JaxModule`: a JAX function as a differentiable jtorch operation, and as a module.
- :func:`as_jax_function`, :func:`as_jax_module`: a function of tensors, or a module, as a pure JAX function.
"""

from __future__ import annotations

import jax
import numpy as np

import jtorch
from jtorch import debug, from_jax, nn, to_jax
from jtorch.trace.replay import Disagreement, Fitted, points


def _is_array(x) -> bool:
    return isinstance(x, jax.Array) or (hasattr(x, "shape") and hasattr(x, "dtype") and not hasattr(x, "requires_grad"))


def _is_tensor(x) -> bool:
    return isinstance(x, jtorch.Tensor)


def _stand_in(shape, dtype):
    """A tensor of this shape and dtype; its values are never read."""
    zeros = np.broadcast_to(np.zeros((), dtype), shape)
    return from_jax(jax.numpy.asarray(zeros)) if zeros.dtype.kind == "V" else jtorch.from_numpy(zeros.copy())


def _platform() -> str:
    return {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())


class _Program:
    """``function``, recorded for arrays shaped like ``arrays``: ``form`` and ``leaves`` say how results are nested."""

    def __init__(self, function, arrays, named, written):
        self.form = self.leaves = None
        self.changed: list[str] = []
        symbols = tuple({d: None for a in arrays for d in a.shape if jax.export.is_symbolic_dim(d)})
        jtorch.sync()
        graphs = []
        for point in points(len(symbols)):
            sizes = dict(zip(symbols, point, strict=True))
            given = [_stand_in(tuple(sizes.get(d, d) for d in a.shape), a.dtype) for a in arrays]
            state = jtorch.get_rng_state()
            graphs.append(debug.graph(lambda *ts: self._run(function, ts, written), given, named))
            if not bool((jtorch.get_rng_state() == state).all()):
                jtorch.set_rng_state(state)
                raise RuntimeError(
                    "the function draws random numbers, which would be the same at every call of the JAX function; put "
                    "the module in evaluation mode (.eval()), or pass the numbers as an argument"
                )
        self.run = Fitted(graphs, symbols)

    def _run(self, function, tensors, written):
        before = {name: t._value() for name, t in written.items()}
        found, self.form = jax.tree.flatten(function(*tensors))
        self.leaves = [None if _is_tensor(x) else x for x in found]
        self.changed = [name for name, t in written.items() if t._value() is not before[name]]
        return [x for x in found if _is_tensor(x)] + [written[name] for name in self.changed]


def _record(function, args, kwargs, named, written=None):
    """``(program, arrays)`` of ``function(*args, **kwargs)``, where arrays in the arguments become tensors."""
    leaves, form = jax.tree.flatten((args, kwargs))
    places = [i for i, x in enumerate(leaves) if _is_array(x)]
    arrays = [leaves[i] for i in places]

    def call(*tensors):
        full = list(leaves)
        for i, t in zip(places, tensors, strict=True):
            full[i] = t
        inner_args, inner_kwargs = jax.tree.unflatten(form, full)
        return function(*inner_args, **inner_kwargs)

    with jax.ensure_compile_time_eval():
        return _Program(call, arrays, named, written or {}), arrays


def _results(program: _Program, outputs):
    it = iter(outputs)
    return jax.tree.unflatten(program.form, [next(it) if x is None else x for x in program.leaves])


def as_jax_function(fn, platform: str | None = None):
    """``fn``, a function of tensors, as a pure function of jax arrays: for ``jax.jit``, ``grad``, ``vmap``, ``export``.

    Arguments and results may be nested as JAX nests them. ``fn`` is recorded at each call (so once under ``jax.jit``)
    and the bodies of its operations are handed to JAX. Under ``jax.export`` sizes may be symbols. What ``fn`` writes
    into tensors from outside is undone. Indices out of range are clamped, as in JAX.

    Args:
        platform: whose lowerings to take, ``"cpu"``, ``"cuda"`` or ``"tpu"`` (default: JAX's default backend).

    Raises:
        RuntimeError: ``fn`` reads a value of a tensor (``item()``, ``if x > 0``), or draws random numbers, or does
            different things at different sizes.
    """

    def function(*args, **kwargs):
        program, arrays = _record(fn, args, kwargs, {})
        return _results(program, program.run(arrays, {}, platform or _platform()))

    function.__name__ = getattr(fn, "__name__", type(fn).__name__)
    function.__doc__ = fn.__doc__
    return function


def as_jax_module(module, *, mutable: bool = False, platform: str | None = None):
    """``(apply, params)``: a module as a pure function ``apply(params, *args, **kwargs)`` of jax arrays.

    ``params`` is a dict by name of the module's parameters and buffers, sharing their memory. See
    :func:`as_jax_function` for what ``apply`` may do.

    Args:
        mutable: ``apply`` returns ``(result, written)``, where ``written`` has the new values of buffers that the
            module writes (running statistics). Without it such a module is refused.
        platform: as for :func:`as_jax_function`.

    Raises:
        RuntimeError: as :func:`as_jax_function`; or the module writes its buffers and ``mutable`` is not set.
        KeyError: ``params`` (when ``apply`` is called) has not the module's names.
    """
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    params = {name: to_jax(t.detach()) for name, t in named.items()}

    def apply(params, *args, **kwargs):
        if params.keys() != named.keys():
            missing, extra = sorted(named.keys() - params.keys()), sorted(params.keys() - named.keys())
            raise KeyError(f"params must have the module's names: missing {missing}, unexpected {extra}")
        program, arrays = _record(module, args, kwargs, named, named)
        if program.changed and not mutable:
            raise RuntimeError(
                f"the module writes its buffers {program.changed}: put it in evaluation mode (.eval()), or pass "
                "mutable=True to get their new values"
            )
        outputs = program.run(arrays, params, platform or _platform())
        count = len(outputs) - len(program.changed)
        result = _results(program, outputs[:count])
        return (result, dict(zip(program.changed, outputs[count:], strict=True))) if mutable else result

    return apply, params


def jax_function(fn):
    """``fn``, a pure function of jax arrays, as a function of tensors: recorded like any operation, differentiable.

    Arguments and results may be nested as JAX nests them; what is no tensor is passed on as it is and must be
    hashable. Shapes and dtypes of results follow ``fn``.
    """
    known: dict = {}

    def function(*args, **kwargs):
        leaves, form = jax.tree.flatten((args, kwargs))
        tensors = [x for x in leaves if _is_tensor(x)]
        fixed = tuple(None if _is_tensor(x) else (type(x), x) for x in leaves)
        key = form, fixed, tuple((tuple(t.shape), t.dtype) for t in tensors)
        if key not in known:
            known[key] = _flat(fn, form, fixed)
        call, result = known[key]
        outputs = call(*tensors)
        return jax.tree.unflatten(result[0], outputs if isinstance(outputs, (tuple, list)) else [outputs])

    function.__name__ = getattr(fn, "__name__", "jax_function")
    function.__doc__ = fn.__doc__
    return function


def _flat(fn, form, fixed):
    """``fn`` of a flat list of arrays, and a list that gets the structure of its result."""
    result: list = []

    def flat(*arrays):
        it = iter(arrays)
        args, kwargs = jax.tree.unflatten(form, [next(it) if x is None else x[1] for x in fixed])
        outputs, structure = jax.tree.flatten(fn(*args, **kwargs))
        result[:] = [structure]
        return outputs

    flat.__name__ = getattr(fn, "__name__", "jax_function")
    return jtorch.jax_function(flat), result


class JaxModule(nn.Module):
    """A JAX function ``fn(params, *args)`` and its parameters (a nested dict, a Flax model's say) as a module.

    Floating-point leaves of ``params`` become Parameters, named by their path with dots replaced by ``_``; others
    become buffers. They start as copies.
    """

    def __init__(self, fn, params):
        super().__init__()
        paths, self._form = jax.tree_util.tree_flatten_with_path(params)
        self._names = []
        for path, leaf in paths:
            name = jax.tree_util.keystr(path, simple=True, separator="_").replace(".", "_")
            tensor = jtorch.tensor(np.asarray(leaf))
            if tensor.is_floating_point():
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)
            self._names.append(name)
        self._call = jax_function(fn)

    def forward(self, *args, **kwargs):
        """``fn(params, *args, **kwargs)``."""
        params = jax.tree.unflatten(self._form, [getattr(self, n) for n in self._names])
        return self._call(params, *args, **kwargs)


__all__ = ["Disagreement", "JaxModule", "as_jax_function", "as_jax_module", "from_jax", "jax_function", "to_jax"]
