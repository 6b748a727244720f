"""Every keyword that an overload of PyTorch's functions and methods has is one of jtorch's."""

from __future__ import annotations

import ast
import inspect
import pathlib

import pytest

import jtorch

#: What is not taken, and why.
ABSENT = {
    "torch": {
        "_softmax_backward_data": "an inner function",
        "_native_batch_norm_legit": "two overloads by position",
        "dequantize": "of a list: by position",
        "full": "names",
        "hspmm": "mat1, and out",
        "isin": "of a number: by position",
        "quantize_per_tensor": "of a list: by position",
        "result_type": "of numbers: by position",
        "rrelu_": "generator",
        "set_num_interop_threads": "by position, as PyTorch's",
        "set_num_threads": "by position, as PyTorch's",
        "threshold": "out",
        **dict.fromkeys(("addmm", "baddbmm", "bmm", "mm"), "out_dtype, which PyTorch's CPU refuses too"),
        **dict.fromkeys(
            (
                "ccol_indices_copy",
                "col_indices_copy",
                "crow_indices_copy",
                "indices_copy",
                "row_indices_copy",
                "saddmm",
                "sspaddmm",
                "values_copy",
            ),
            "out, of sparse tensors",
        ),
    },
    "Tensor": {
        "_make_subclass": "PyTorch's dispatch flags",
        "expand": "implicit is of TorchScript",
        "new": "by position",
        "record_stream": "by position",
        "requires_grad_": "mode is in its stubs only",
        "sparse_resize_": "refused",
        "sparse_resize_and_clear_": "refused",
        "to": "by position",
    },
}


def _overloads(path: pathlib.Path, cls: str | None) -> dict[str, set[str]]:
    """The parameters of all overloads in a stub file, by function."""
    body = ast.parse(path.read_text()).body
    if cls is not None:
        body = next(n for n in body if isinstance(n, ast.ClassDef) and n.name == cls).body
    found: dict[str, set[str]] = {}
    for n in body:
        if isinstance(n, ast.FunctionDef) and not n.name.startswith("__"):
            found.setdefault(n.name, set()).update(a.arg for a in (*n.args.args, *n.args.kwonlyargs))
    return found


@pytest.mark.parametrize("place, stub, cls", [
    ("torch", "_VariableFunctions.pyi", None), ("Tensor", "__init__.pyi", "TensorBase"),
])  # fmt: skip
def test_keywords(place, stub, cls):
    torch = pytest.importorskip("torch")
    library = jtorch if place == "torch" else jtorch.Tensor
    overloads = _overloads(pathlib.Path(torch.__file__).parent / "_C" / stub, cls)
    assert len(overloads) > 500
    absent, excused = {}, set()
    for name, keywords in overloads.items():
        function = getattr(library, name, None)
        if function is None or not callable(function) or isinstance(function, type):
            continue
        parameters = inspect.signature(function).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            continue
        known = {*parameters, *getattr(function, "also_named", ()), "self", "input", "cls"}
        missing = keywords - known
        if missing and name in ABSENT[place]:
            excused.add(name)
        elif missing:
            absent[name] = missing
    assert absent == {}
    assert excused == ABSENT[place].keys(), "an exception that is none any more"


def test_keywords_of_schemas():
    """``linalg`` and ``special`` have no stubs: what their schemas call ``self`` is ``input`` to Python."""
    torch = pytest.importorskip("torch")
    schemas = {}
    for schema in torch._C._jit_get_all_schemas():
        schemas.setdefault(schema.name, []).append(schema)
    absent, seen = {}, 0
    for place in ("linalg", "special", "fft"):
        theirs = vars(getattr(torch, place))
        for name in [n for n, f in theirs.items() if not n.startswith("_") and inspect.isbuiltin(f)]:
            function = getattr(getattr(jtorch, place), name)
            known = {*inspect.signature(function).parameters, *getattr(function, "also_named", ())}
            arguments = [a for s in schemas.get(f"aten::{place}_{name}", ()) for a in s.arguments if not a.is_out]
            keywords = {"input" if a.name == "self" else a.name for a in arguments}
            keywords = {"x"} if (place, name) == ("linalg", "vector_norm") else keywords  # as documented
            if missing := keywords - known:
                absent[f"{place}.{name}"] = missing
            seen += bool(arguments)
    assert seen > 60
    assert absent == {}
    assert jtorch.det(input=jtorch.eye(2)) == jtorch.linalg.det(A=jtorch.eye(2)) == 1
    assert jtorch.real(input=jtorch.ones(1)) == 1
    assert jtorch.zero_(input=jtorch.ones(1)) == 0


def test_other_names():
    x = jtorch.arange(16.0).reshape(4, 4)
    assert [p.shape for p in x.split(split_size=2)] == [(2, 4), (2, 4)]
    assert [p.shape for p in jtorch.tensor_split(x, indices=(1,), dim=1)] == [(4, 1), (4, 3)]
    assert [p.shape for p in x.hsplit(sections=2)] == [(4, 2), (4, 2)]
    assert len(x.unbind(axis=1)) == len(jtorch.chunk(x, 4, axis=0)) == x.size(axis=0) == 4
    assert x.repeat(repeats=(1, 2)).shape == x.repeat_interleave(2, axis=1).shape == (4, 8)
    assert jtorch.swapaxes(x, axis0=0, axis1=1).equal(x.t())
    assert x.select(axis=0, index=1).equal(x.narrow(axis=0, start=1, length=1)[0])
    assert jtorch.LongTensor(data=[1, 2]).tolist() == [1, 2]
    assert x.clone().resize_(size=(2, 2)).shape == (2, 2)
    assert x.clone().copy_(other=x + 1).equal(x + 1)
    with pytest.raises(TypeError):
        x.split(split=2)


def test_names_of_little_use():
    assert jtorch.torch is jtorch and jtorch.Future is jtorch.futures.Future
    assert not jtorch.cuda.nccl.is_available([jtorch.ones(2)])
    with pytest.raises(NotImplementedError, match="nested"):
        jtorch.ones(2).to_padded_tensor(0.0)
    nested = jtorch.nested.nested_tensor([jtorch.ones(2), jtorch.ones(3)])
    assert nested.to_padded_tensor(0.0).shape == (2, 3)


def test_parameters_by_pytorchs_names():
    x = jtorch.ones(2, 3)
    layer = jtorch.nn.Linear(3, 1)
    state = {"weight": jtorch.ones(1, 3), "bias": jtorch.zeros(1)}
    assert jtorch.func.functional_call(layer, parameter_and_buffer_dicts=state, args=(x,)).tolist() == [[3.0], [3.0]]
    jtorch.set_default_device(device="meta")
    try:
        assert jtorch.ones(2).is_meta
    finally:
        jtorch.set_default_device(device=None)
    assert jtorch.cuda.Event(True).enable_timing and isinstance(jtorch.cuda.Event(), jtorch.Event)
    assert jtorch.sym_ite(b=True, t=1, f=2) == 1


def test_settings_of_compile():
    compiled = jtorch.compile(lambda x, n: x * n, name="scaled", recompile_limit=2, isolate_recompiles=True)
    x = jtorch.ones(3)
    for n in (2, 3, 4, 5):
        for _ in range(3):
            assert compiled(x, n).tolist() == [n] * 3
    assert compiled.captures == 2 and "2 different cases" in compiled.reason and "scaled" in repr(compiled)
    with pytest.raises(NotImplementedError, match="shapes_spec"):
        jtorch.compile(lambda x: x, shapes_spec={})
