"""Run a program that jtorch exported, with jax and NumPy alone: neither jtorch nor the model's source is needed.

python examples/run_exported.py model.zip inputs.npz     (arrays named as the program's inputs; prints the results)
"""

import json
import struct
import sys
import zipfile

import jax
import jax.export
import ml_dtypes  # jax brings it
import numpy as np

DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": ml_dtypes.bfloat16, "C64": "c8", "I64": "i8", "I32": "i4",
          "I16": "i2", "I8": "i1", "U8": "u1", "BOOL": "?"}  # fmt: skip


def load(path):
    """``(call, input names)`` of an exported program; ``call(*arrays)`` returns a tuple of arrays."""
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        program = jax.export.deserialize(bytearray(archive.read("program.jax_export")))
        data = archive.read("weights.safetensors")
    start = 8 + struct.unpack("<Q", data[:8])[0]
    state = {}
    for name, entry in json.loads(data[8:start]).items():
        begin, end = (start + offset for offset in entry["data_offsets"])
        state[name] = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])

    def call(*arrays):
        with jax.enable_x64(True):  # int64 and float64 stay what they are
            return program.call(state, *map(np.asarray, arrays))

    return call, [i["name"] for i in manifest["inputs"]]


if __name__ == "__main__":
    call, names = load(sys.argv[1])
    inputs = np.load(sys.argv[2])
    for i, result in enumerate(call(*(inputs[n] for n in names))):
        print(f"output {i}: shape {result.shape}, sum {float(result.sum()):.5f}")
