"""``export``: a model as an ONNX graph, checked before it is handed out."""

from __future__ import annotations

import warnings
from contextlib import contextmanager

import numpy as np
import onnx
from onnx import helper

import jtorch

from ..errors import OnnxExporterError, UnsupportedOperatorError
from ..program import ONNXProgram
from . import indexing, layers, losses, pointwise, products, quantized, reductions, shapes  # noqa: F401 (fill the table)
from .builder import Builder, Value, element_type, short
from .dims import Varying
from .inputs import Inputs, dynamic_sizes
from .record import Merged, record
from .table import TABLE

IR_VERSION = 10  # opset 20 to 23; onnx itself would write a newer one, which deployed runtimes refuse
OPSETS = range(18, 24)


def export(
    model, args=(), f=None, *, kwargs=None, verbose=None, input_names=None, output_names=None, opset_version=None,
    external_data=None, dynamic_shapes=None, dynamic_axes=None, custom_translation_table=None, verify=None,
    export_params=True, keep_initializers_as_inputs=False, do_constant_folding=True, training=None, custom_opsets=None,
) -> ONNXProgram:  # fmt: skip
    """See :func:`jtorch.onnx.export`, which has PyTorch's signature."""
    wanted = 20 if opset_version is None else opset_version
    if wanted > OPSETS[-1] or wanted < 7:
        raise OnnxExporterError(f"opset_version {wanted} is not supported: {OPSETS[0]} to {OPSETS[-1]} are")
    opset = max(wanted, OPSETS[0])
    if not callable(model):
        raise TypeError(f"model must be a jtorch.nn.Module or another callable, not {type(model).__name__}")
    inputs = Inputs(model, args, kwargs)
    names = _names(input_names, inputs.names, "input_names")
    dynamic = dynamic_sizes(inputs, names, dynamic_axes, dynamic_shapes)
    with _mode(model, training):
        merged = record(model, inputs, names, dynamic, _named_tensors(model))
        builder = translate(merged, opset, custom_translation_table or {})
        program = _program(builder, merged, names, output_names, opset, custom_opsets or {}, inputs,
                           export_params, keep_initializers_as_inputs)  # fmt: skip
        if do_constant_folding:
            program.fold_constants()
        if wanted < opset:
            program.downgrade(wanted)
        program.check()
        _verify(program, model, inputs, merged, verify)
    if verbose:
        print(onnx.printer.to_text(program.skeleton()))
    if f is not None:
        program.save(f, external_data=external_data)
    return program


def _names(given, default: list[str], what: str) -> list[str]:
    names = list(given or ())
    if len(names) > len(default):
        raise OnnxExporterError(f"{what} has {len(names)} names for {len(default)} tensors: {names}")
    names += default[len(names) :]
    if len(set(names)) != len(names):
        raise OnnxExporterError(f"{what} names a tensor twice: {names}")
    return names


def _named_tensors(model) -> dict:
    if not hasattr(model, "named_parameters"):
        return {}
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@contextmanager
def _mode(model, training):
    """The model in the mode asked for (evaluation unless said otherwise), and back again."""
    if training not in (None, 0, 1, 2) and getattr(training, "name", None) not in ("EVAL", "PRESERVE", "TRAINING"):
        raise OnnxExporterError(f"training must be TrainingMode.EVAL, PRESERVE or TRAINING, got {training!r}")
    wanted = int(getattr(training, "value", training) or 0)
    if not isinstance(model, jtorch.nn.Module) or wanted == 1:
        yield
        return
    before = [(m, m.training) for m in model.modules()]
    model.train(wanted == 2)
    try:
        yield
    finally:
        for m, was in before:
            m.training = was


# --- nodes -----------------------------------------------------------------------------------------------------------


