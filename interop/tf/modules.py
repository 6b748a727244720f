"""Keras models and SavedModels as modules, with gradients to inputs and weights.

TensorFlow runs them on the host, so a call ends what jtorch has recorded up to there.
"""

from __future__ import annotations

import numpy as np

import jtorch
from jtorch import nn
from jtorch.autograd import Function

from .common import tensorflow


class TFModule(nn.Module):
    """A TensorFlow function and its variables as a module.

    Trainable variables become Parameters, others buffers, named as in TensorFlow with ``/`` and ``.`` replaced by
    ``_``. The Parameters are what counts: they are copied into the variables before each call, and buffers out of
    them after it. Results are nested as the function's. Derivatives of derivatives are not available.

    Args:
        call: ``call(*inputs, training, **named_inputs)``, takes and returns TensorFlow tensors.
        variables: ``(name, tf.Variable, trainable)`` of the variables that it reads.
    """

    def __init__(self, call, variables):
        super().__init__()
        self.__dict__.update(_tf_call=call, _tf_parameters=[], _tf_buffers=[])
        for name, variable, trainable in variables:
            if not (variable.dtype.is_floating or variable.dtype.is_integer or variable.dtype.is_bool):
                continue  # a table, a string: stays TensorFlow's
            name = self._free(name.split(":")[0].replace("/", "_").replace(".", "_"))
            tensor = jtorch.tensor(variable.numpy())
            if trainable and variable.dtype.is_floating:
                self.register_parameter(name, nn.Parameter(tensor))
                self._tf_parameters.append((name, variable))
            else:
                self.register_buffer(name, tensor)
                self._tf_buffers.append((name, variable))

    def _free(self, base: str) -> str:
        name, n = base, 1
        while hasattr(self, name):
            name, n = f"{base}_{n}", n + 1
        return name

    def forward(self, *inputs, **named):
        """The function of the inputs: tensors, which may be nested in lists, tuples and dicts."""
        tf = tensorflow()
        leaves = tf.nest.flatten((inputs, named))
        tensors = [jtorch.as_tensor(x) for x in leaves]
        form = tf.nest.pack_sequence_as((inputs, named), list(range(len(leaves))))
        parameters = [getattr(self, name) for name, _ in self._tf_parameters]
        structure: list = []
        outputs = _Call.apply(self, form, structure, len(tensors), *tensors, *parameters)
        return tf.nest.pack_sequence_as(structure[0], list(outputs) if isinstance(outputs, tuple) else [outputs])


class _Call(Function):
    """One call, recorded by TensorFlow's own tape."""

    @staticmethod
    def forward(ctx, module, form, structure, count, *tensors):
        tf = tensorflow()
        with jtorch.no_grad():
            arrays = [t.detach().cpu().numpy() for t in tensors]
        for (_, v), a in zip(module._tf_parameters, arrays[count:], strict=True):
            v.assign(a)
        for name, v in module._tf_buffers:
            v.assign(getattr(module, name).cpu().numpy())
        inputs = [tf.constant(a) for a in arrays[:count]]
        with tf.GradientTape(persistent=True) as tape:
            for x in inputs:
                if x.dtype.is_floating:
                    tape.watch(x)
            given, named = tf.nest.map_structure(lambda i: inputs[i], form)
            result = module._tf_call(*given, training=module.training, **named)
        outputs = tf.nest.flatten(result)
        structure.append(tf.nest.map_structure(lambda _: 0, result))
        with jtorch.no_grad():
            for name, v in module._tf_buffers:
                getattr(module, name).copy_(jtorch.from_numpy(np.array(v.numpy())))
        ctx.tape, ctx.outputs, ctx.count = tape, outputs, count
        ctx.sources = [x if x.dtype.is_floating else None for x in inputs] + [v for _, v in module._tf_parameters]
        made = tuple(jtorch.from_numpy(np.array(o.numpy())) for o in outputs)
        ctx.mark_non_differentiable(*(t for t in made if not t.is_floating_point()))
        return made if len(made) > 1 else made[0]

    @staticmethod
    def backward(ctx, *grads):
        tf = tensorflow()
        wanted = [
            s for s, needed in zip(ctx.sources, ctx.needs_input_grad[4:], strict=True) if s is not None and needed
        ]
        pairs = [(o, tf.constant(g.detach().cpu().numpy())) for o, g in zip(ctx.outputs, grads, strict=True)
                 if g is not None and o.dtype.is_floating]  # fmt: skip
        found = iter(ctx.tape.gradient([o for o, _ in pairs], wanted, [g for _, g in pairs]))
        out = []
        for s, needed in zip(ctx.sources, ctx.needs_input_grad[4:], strict=True):
            g = next(found) if s is not None and needed else None
            out.append(None if g is None else jtorch.from_numpy(np.array(tf.convert_to_tensor(g).numpy())))
        return (None, None, None, None, *out)


def from_keras(model) -> TFModule:
    """A Keras model (TensorFlow backend) as a module; ``train()`` and ``eval()`` set its ``training`` argument.

    Raises:
        TypeError: not a built Keras model.
    """
    tensorflow()
    if not hasattr(model, "trainable_variables") or not callable(model):
        raise TypeError(f"from_keras() expects a Keras model, but got {type(model).__name__}")
    if not getattr(model, "built", True):
        raise TypeError("the Keras model has no weights yet: build it, or call it once, before from_keras()")
    trainable = {id(v) for v in model.trainable_variables}
    return TFModule(model, [(v.path, getattr(v, "value", v), id(v) in trainable) for v in model.variables])


def from_saved_model(directory, signature: str | None = None) -> TFModule:
    """A SavedModel as a module.

    Args:
        signature: which of its signatures; it takes inputs by name (one input also positionally) and returns a dict.
            Default: the object itself where it can be called, else its only signature.

    Raises:
        ValueError: there is no such signature, or several to choose from.
    """
    tf = tensorflow()
    loaded = tf.saved_model.load(str(directory))
    known = dict(loaded.signatures)
    if signature is None and callable(loaded):
        functions = loaded.__call__.concrete_functions
        call = _without_training(loaded)
    else:
        if signature is None and len(known) == 1:
            (signature,) = known
        if signature not in known:
            raise ValueError(
                f"the SavedModel has the signatures {sorted(known)}; signature={signature!r} is none of them"
            )
        functions = [known[signature]]
        call = _by_name(known[signature])
    variables = {id(v): (v.name, v, v.trainable) for f in functions for v in f.variables}
    module = TFModule(call, variables.values())
    module.__dict__["_tf_loaded"] = loaded  # its functions live as long as it does
    return module


def _without_training(loaded):
    """The object as ``call(*inputs, training)``; ``training`` is passed on where a function of it has one."""
    signatures = [f.structured_input_signature for f in loaded.__call__.concrete_functions]
    takes = any("training" in named or any(isinstance(a, bool) for a in given) for given, named in signatures)

    def call(*inputs, training, **named):
        return loaded(*inputs, training=training, **named) if takes else loaded(*inputs, **named)

    return call


def _by_name(function):
    names = list(function.structured_input_signature[1])

    def call(*inputs, training, **named):
        if inputs and len(names) != 1:
            raise TypeError(f"a signature takes its inputs by name: {names}")
        return function(**dict(zip(names, inputs, strict=False)), **named)

    return call


__all__ = ["TFModule", "from_keras", "from_saved_model"]
