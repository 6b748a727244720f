"""A module as a TensorFlow SavedModel, which needs neither JAX nor jtorch to run."""

from __future__ import annotations

import numpy as np

from jtorch.trace.jaxapi import x64

from ..jax import Disagreement
from .common import ExportError, MismatchError, Source, difference, replacing, tensorflow


def save_saved_model(
    model, example_args, directory, *, dynamic_shapes=None, signature: str = "serving_default", input_names=None,
    output_names=None, platforms=("cpu", "cuda", "tpu"), overwrite: bool = False, tolerance: float = 1e-5,
):  # fmt: skip
    """Write ``model(*example_args)`` as a SavedModel; it is loaded and compared with the module before it is in place.

    The parameters become (trainable) ``tf.Variable``s, and the function has a gradient. Call the loaded object
    itself, or its signature, which takes inputs and returns outputs by name.

    Args:
        model: a module in evaluation mode, or a function of tensors.
        example_args: a tensor or a tuple of tensors; their values serve for the comparison.
        dynamic_shapes: which sizes vary: for each input ``{dim: name}`` (a list in order, or a dict by input name);
            the same name is the same size. Default: the first dimension of every input is ``"batch"``. ``()``: none.
        signature: the signature's name.
        input_names: default: the names of ``forward``'s parameters.
        output_names: default: ``output``, or ``output_0``, … for a tuple, or the keys of a dict.
        platforms: where the SavedModel can run.
        overwrite: replace what is at ``directory``.
        tolerance: largest difference, in units of each output's largest number.

    Returns:
        The largest difference that was found.

    Raises:
        ExportError: the model cannot be recorded, or does not hold at all sizes.
        UnsupportedOperatorError: TensorFlow has no such operation.
        MismatchError: the SavedModel computes something else. Nothing is written then.
        FileExistsError: ``directory`` exists, is not empty, and ``overwrite`` is not set.
    """
    tf = tensorflow()
    from jax.experimental import jax2tf

    source = Source(model, example_args, input_names, output_names, lite=False)
    dynamic = _dynamic(dynamic_shapes, source)
    specs = [
        tf.TensorSpec([None if d in axes else n for d, n in enumerate(a.shape)], a.dtype, name)
        for a, axes, name in zip(source.inputs, dynamic, source.input_names, strict=True)
    ]
    polymorphic = [", ".join(axes.get(d, "_") for d in range(a.ndim)) if axes else None
                   for a, axes in zip(source.inputs, dynamic, strict=True)]  # fmt: skip
    converted = jax2tf.convert(
        source.apply, polymorphic_shapes=[None, *polymorphic], native_serialization_platforms=tuple(platforms)
    )
    module = tf.Module()
    module.parameters_by_name = {
        name: tf.Variable(a, trainable=name in source.trainable, name=name.replace(".", "/"))
        for name, a in source.params.items()
    }

    @tf.function(input_signature=specs, autograph=False)
    def call(*inputs):
        outputs = converted(dict(module.parameters_by_name), *inputs)
        return dict(zip(source.output_names, outputs, strict=True))

    module.__call__ = call
    with replacing(directory, overwrite=overwrite, folder=True) as path:
        try:
            with x64(True):
                concrete = call.get_concrete_function()
                options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
                tf.saved_model.save(module, path, {signature: concrete}, options)
        except Disagreement as error:
            raise ExportError(
                f"the model does not hold at all sizes of {sorted({n for a in dynamic for n in a.values()})}: {error}"
            ) from error
        return _compare(tf, path, signature, source, dynamic, tolerance)


def _dynamic(shapes, source: Source) -> list[dict[int, str]]:
    """Per input ``{dim: name}``."""
    if shapes is None:
        return [{0: "batch"} if a.ndim else {} for a in source.inputs]
    if isinstance(shapes, dict):
        unknown = shapes.keys() - set(source.input_names)
        if unknown:
            raise ValueError(f"dynamic_shapes names {sorted(unknown)}, but the inputs are {source.input_names}")
        shapes = [shapes.get(name) for name in source.input_names]
    shapes = [dict(s or {}) for s in shapes] or [{} for _ in source.inputs]
    if len(shapes) != len(source.inputs):
        raise ValueError(f"dynamic_shapes has {len(shapes)} entries for {len(source.inputs)} inputs")
    for a, axes, name in zip(source.inputs, shapes, source.input_names, strict=True):
        for d, symbol in axes.items():
            if not 0 <= d < a.ndim or not str(symbol).isidentifier():
                raise ValueError(f"dynamic_shapes of {name!r}: {{{d}: {symbol!r}}} is no dimension of {a.shape}")
    return shapes


def _compare(tf, path, signature: str, source: Source, dynamic, tolerance: float) -> float:
    """Load what was written, and run it at the example's sizes and two others."""
    loaded = tf.saved_model.load(path)
    function = loaded.signatures[signature]
    worst = 0.0
    for step in (0, 1, 3) if any(dynamic) else (0,):
        arrays = []
        for a, axes in zip(source.inputs, dynamic, strict=True):
            for d in axes:
                a = np.take(a, np.arange(a.shape[d] + step) % a.shape[d], axis=d)
            arrays.append(a)
        try:
            wanted = source.expected(arrays)
        except (RuntimeError, IndexError) as error:
            if step:  # a size of which the module has no more, positions say
                continue
            raise ExportError(f"the model fails on the example: {error}") from error
        feed = {name: tf.constant(a) for name, a in zip(source.input_names, arrays, strict=True)}
        got = function(**feed)
        off = difference([got[name].numpy() for name in source.output_names], wanted)
        if off > tolerance:
            raise MismatchError(
                f"the SavedModel differs from the module by {off:.2g} (relative, at input shapes "
                f"{[a.shape for a in arrays]}), more than tolerance={tolerance}"
            )
        worst = max(worst, off)
    return worst


__all__ = ["save_saved_model"]
