"""A module as a TFLite model, run by its interpreter and compared before anybody gets it."""

from __future__ import annotations

import os
import tempfile
import warnings

import numpy as np

from jtorch.trace.jaxapi import x64

from .common import ExportError, MismatchError, Source, difference, replacing, tensorflow

#: Largest difference that is accepted, in units of an output's largest number.
TOLERANCES = {None: 1e-4, "float16": 1e-2, "dynamic": 1e-1, "int8": 2e-1}


def _interpreter():
    """The interpreter's class: of LiteRT where that is installed, else of TensorFlow, which warns that it will go."""
    try:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter
    except ImportError:
        tf = tensorflow()

    def make(**options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return tf.lite.Interpreter(**options)

    return make


class TFLiteModel:
    """A converted model.

    Attributes:
        content: the bytes of the ``.tflite`` file.
        input_names, output_names: in order.
        difference: how far it was from the module on the examples, in units of the output's largest number.

    Calling it runs the interpreter on NumPy arrays or tensors, and returns a list of NumPy arrays.
    """

    def __init__(self, content: bytes, input_names, output_names):
        self.content, self.input_names, self.output_names = content, input_names, output_names
        self.difference = float("nan")
        self._runner = None

    def __call__(self, *inputs) -> list[np.ndarray]:
        if self._runner is None:
            self._interpreter = _interpreter()(model_content=self.content)
            self._runner = self._interpreter.get_signature_runner()
        arrays = [x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x) for x in inputs]
        details = self._runner.get_input_details()
        feed = {}
        for name, a in zip(self.input_names, arrays, strict=True):
            scale, zero = details[name]["quantization"]
            if details[name]["dtype"] is np.int8 and a.dtype != np.int8:
                a = np.clip(np.round(a / scale) + zero, -128, 127).astype(np.int8)
            feed[name] = a
        found = self._runner(**feed)
        results = self._runner.get_output_details()
        out = []
        for name in self.output_names:
            a, (scale, zero) = found[name], results[name]["quantization"]
            out.append(((a.astype(np.float32) - zero) * np.float32(scale)) if a.dtype == np.int8 and scale else a)
        return out

    def save(self, path, *, overwrite: bool = True) -> None:
        """Write the ``.tflite`` file."""
        with replacing(path, overwrite=overwrite, folder=False) as new:
            with open(new, "wb") as file:
                file.write(self.content)

    def __repr__(self) -> str:
        return f"TFLiteModel({len(self.content)} bytes, {self.input_names} -> {self.output_names})"


def to_tflite(
    model, example_args, path=None, *, quantize: str | None = None, representative_data=None,
    integer_io: bool = False, input_names=None, output_names=None, tolerance: float | None = None,
) -> TFLiteModel:  # fmt: skip
    """Convert ``model(*example_args)`` to TFLite, at the example's shapes.

    Args:
        model: a module in evaluation mode, or a function of tensors.
        example_args: a tensor or a tuple of tensors.
        path: also write a ``.tflite`` file there.
        quantize: None (float32), ``"dynamic"`` (int8 weights, float arithmetic), ``"float16"`` (weights) or
            ``"int8"`` (weights and activations; needs ``representative_data``).
        representative_data: an iterable of inputs as ``example_args``, to find the activations' ranges.
        integer_io: with ``"int8"``, also the model's own inputs and outputs are int8.
        tolerance: largest difference from the module, in units of each output's largest number. Default: 1e-4; 0.01
            for float16, 0.1 for dynamic, 0.2 for int8. Quantized models are compared on the representative data too.

    Raises:
        ExportError: the converter refuses the model.
        MismatchError: the interpreter computes something else.
        UnsupportedOperatorError: TensorFlow has no such operation.
        ValueError: an unknown ``quantize``, or ``"int8"`` without representative data.
    """
    if quantize not in TOLERANCES:
        raise ValueError(f"quantize must be one of {list(TOLERANCES)}, but got {quantize!r}")
    if quantize == "int8" and representative_data is None:
        raise ValueError("quantize='int8' needs representative_data: an iterable of inputs like example_args")
    if integer_io and quantize != "int8":
        raise ValueError("integer_io=True is for quantize='int8'")
    tf = tensorflow()
    source = Source(model, example_args, input_names, output_names, lite="int8" if quantize == "int8" else True)
    samples = [_arrays(s) for s in representative_data] if representative_data is not None else []
    content = _convert(tf, source, quantize, samples, integer_io)
    made = TFLiteModel(content, source.input_names, source.output_names)
    limit = TOLERANCES[quantize] if tolerance is None else tolerance
    made.difference = _compare(made, source, [source.inputs, *samples[:16]], limit)
    if path is not None:
        made.save(os.fspath(path))
    return made


def _arrays(sample) -> list[np.ndarray]:
    sample = sample if isinstance(sample, (tuple, list)) else (sample,)
    return [x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x) for x in sample]


def _convert(tf, source: Source, quantize, samples, integer_io: bool) -> bytes:
    from jax.experimental import jax2tf

    params = source.params
    converted = jax2tf.convert(
        lambda *arrays: source.apply(params, *arrays), with_gradient=False, native_serialization_platforms=("cpu",)
    )
    specs = [tf.TensorSpec(a.shape, a.dtype, name) for a, name in zip(source.inputs, source.input_names, strict=True)]

    @tf.function(input_signature=specs, autograph=False)
    def call(*inputs):
        return dict(zip(source.output_names, converted(*inputs), strict=True))

    module = tf.Module()
    module.call = call
    with tempfile.TemporaryDirectory() as folder:  # converted from here, the model has names for inputs and outputs
        with x64(True):
            tf.saved_model.save(module, folder, signatures={"serving_default": call.get_concrete_function()})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        return _converted(tf, converter, source, quantize, samples, integer_io)


def _converted(tf, converter, source: Source, quantize, samples, integer_io: bool) -> bytes:
    if quantize is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":

        def examples():
            for arrays in samples:
                yield dict(zip(source.input_names, arrays, strict=True))

        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if integer_io:
            converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        return converter.convert()
    except Exception as error:
        text = str(error).strip().split("\n")
        named = next((line for line in text if "failed to legalize operation" in line or "error:" in line), text[0])
        raise ExportError(f"TFLite's converter refuses the model: {named.strip()}") from error


def _compare(made: TFLiteModel, source: Source, samples, limit: float) -> float:
    worst = 0.0
    for arrays in samples:
        wanted = source.expected(arrays)
        try:
            got = made(*arrays)
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"the converted model does not run: {error}") from error
        off = difference(got, wanted)
        if off > limit:
            raise MismatchError(
                f"the TFLite model differs from the module by {off:.2g} of the output's largest number, more than "
                f"tolerance={limit}: the converter miscompiles it, or quantization loses too much"
            )
        worst = max(worst, off)
    return worst


__all__ = ["TFLiteModel", "to_tflite"]
