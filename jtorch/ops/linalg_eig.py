"""Eigenvectors of general matrices, with a derivative."""

from __future__ import annotations

import jax
import jax.numpy as jnp


@jax.custom_vjp
def eig(A):
    """``(values, vectors)``; the vectors have norm 1 and an arbitrary phase.

    JAX refuses to differentiate the vectors because their phase is arbitrary. As PyTorch, the derivative here is that
    of functions that do not depend on it (Boeddeker et al., "On the computation of complex-valued gradients", 2017).
    """
    values, vectors = jnp.linalg.eig(A)
    return values, vectors


def _forward(A):
    values, vectors = eig(A)
    return (values, vectors), (A, values, vectors)


def _backward(saved, gradients):
    A, values, vectors = saved
    # JAX's cotangents are conjugates of PyTorch's gradients
    g_values, g_vectors = map(jnp.conj, gradients)
    dual = jnp.conj(jnp.swapaxes(vectors, -2, -1))
    inner = dual @ g_vectors
    diagonal = jnp.real(jnp.diagonal(inner, axis1=-2, axis2=-1))
    inner = inner - (dual @ vectors) * diagonal[..., None, :]
    gap = jnp.conj(values[..., None, :] - values[..., :, None])
    same = jnp.eye(values.shape[-1], dtype=bool)
    inner = jnp.where(same, g_values[..., :, None] * jnp.ones_like(inner), inner / jnp.where(same, 1, gap))
    g = jnp.linalg.solve(dual, inner @ dual)
    g = jnp.conj(g)
    return (g if jnp.iscomplexobj(A) else jnp.real(g),)


eig.defvjp(_forward, _backward)


@jax.custom_vjp
def eigvals(A):
    """The eigenvalues alone; their derivative needs the vectors."""
    return jnp.linalg.eigvals(A)


def _values_forward(A):
    values, vectors = eig(A)
    return values, (A, values, vectors)


eigvals.defvjp(_values_forward, lambda saved, g: _backward(saved, (g, jnp.zeros_like(saved[2]))))