def translate(merged: Merged, opset: int, custom: dict) -> Builder:
    """The recorded operations as ONNX nodes.

    Raises:
        UnsupportedOperatorError: an operation has no translation.
    """
    g = Builder(opset)
    values: dict[int, Value] = {}
    for slot, value in zip(merged.input_slots, merged.inputs, strict=True):
        g.fresh(value)
        values[slot] = value
        g.learn(value, is_input=True)
    for slot, array in merged.constants.items():
        name = merged.names.get(slot)
        made = g.const(array) if name is None else g.initializer(name, array)
        values[slot] = Value(made, _dtype_of(array), array.shape)
    table = {**TABLE, **{getattr(k, "__name__", k): v for k, v in custom.items()}}
    unknown = sorted({f"{s.name} (at {s.line})" for s in merged.steps if s.name not in table})
    if unknown:
        raise UnsupportedOperatorError(_no_translation(unknown))
    for step in merged.steps:
        g.metadata = {"pkg.jtorch.line": step.line, "pkg.jtorch.op": step.name}
        operands = {k: _operand(g, step, k, x, values) for k, x in step.operands.items()}
        for x in step.outputs:
            if short(x.dtype).startswith("complex"):
                raise UnsupportedOperatorError(
                    f"{step.name}, called at {step.line}, gives complex numbers, which ONNX's operators do not take; "
                    "write the computation on real and imaginary parts (jtorch.view_as_real)"
                )
        out = table[step.name](g, step, **operands, **step.statics)
        out = out if isinstance(out, tuple) else (out,)
        for slot, spec, name in zip(step.slots, step.outputs, out, strict=False):
            values[slot] = Value(name, spec.dtype, spec.shape)
            g.learn(values[slot])
    g.metadata = {}
    g.results = [values[slot] for slot, _, _ in merged.outputs]
    return g


def _dtype_of(array):
    return getattr(jtorch, str(array.dtype))


def _no_translation(unknown: list[str]) -> str:
    listed = "\n  ".join(unknown)
    return (
        f"these operations have no translation to ONNX:\n  {listed}\n"
        "What can be done: write that part of the model with other operations; give a translation as "
        "custom_translation_table={'name': function}, where function(g, node, **operands) adds nodes with g.Relu(x) "
        "and returns the result's name; or keep the operation out of the exported model and run it beside it."
    )


def _operand(g: Builder, step, name: str, x, values):
    """An operand as a Value in the graph: looked up, and cast to the promoted dtype where the operation promotes."""
    if isinstance(x, tuple):
        return tuple(_operand(g, step, name, y, values) for y in x)
    promoted = step.promoted if step.op is not None and name in step.op.promoted else None
    if isinstance(x, Value):
        value = values[int(x[1:])]
        return (
            value
            if promoted is None or value.dtype == promoted
            else Value(g.cast(value, promoted), promoted, value.shape)
        )
    if x is None or promoted is None:
        return x
    return Value(g.const(x, promoted), promoted, ())


# --- the model -------------------------------------------------------------------------------------------------------


def _program(
    builder, merged, names, output_names, opset, custom_opsets, inputs, export_params, as_inputs
) -> ONNXProgram:
    default = ["output"] if len(builder.results) == 1 else [f"output_{i}" for i in range(len(builder.results))]
    wanted = _names(output_names, default, "output_names")
    renamed: dict[str, str] = {}
    produced = {name for node in builder.nodes for name in node.output}
    for i, (value, name) in enumerate(zip(builder.results, wanted, strict=True)):
        if name in names:
            raise OnnxExporterError(f"{name!r} names an input and an output")
        if value in produced and value not in renamed:
            renamed[value] = name
        else:
            builder.forget()  # two results that are one tensor need a name each
            builder.results[i] = Value(builder.Identity(value), value.dtype, value.shape)
            renamed[builder.results[i]] = name
    nodes = _needed(builder.nodes, set(builder.results))
    for node in nodes:
        for names_of in (node.input, node.output):
            for i, name in enumerate(names_of):
                names_of[i] = renamed.get(name, name)
    used = {name for node in nodes for name in node.input}
    infos = [_info(v, str(v), builder) for v in merged.inputs]
    outputs = [_info(v, name, builder) for v, name in zip(builder.results, wanted, strict=True)]
    graph = helper.make_graph(nodes, "main_graph", infos, outputs)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in custom_opsets.items())]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="jtorch",
                              producer_version=jtorch.__version__)  # fmt: skip
    weights = {name: array for name, array in builder.initializers.items() if name in used}
    return ONNXProgram(proto, weights, list(names), wanted, with_weights=export_params, weights_as_inputs=as_inputs,
                       flatten=inputs.flattened)  # fmt: skip


