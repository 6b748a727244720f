"""Peak memory of a training step: jtorch, with and without checkpointing, hand-written JAX + optax, and PyTorch.

    python -m benchmarks.memory [--layers 8] [--width 512] [--rows 2048]

A deep MLP of residual blocks under Adam, each contender in a fresh process. "peak rss" is what the process' resident
memory rose by at its highest, from before the model was built: in all (XLA's compiler included) and, under "later", in
the steps that follow the first two (Linux only). The other columns are XLA's own analysis of the compiled step:
"needed" is arguments + results + temporaries - aliased, and the aliased bytes are inputs whose memory results take
over. With the parameters and Adam's two moments donated these are at least three times the parameters' bytes, which
the script checks: nothing is held twice. On a GPU "device" is the allocator's own peak.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import common

CONTENDERS = ("jtorch", "jtorch checkpoint", "torch", "torch checkpoint", "jax", "jax checkpoint")
STEPS = 4


def resident(which: str) -> int | None:
    """Bytes of resident memory of this process: "VmRSS" now, "VmHWM" at its highest; None where Linux is not."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(which)), None)


def forget_peak() -> bool:
    """Make "VmHWM" start anew; whether the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return resident("VmHWM") <= 1.02 * resident("VmRSS")  # some kernels take the request and do nothing


def pytorch_api(torch, checkpointed: bool, layers: int, width: int, rows: int):
    nn = torch.nn
    from importlib import import_module

    checkpoint = import_module(f"{torch.__name__}.utils.checkpoint").checkpoint

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

        def forward(self, x):
            return x + self.down(nn.functional.gelu(self.up(x)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])

        def forward(self, x):
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False) if checkpointed else block(x)
            return x

    device = common.device_of(torch)
    net, x = Net().to(device), torch.randn(rows, width, device=device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
        common.finish(torch)

    return step, sum(p.numel() for p in net.parameters()) * 4


def plain_jax(checkpointed: bool, layers: int, width: int, rows: int):
    import functools

    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    rng = np.random.default_rng(0)
    dense = lambda i, o: {"w": rng.standard_normal((i, o), np.float32) / i**0.5, "b": np.zeros(o, np.float32)}  # noqa: E731
    params = [{"up": dense(width, 2 * width), "down": dense(2 * width, width)} for _ in range(layers)]
    params = jax.tree.map(jnp.asarray, params)
    x = jnp.asarray(rng.standard_normal((rows, width), np.float32))

    def block(p, x):
        h = jax.nn.gelu(x @ p["up"]["w"] + p["up"]["b"], approximate=False)
        return x + h @ p["down"]["w"] + p["down"]["b"]

    run = jax.checkpoint(block) if checkpointed else block

    def loss(params, x):
        for p in params:
            x = run(p, x)
        return (x**2).mean()

    optimizer = optax.adam(1e-3)
    state = optimizer.init(params)
    size = sum(p.nbytes for p in jax.tree.leaves(params))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params, state, x):
        updates, state = optimizer.update(jax.grad(loss)(params, x), state, params)
        return optax.apply_updates(params, updates), state

    compiled = update.lower(params, state, x).compile()

    def step():
        nonlocal params, state
        params, state = jax.block_until_ready(compiled(params, state, x))

    return step, size, compiled.memory_analysis()


def measure(contender: str, layers: int, width: int, rows: int) -> dict:
    """Runs in the contender's own process."""
    library, checkpointed = contender.split()[0], contender.endswith("checkpoint")
    analysis = None
    if library == "torch":
        import torch as lib
    else:
        import jax

        import jtorch as lib

        jax.block_until_ready(jax.numpy.zeros(1) + 1)  # the backend's own memory is nobody's
    forget_peak()
    before = resident("VmRSS")
    if library == "jax":
        step, parameters, analysis = plain_jax(checkpointed, layers, width, rows)
    else:
        step, parameters = pytorch_api(lib, checkpointed, layers, width, rows)
    for _ in range(2):
        step()
    in_all = resident("VmHWM")
    known = forget_peak()
    for _ in range(STEPS):
        step()
    later = resident("VmHWM") if known else None
    if library == "jtorch":
        analysis = lib.debug.last_trace().memory()
    found = {"parameters": parameters}
    found |= {} if in_all is None else {"rss": max(in_all, later or 0) - before}
    found |= {} if later is None else {"later": later - before}
    if analysis is not None:
        found["aliased"] = analysis.alias_size_in_bytes
        found["temporary"] = analysis.temp_size_in_bytes
        held = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
        found["needed"] = held + analysis.temp_size_in_bytes
    if library == "torch" and lib.cuda.is_available():
        found["device"] = lib.cuda.max_memory_allocated()
    elif library != "torch" and jax.devices()[0].platform == "gpu":
        found["device"] = jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    return found


def main(arguments=None) -> common.Table:
    parser = common.parser(__doc__)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--one", choices=CONTENDERS, help="measure one contender here and print JSON")
    args = parser.parse_args(arguments)
    if args.tiny:
        args.layers, args.width, args.rows = 2, 16, 32
    sizes = args.layers, args.width, args.rows
    if args.one:
        print(json.dumps(measure(args.one, *sizes)))
        return None
    names = [c for c in CONTENDERS if common.pytorch() is not None or not c.startswith("torch")]
    found = {}
    for name in names:
        options = [f"--{k}={v}" for k, v in zip(("layers", "width", "rows"), sizes, strict=True)]
        command = [sys.executable, "-m", "benchmarks.memory", "--one", name, *options]
        found[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    table = common.Table(
        "MiB".ljust(17), "parameters", "peak rss", "later", "later / torch", "needed", "temporary", "aliased",
        "aliased / parameters", "device",
    )  # fmt: skip
    for name, own in found.items():
        mib = {k: v / 2**20 for k, v in own.items()}
        base = found.get("torch", {}).get("later")
        share = own["aliased"] / own["parameters"] if "aliased" in own else None
        table.row(
            name, mib["parameters"], mib.get("rss"), mib.get("later"), own["later"] / base if base else None,
            mib.get("needed"), mib.get("temporary"), mib.get("aliased"), share, mib.get("device"),
        )  # fmt: skip
        if share is not None and share < 3:
            raise AssertionError(f"{name}: the step aliases {share:.2f} times its parameters; donated state gives 3")
    return table


if __name__ == "__main__":
    main()
