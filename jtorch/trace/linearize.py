"""The derivative of a call, read off ``jax.vjp``.

For the operands that carry gradients, ``jax.vjp`` of the call's function is traced once into a jaxpr whose results are
the outputs and the residuals. Each residual is one of

- an operand of the call: the tape saves that operand's value,
- an output of the call: the tape saves that output's value,
- something new: the call recorded under autograd has it as an extra output.

The backward call takes the residuals and the output gradients. So nothing is computed twice across a flush, and
inside one trace XLA merges the rest.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from . import kept
from .aval import aval_of
from .call import Call
from .jaxapi import is_literal, jaxpr_as_fun, x64
from .wide_sums import with_wide_sums


class Linearization:
    """A call together with what its backward needs, for one choice of differentiable operands.

    Attributes:
        operands: positions of the differentiable operands.
        outputs: positions of the outputs that carry gradients.
        forward: the call to record: the original, or one with the new residuals as extra outputs.
        saved: per residual ``("in", i)``, ``("out", i)`` (extra outputs count on from the call's own), or None for a
            constant.
        sources: the residuals that are saved, as positions in the list of operands followed by outputs.
        saved_operands: positions of the operands among them.
        has_new: whether any residual is neither operand nor output.
        saves_arrays: whether a residual is more than a number that was given, or than an index.
    """

    __slots__ = (
        "call", "operands", "outputs", "forward", "saved", "sources", "saved_operands", "has_new",
        "saves_arrays", "_name", "_treedef", "_constants", "_closed", "_extra", "_extra_avals", "_single",
        "_n_outputs", "_backward", "_from_inputs", "_depends",
    )  # fmt: skip

    def __init__(self, call: Call, mask: tuple[bool, ...]):
        self.call = call
        self.operands = tuple(i for i, m in enumerate(mask) if m and call.in_avals[i].is_float)
        self._backward, self._from_inputs = {}, {}
        self._closed = None
        self._name = call.kept_as and f"{call.kept_as}.d{'.'.join(map(str, self.operands))}"
        fact = kept.fact(self._name)
        if fact is None:
            self._trace()
            kept.keep_fact(self._name, [self.saved, self._depends])
        else:
            saved, self._depends = fact
            self.saved = [s and (s[0], s[1]) for s in saved]
        n_in, n = len(call.in_avals), len(call.out_avals)
        self.outputs = tuple(i for i, a in enumerate(call.out_avals) if a.is_float)
        self.sources = tuple(i if kind == "in" else n_in + i for kind, i in filter(None, self.saved))
        self.saved_operands = tuple(sorted({i for i in self.sources if i < n_in and call.in_kinds[i] is None}))
        self.has_new = any(s is not None and s[0] == "out" and s[1] >= n for s in self.saved)
        self.forward = call
        if self.has_new:

            def forward(*arrays):
                if self._closed is None:
                    self._trace()
                results = jaxpr_as_fun(self._closed)(*arrays)
                return tuple(results[:n]) + tuple(results[i] for i in self._extra)

            self.forward = Call(
                call.name, forward, call.in_avals, call.in_kinds, call.platform, call.op, call.key, self._derived("f"),
                self._closed and (*call.out_avals, *self._extra_avals),
            )  # fmt: skip
            self.forward.check, self.forward.derivative = call.check, (self, None)
            self.forward.program = self._closed and (self._closed, (*range(n), *self._extra))
        made = [self.forward.out_avals[i - n_in] for i in self.sources if i >= n_in]
        self.saves_arrays = bool(self.saved_operands) or any(a.shape or a.is_float for a in made)

    def _trace(self) -> None:
        """Trace ``jax.vjp`` of the call, and see where the residuals come from."""
        call = self.call
        try:
            with x64(True), call.unwatched():
                closed = jax.make_jaxpr(self._outputs_and_residuals)(*(a.sds for a in call.in_avals))
        except Exception:
            call.out_avals  # noqa: B018 (raises what the call itself raises, if it is the call)
            raise
        jaxpr, avals = closed.jaxpr, [aval_of(a) for a in closed.out_avals]
        n = self._n_outputs
        call.returns(self._single, avals[:n])
        invars = {v: i for i, v in enumerate(jaxpr.invars)}
        outvars = {}
        for i, v in enumerate(jaxpr.outvars[:n]):
            if not is_literal(v):
                outvars.setdefault(v, i)
        self.saved, self._constants, self._extra = [], {}, []
        for k, v in enumerate(jaxpr.outvars[n:]):
            if is_literal(v):
                self._constants[k] = v.val
                self.saved.append(None)
            elif v in invars:
                self.saved.append(("in", invars[v]))
            elif v in outvars:
                self.saved.append(("out", outvars[v]))
            else:
                outvars[v] = n + len(self._extra)
                self.saved.append(("out", outvars[v]))
                self._extra.append(n + k)
        self._closed, self._extra_avals = closed, [avals[i] for i in self._extra]
        #: for each output, and then each residual, the operands that it is computed from
        self._depends = dependences(jaxpr)

    def reached(self, given: tuple[bool, ...]) -> tuple[bool, ...]:
        """For each differentiable operand, whether an output whose gradient is ``given`` is computed from it."""
        found = set().union(*(self._depends[i] for g, i in zip(given, self.outputs, strict=True) if g))
        return tuple(i in found for i in self.operands)

    def curved(self) -> set[int]:
        """The operands that the backward call depends on: in the others the call is linear."""
        return set().union(*self._depends[len(self.call.out_avals) :])

    def _vjp(self, arrays):
        """``(all outputs, pullback of the differentiable ones)`` of the call at ``arrays``."""

        def primal(*active):
            merged = list(arrays)
            for i, x in zip(self.operands, active, strict=True):
                merged[i] = x
            out = self.call.fn(*merged)
            self._single = not isinstance(out, (tuple, list))
            out = (out,) if self._single else tuple(out)
            return tuple(o for o in out if aval_of(o).is_float), out

        with self.call.lowering():
            _, pullback, out = jax.vjp(primal, *(arrays[i] for i in self.operands), has_aux=True)
        return out, pullback

    def _outputs_and_residuals(self, *arrays):
        out, pullback = self._vjp(arrays)
        self._n_outputs = len(out)
        residuals, self._treedef = jax.tree.flatten(pullback)
        return (*out, *residuals)

    # PyTorch's gradient of a complex tensor is the conjugate of what JAX propagates: conjugate on the way in and out.

    def _pulled_back(self, pullback, given: tuple[bool, ...], *grads):
        results = pullback(self._cotangents(given, grads))
        return tuple(jnp.conj(r) if jnp.iscomplexobj(r) else r for r in results)

    def _cotangents(self, given: tuple[bool, ...], grads):
        it = iter(jnp.conj(g) if jnp.iscomplexobj(g) else g for g in grads)
        return tuple(
            next(it) if g else jnp.zeros(self.call.out_avals[i].shape, self.call.out_avals[i].dtype.np)
            for g, i in zip(given, self.outputs, strict=True)
        )

    def backward(self, given: tuple[bool, ...]) -> Call:
        """The call from (residuals, the output gradients that are ``given``) to the operands' gradients."""
        found = self._backward.get(given)
        if found is None:
            avals = [
                self.call.in_avals[i] if kind == "in" else self.forward.out_avals[i]
                for kind, i in filter(None, self.saved)
            ]
            count = len(avals)
            avals += [self.call.out_avals[i] for g, i in zip(given, self.outputs, strict=True) if g]
            in_kinds = [self.call.in_kinds[s[1]] if s[0] == "in" else None for s in self.saved if s is not None] + [
                None
            ] * (len(avals) - count)

            def backward(*arrays):
                if self._closed is None:
                    self._trace()
                it = iter(arrays[:count])
                residuals = [self._constants[k] if s is None else next(it) for k, s in enumerate(self.saved)]
                pullback = jax.tree.unflatten(self._treedef, residuals)
                return with_wide_sums(partial(self._pulled_back, pullback, given), arrays[count:])

            found = Call(
                f"{self.call.name}.backward", backward, avals, in_kinds, self.call.platform,
                kept_as=self._derived("b", given), out_avals=self._gradients(),
            )  # fmt: skip
            found.derivative = self, given
            found = self._backward.setdefault(given, found)
        return found

    def _gradients(self) -> list | None:
        """What the gradients look like: the operands. None: to be found out, as a function from elsewhere may be one
        that JAX cannot differentiate, which is to be said here and not when the program runs."""
        return None if self.call.op is None else [self.call.in_avals[i] for i in self.operands]

    def _derived(self, kind: str, given: tuple[bool, ...] = ()) -> str | None:
        """What a call derived from this one is kept as."""
        return self._name and f"{self._name}.{kind}{''.join('01'[g] for g in given)}"

    def from_inputs(self, given: tuple[bool, ...]) -> Call:
        """As :meth:`backward`, from the operands themselves: what double backward differentiates through."""
        found = self._from_inputs.get(given)
        if found is None:
            count = len(self.call.in_avals)
            grads = [self.call.out_avals[i] for g, i in zip(given, self.outputs, strict=True) if g]

            def backward(*arrays):
                _, pullback = self._vjp(arrays[:count])
                return with_wide_sums(partial(self._pulled_back, pullback, given), arrays[count:])

            found = Call(
                f"{self.call.name}.backward", backward, (*self.call.in_avals, *grads),
                (*self.call.in_kinds, *(None for _ in grads)), self.call.platform, kept_as=self._derived("i", given),
                out_avals=self._gradients(),
            )  # fmt: skip
            found = self._from_inputs.setdefault(given, found)
        return found


def dependences(jaxpr) -> list[list[int]]:
    """For each result of a jaxpr, the positions of the operands that it is computed from."""
    of = {v: {i} for i, v in enumerate(jaxpr.invars)}
    for equation in jaxpr.eqns:
        found = set().union(*(of.get(v, ()) for v in equation.invars if not is_literal(v)))
        of.update((v, found) for v in equation.outvars)
    return [[] if is_literal(v) else sorted(of.get(v, ())) for v in jaxpr.outvars]


def linearize(call: Call, mask: tuple[bool, ...]) -> Linearization:
    """The (memoised) linearization of ``call`` for operands that require gradients where ``mask`` is true."""
    found = call.linearizations.get(mask)
    if found is None:
        found = call.linearizations.setdefault(mask, Linearization(call, mask))
    return found