def _needed(nodes, wanted: set) -> list:
    """The nodes that the results depend on, in order."""
    kept = []
    wanted = {str(w) for w in wanted}
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


def _info(value: Value, name: str, builder: Builder):
    shape = [builder.symbols.get(n.values) if isinstance(n, Varying) else n for n in value.shape]
    return helper.make_tensor_value_info(name, element_type(value.dtype), shape)


# --- does it compute the same? ---------------------------------------------------------------------------------------


def _verify(program: ONNXProgram, model, inputs: Inputs, merged: Merged, verify) -> None:
    """Run model and graph at the example's sizes and at others, and compare.

    Raises:
        OnnxExporterError: they differ, or ``verify=True`` and onnxruntime is missing.
    """
    if verify is False:
        return
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        if verify:
            raise OnnxExporterError("verify=True needs onnxruntime: pip install onnxruntime") from None
        return
    own = [tuple(t.shape) for t in inputs.tensors]
    rounded = program.has("QuantizeLinear", "DynamicQuantizeLinear")
    for sizes in [own, *merged.other_sizes]:
        tensors = inputs.at(sizes)
        with jtorch.no_grad():
            try:
                expected = [t.detach() for t in inputs.call(model, tensors)]
                for t in expected:
                    t.cpu()
                jtorch.sync()
            except (IndexError, RuntimeError) as error:
                if sizes == own:
                    raise
                warnings.warn(f"the exported graph was compared at the example's sizes only: {error}", stacklevel=4)
                continue
        actual = program.run(tensors)
        for name, a, b in zip(program.output_names, actual, expected, strict=True):
            _compare(name, a, b, sizes, rounded)


def _compare(name: str, actual: np.ndarray, expected, sizes, rounded: bool) -> None:
    wide = expected.float() if expected.dtype in (jtorch.bfloat16, jtorch.float16) else expected
    want = wide.cpu().numpy()
    problem = None
    if tuple(actual.shape) != tuple(want.shape):
        problem = f"the shape {tuple(actual.shape)} instead of {tuple(want.shape)}"
    elif want.dtype.kind in "biu":
        wrong = int((np.asarray(actual) != want).sum())
        problem = f"{wrong} of {want.size} elements differ" if wrong else None
    elif want.size:
        eps = jtorch.finfo(expected.dtype).eps
        scale = float(np.max(np.abs(want[np.isfinite(want)]), initial=1.0))
        gap = np.abs(np.asarray(actual, np.float64) - want)
        same = (np.isnan(want) & np.isnan(np.asarray(actual, np.float64))) | (np.asarray(actual, np.float64) == want)
        worst = float(np.max(np.where(same, 0, gap), initial=0.0))
        # an 8-bit rounding that falls on the other side of a tie is a whole step, a 256th of the range or more
        if not worst <= (0.05 if rounded else 2000 * eps) * scale:
            problem = f"the largest difference is {worst:.3g}, of values up to {scale:.3g}"
    if problem:
        raise OnnxExporterError(
            f"onnxruntime does not compute what the model does: output {name!r} with inputs of shape {sizes}: "
            f"{problem}. This is a defect of the translation; verify=False writes the file all the same."
        )
