"""``torch.onnx``: models to ONNX files, and (beyond PyTorch) ONNX files to modules. Needs ``pip install jtorch[onnx]``.

The work is done in :mod:`jtorch.interop.onnx`.
"""

from __future__ import annotations

import contextlib
import enum
import threading

from . import errors
from .errors import OnnxExporterError, OnnxLoadError

__all__ = [
    "ONNXProgram", "OnnxExporterError", "OnnxLoadError", "OperatorExportTypes", "TrainingMode", "errors", "export",
    "is_in_onnx_export", "load", "register_custom_op_symbolic", "unregister_custom_op_symbolic",
]  # fmt: skip


class TrainingMode(enum.IntEnum):
    """The mode a model is exported in."""

    EVAL = 0
    PRESERVE = 1
    TRAINING = 2


class OperatorExportTypes(enum.IntEnum):
    """Which operators may be written: only ONNX's own, here."""

    ONNX = 0


_state = threading.local()


def is_in_onnx_export() -> bool:
    """Whether this thread is exporting a model: models may ask, to do something else then."""
    return getattr(_state, "depth", 0) > 0


@contextlib.contextmanager
def _exporting():
    _state.depth = getattr(_state, "depth", 0) + 1
    try:
        yield
    finally:
        _state.depth -= 1


def export(
    model, args=(), f=None, *, kwargs=None, verbose=None, input_names=None, output_names=None, opset_version=None,
    dynamo=True, external_data=None, dynamic_shapes=None, custom_translation_table=None, report=False, optimize=True,
    verify=None, profile=False, dump_exported_program=False, artifacts_dir=".", fallback=False, export_params=True,
    keep_initializers_as_inputs=False, dynamic_axes=None, training=TrainingMode.EVAL,
    operator_export_type=OperatorExportTypes.ONNX, do_constant_folding=True, custom_opsets=None,
    export_modules_as_functions=False, autograd_inlining=True,
):  # fmt: skip
    """Export a model to ONNX.

    The model is recorded, not run, at several sizes of its dynamic dimensions; sizes that differ are computed from the
    inputs' shapes in the graph, and a model that does different things at different sizes is refused. The graph is
    checked by ``onnx.checker`` and strict shape inference, and where onnxruntime is installed it is run at the
    example's sizes and at others and compared with the model.

    Args:
        model: a Module, or a function of tensors.
        args: example inputs: a tensor, or a tuple of the positional arguments.
        f: where to write the file (replaced when it is complete), or None.
        kwargs: example keyword arguments.
        input_names, output_names: names of the graph's inputs and outputs, in order (default: those of ``forward``'s
            parameters; ``output``).
        opset_version: 18 to 23 (default 20; 21 has GroupNormalization, 23 Attention and RMSNormalization). Older
            ones are written as 18 and rewritten by ONNX's converter, which cannot do it for every graph.
        dynamic_axes: ``{input name: {axis: size name}}`` or ``{input name: [axes]}``.
        dynamic_shapes: as for ``torch.export``: per argument ``{axis: name}`` or a tuple; names are strings or
            ``Dim`` objects, whose bounds are kept to. Sizes of one name are equal.
        external_data: weights in a file of their own beside ``f``; None: when they exceed 2 GB.
        custom_translation_table: ``{operation name: function}``; see the documentation.
        verify: compare with onnxruntime; None: where it is installed, True: it must be, False: never.
        export_params: False leaves the weights out, as inputs.
        keep_initializers_as_inputs: list the weights among the inputs too.
        training: the mode to export in.
        do_constant_folding: compute what only prepares constants now.
        verbose: print the graph.
        custom_opsets: ``{domain: version}`` of domains that custom translations use.

    Returns:
        An :class:`ONNXProgram`: ``save``, ``model_proto``, and a call that runs it with onnxruntime.

    Raises:
        OnnxExporterError: the model cannot be exported, or the result does not compute the same.
        errors.UnsupportedOperatorError: an operation has no translation; the message lists them and what can be done.
        NotImplementedError: an option of PyTorch's that is not supported is used.
    """
    for name, given, default, instead in (
        ("report", report, False, "errors say what could not be exported"),
        ("profile", profile, False, "time the call from outside"),
        ("dump_exported_program", dump_exported_program, False, "use jtorch.debug.graph() to look at the operations"),
        ("export_modules_as_functions", export_modules_as_functions, False, "the graph is flat; leave it False"),
        ("operator_export_type", int(operator_export_type), 0, "only OperatorExportTypes.ONNX is supported"),
    ):
        if given != default:
            raise NotImplementedError(f"jtorch.onnx.export(): {name}={given!r} is not supported: {instead}")
    # dynamo, fallback, optimize and autograd_inlining choose between PyTorch's exporters; there is one here
    from ..interop.onnx import export as run

    with _exporting():
        return run(
            model, args, f, kwargs=kwargs, verbose=verbose, input_names=input_names, output_names=output_names,
            opset_version=opset_version, external_data=external_data, dynamic_shapes=dynamic_shapes,
            dynamic_axes=dynamic_axes, custom_translation_table=custom_translation_table, verify=verify,
            export_params=export_params, keep_initializers_as_inputs=keep_initializers_as_inputs,
            do_constant_folding=do_constant_folding, training=training, custom_opsets=custom_opsets,
        )  # fmt: skip


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn, opset_version: int) -> None:
    """Accepted: an operation of one's own is exported as what its body records, so it needs no symbolic function.

    What should be written as a node of its own is given to :func:`export` as ``custom_translation_table``.

    Raises:
        OnnxExporterError: the name has no namespace.
    """
    if len([part for part in symbolic_name.split("::") if part]) != 2:
        raise OnnxExporterError(
            f"Failed to register operator {symbolic_name}. The symbolic name must match the format domain::name"
        )


def unregister_custom_op_symbolic(symbolic_name: str, opset_version: int) -> None:
    """Accepted, as :func:`register_custom_op_symbolic` is."""


def load(source, *, trainable=True):
    """An ONNX model as a :class:`jtorch.nn.Module` whose Parameters are named as the model's initializers.

    Args:
        source: a path, the bytes of a file, a file object, or a ``ModelProto``.
        trainable: make the floating-point initializers Parameters that require grad.

    Raises:
        OnnxLoadError: the file is damaged, reaches outside its folder, or uses an operator that is not supported.
    """
    from ..interop.onnx import load as run

    return run(source, trainable=trainable)


def __getattr__(name):
    if name == "ONNXProgram":
        from ..interop.onnx import ONNXProgram

        return ONNXProgram
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
