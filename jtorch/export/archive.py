"""Exported programs as files: a zip archive of three plain records, nothing in it is Python.

``manifest.json`` says what the program takes and returns, ``program.jax_export`` is StableHLO as ``jax.export`` writes
it, ``weights.safetensors`` holds parameters and buffers.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
import zlib

import jax
import jax.export

import jtorch

from ..devices import device as Device
from ..nn.parameter import Parameter
from ..serialization import safetensors
from ..serialization.format import open_for_reading, open_for_writing
from ..trace.jaxapi import x64
from .dims import ValueRanges
from .draws import Drawn
from .program import ExportedProgram
from .signature import ExportGraphSignature

FORMAT = 1
_RECORDS = ("manifest.json", "program.jax_export", "weights.safetensors")
_LARGEST = 16 << 30


def save(ep: ExportedProgram, f, *, extra_files: dict | None = None, opset_version=None, pickle_protocol=None) -> None:
    """Write an exported program to a path or a writable file; a path is replaced only once the new file is whole.

    Raises:
        TypeError: ``ep`` is no ExportedProgram.
        ValueError: a tensor has a dtype that safetensors lacks (complex128).
    """
    if not isinstance(ep, ExportedProgram):
        raise TypeError(
            f"The 'ep' parameter must be an instance of 'ExportedProgram', got '{type(ep).__name__}' instead."
        )
    signature = ep.graph_signature
    manifest = {
        "format": FORMAT, "jtorch": jtorch.__version__, "jax": jax.__version__, "platforms": list(ep.platforms),
        "state": list(ep.state_dict), "parameters": list(signature.parameters), "aliases": ep.aliases,
        "requires_grad": [n for n, t in ep.state_dict.items() if t.requires_grad],
        "inputs": ep.inputs, "in_form": ep.in_form, "out_form": ep.out_form,
        "ranges": {n: [r.lower, r.upper] for n, r in ep.range_constraints.items()},
        "outputs": signature.n_outputs, "written": list(signature.changed), "transient": sorted(signature.transient),
        "mutated": list(signature.mutated), "draws": [dataclasses.asdict(d) for d in ep.draws],
    }  # fmt: skip
    weights = {n: t.detach().cpu().contiguous().clone() for n, t in ep.state_dict.items()}
    with x64(True):  # derivatives are traced now
        program = bytes(ep.exported.serialize(vjp_order=_order(ep)))
    with open_for_writing(f) as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("manifest.json", json.dumps(manifest, indent=1))
            archive.writestr("program.jax_export", program)
            archive.writestr("weights.safetensors", safetensors.save(weights))
            for name, content in (extra_files or {}).items():
                archive.writestr(f"extra/{name}", content)


def _order(ep: ExportedProgram) -> int:
    """Derivatives are written along where a parameter or an example input wants one."""
    wanted = any(t.requires_grad for t in ep.state_dict.values()) or any(i.get("requires_grad") for i in ep.inputs)
    return int(wanted and ep.exported.has_vjp())


def load(f, *, extra_files: dict | None = None, expected_opset_version=None, map_location=None) -> ExportedProgram:
    """Read an exported program; no code is loaded from the file.

    Args:
        extra_files: a dict whose keys are looked up in the archive; values are filled in.
        map_location: the device for parameters and buffers.

    Raises:
        RuntimeError: the file is no exported program, is damaged, or was written by an incompatible version.
    """
    with open_for_reading(f) as stream:
        data = io.BytesIO(stream.read())
    try:
        with zipfile.ZipFile(data) as archive:
            names = set(archive.namelist())
            if not names.issuperset(_RECORDS):
                raise RuntimeError(_foreign(names))
            if sum(i.file_size for i in archive.infolist()) > _LARGEST:
                raise RuntimeError("the archive claims to hold more than 16 GiB")
            manifest = json.loads(archive.read("manifest.json"))
            program, weights = archive.read("program.jax_export"), archive.read("weights.safetensors")
            for name in extra_files or ():
                extra_files[name] = archive.read(f"extra/{name}").decode() if f"extra/{name}" in names else ""
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, zlib.error) as error:
        raise RuntimeError(f"this is no whole file of torch.export.save: {error}") from error
    if manifest.get("format") != FORMAT:
        raise RuntimeError(f"the file has format {manifest.get('format')!r}; this jtorch reads format {FORMAT}")
    try:
        exported = jax.export.deserialize(bytearray(program))
    except Exception as error:
        raise RuntimeError(
            f"the program was written by jax {manifest.get('jax')} and cannot be read by jax {jax.__version__} (jax "
            f"promises six months backwards): {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    tensors = safetensors.load(weights, Device(map_location) if map_location is not None else "cpu")
    state = {}
    for name in manifest["state"]:
        t = tensors[name]
        wanted = name in manifest["requires_grad"]
        state[name] = Parameter(t, wanted) if name in manifest["parameters"] else t
    signature = ExportGraphSignature(
        tuple(manifest["parameters"]), tuple(n for n in state if n not in manifest["parameters"]),
        tuple(i["name"] for i in manifest["inputs"]), tuple(manifest["written"]), manifest["outputs"],
        mutated=tuple(manifest.get("mutated", ())), transient=frozenset(manifest.get("transient", ())),
    )  # fmt: skip
    return ExportedProgram(
        exported, state, manifest["aliases"], signature, manifest["in_form"], manifest["out_form"], manifest["inputs"],
        {name: ValueRanges(*bounds) for name, bounds in manifest.get("ranges", {}).items()},
        [Drawn(**d) for d in manifest.get("draws", ())],
    )  # fmt: skip


def _foreign(names) -> str:
    if any(n.endswith("constants.pkl") for n in names):
        return (
            "this is a TorchScript archive, which holds programs for PyTorch's interpreter: load the model's source "
            "and its state_dict instead, or convert the archive to ONNX with PyTorch"
        )
    if any(n.endswith("archive_format") or n.endswith("archive_version") for n in names):
        return "this is PyTorch's own .pt2 archive (an FX graph); export the model with jtorch, or convert it to ONNX"
    return "this is no file of torch.export.save (a zip archive with manifest.json, program.jax_export, weights)"
