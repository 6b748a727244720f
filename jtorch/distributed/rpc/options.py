"""How workers are connected."""

from __future__ import annotations

import enum

DEFAULT_TIMEOUT = 60.0
DEFAULT_THREADS = 16


class BackendType(enum.Enum):
    TENSORPIPE = "TENSORPIPE"


class RpcBackendOptions:
    """What all backends take.

    Attributes:
        rpc_timeout: seconds that a call may take; 0: any number.
        init_method: how workers find each other, as for ``init_process_group``.
    """

    def __init__(self, rpc_timeout: float = DEFAULT_TIMEOUT, init_method: str = "env://"):
        self.rpc_timeout, self.init_method = float(rpc_timeout), init_method


class TensorPipeRpcBackendOptions(RpcBackendOptions):
    """The options of the one backend, which sends tensors through host memory.

    Attributes:
        num_worker_threads: how many calls are served at a time.
        device_maps: ``{worker: {device here: device there}}``, kept for programs that ask; tensors arrive on the device
            of the same name.
    """

    def __init__(
        self, *, num_worker_threads: int = DEFAULT_THREADS, rpc_timeout: float = DEFAULT_TIMEOUT,
        init_method: str = "env://", device_maps: dict | None = None, devices: list | None = None,
        _transports: list | None = None, _channels: list | None = None,
    ):  # fmt: skip
        super().__init__(rpc_timeout, init_method)
        if num_worker_threads <= 0:
            raise ValueError(f"num_worker_threads must be positive, got {num_worker_threads}")
        self.num_worker_threads = num_worker_threads
        self.device_maps, self.devices = dict(device_maps or {}), list(devices or [])

    def set_device_map(self, to: str, device_map: dict) -> None:
        """Note to which devices of a worker tensors are to go."""
        self.device_maps.setdefault(to, {}).update(device_map)

    def set_devices(self, devices: list) -> None:
        """Note the devices that calls use."""
        self.devices = list(devices)


__all__ = ["BackendType", "RpcBackendOptions", "TensorPipeRpcBackendOptions"]
