"""Running examples/ported, scripts written for PyTorch, under PyTorch and under ``python -m jtorch``."""

from __future__ import annotations

import importlib
import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

import jtorch

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "ported"
#: Losses agree when they are equal to four decimals.
TOLERANCE = 0.5e-4
_LOSS = re.compile(r"^step \d+ loss (\S+)$", re.MULTILINE)


class Script(NamedTuple):
    """A script, how many of its steps are compared, and what it needs of jtorch beyond the core."""

    name: str
    shows: str
    steps: int = 50
    needs: tuple[str, ...] = ()


SCRIPTS = (
    Script("digits_classifier", "convolutions, dropout, shuffled loader, SGD with momentum, StepLR, test pass"),
    Script("vae", "reparameterised sampling, Adam, sums as losses"),
    Script("dcgan", "transposed convolutions, batch norm, two optimizers, in-place activations, `apply`"),
    Script("word_language_model", "LSTM, tied embedding, state across batches, clipping, updates by hand"),
    Script("time_sequence", "LSTMCell, double precision, LBFGS with a closure", needs=("optim.LBFGS",)),
    Script("reinforce", "Categorical sampling, a Python environment between steps", 20, needs=("distributions",)),
    Script("gcn", "indexing, scatter-add, Xavier initial values, a permutation split"),
    Script("siamese", "a Dataset of one's own, batch norm called twice, StepLR"),
    Script("super_resolution", "pixel shuffle, orthogonal initial values, `random_split`"),
    Script(
        "ddp", "two processes, DistributedSampler, DistributedDataParallel, all_reduce", 20,
        needs=("distributed.init_process_group", "multiprocessing.spawn", "nn.parallel.DistributedDataParallel",
               "utils.data.distributed.DistributedSampler"),
    ),
)  # fmt: skip


def missing(script: Script) -> list[str]:
    """What the script needs and jtorch does not have."""
    return [name for name in script.needs if not _has(name)]


def _has(name: str) -> bool:
    found = jtorch
    for part in name.split("."):
        if not hasattr(found, part):
            try:
                importlib.import_module(f"{found.__name__}.{part}")
            except ModuleNotFoundError:
                return False
        found = getattr(found, part)
    return True


def losses(script: Script, library: str, steps: int, seed: int | None = None) -> list[float]:
    """The first losses of the script under ``library``, "torch" or "jtorch", on the CPU.

    Raises:
        RuntimeError: the script failed; the message is what it wrote.
    """
    launcher = ["-m", "jtorch"] if library == "jtorch" else []
    command = [sys.executable, *launcher, str(FOLDER / f"{script.name}.py")]
    command += ["--steps", str(steps), "--print-losses", str(steps)]
    if seed is not None:
        command += ["--seed", str(seed)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = dict(os.environ, PYTHONPATH=path, CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu")
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    found = [float(x) for x in _LOSS.findall(done.stdout)]
    if done.returncode or len(found) != steps:
        raise RuntimeError(f"{' '.join(command)}: {len(found)} losses\n{done.stdout}{done.stderr}")
    return found
