"""How processes are started: forked from a server that has imported jtorch and started nothing.

Forking the program itself would hand the child an XLA client whose threads are gone; a fresh interpreter would import
everything again. So the first use starts a fork server (the standard library's, one of jtorch's own), which imports
jtorch and starts no backend; children are forked from it within milliseconds.

What a child is given is pickled by value where it was defined in the script itself (cloudpickle). So the script is not
imported again in the child, and needs no ``if __name__ == "__main__"``. Only if an object arrives later that names
something of the script (a function sent to a pool) is the script imported then, as the standard library does at once.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import threading
from multiprocessing import context, forkserver, popen_forkserver, process, reduction, spawn, util

import cloudpickle

#: How the fork server's children, and fresh interpreters, are named in ``get_start_method``.
DEFAULT = "forkserver"
_MAIN = ("init_main_from_name", "init_main_from_path")
_server = forkserver.ForkServer()
_server.set_forkserver_preload(["jtorch", "jtorch.multiprocessing.context"])


def start_server() -> None:
    """Start the fork server if it does not run yet; does not wait for it."""
    _server.ensure_running()


class Pickler(cloudpickle.Pickler):
    """Pickles what belongs to processes (connections, locks) and, by value, what the script defines."""

    def __init__(self, file, protocol=None, buffer_callback=None):
        # Set first: it is read once, when the pickler is made.
        self.dispatch_table = type(self).dispatch_table.new_child(reduction.ForkingPickler(io.BytesIO()).dispatch_table)
        super().__init__(file, protocol, buffer_callback)


class Popen(popen_forkserver.Popen):
    """A child of jtorch's own fork server."""

    method = DEFAULT

    def _launch(self, process_obj):
        prepare = spawn.get_preparation_data(process_obj._name)
        main = {key: prepare.pop(key) for key in _MAIN if key in prepare}
        body, buffer = io.BytesIO(), io.BytesIO()
        context.set_spawning_popen(self)
        try:
            Pickler(body).dump(process_obj)
            reduction.dump(prepare, buffer)
            pickle.dump(_Arrival(main, dict(os.environ), body.getvalue()), buffer)
        finally:
            context.set_spawning_popen(None)
        self.sentinel, w = _server.connect_to_new_process(self._fds)
        # The child's end of this pipe becomes readable when this process is gone.
        parent_end = os.dup(w)
        self.finalizer = util.Finalize(self, util.close_fds, (parent_end, self.sentinel))
        with open(w, "wb", closefd=True) as stream:
            stream.write(buffer.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


class _Arrival:
    """The process object, unpickled only after the environment is the parent's."""

    def __init__(self, main: dict, environment: dict, body: bytes):
        self.parts = main, environment, body

    def __reduce__(self):
        return _arrive, self.parts


def _arrive(main: dict, environment: dict, body: bytes):
    os.environ.clear()
    os.environ.update(environment)
    _follow_environment()
    if main:
        sys.modules["__main__"].__getattr__ = _ScriptNames(main)
    return pickle.loads(body)


def _follow_environment() -> None:
    """What JAX read from the environment when the server imported it, read again."""
    import jax

    if jax.config.jax_platforms != os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", os.environ.get("JAX_PLATFORMS"))


class _ScriptNames:
    """``__getattr__`` of a child's ``__main__``: imports the parent's script when one of its names is asked for."""

    def __init__(self, main: dict):
        self.main, self.lock = main, threading.Lock()

    def __call__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        with self.lock:
            if "__mp_main__" not in sys.modules:
                current = process.current_process()
                before = getattr(current, "_inheriting", False)
                current._inheriting = True  # a script that would start processes again is stopped with an explanation
                try:
                    spawn.prepare(self.main)
                finally:
                    current._inheriting = before
        return getattr(sys.modules["__mp_main__"], name)


class Process(process.BaseProcess):
    """As :class:`multiprocessing.Process`, started by jtorch's fork server."""

    _start_method = DEFAULT

    @staticmethod
    def _Popen(process_obj):
        return Popen(process_obj)


class ForkServerContext(context.BaseContext):
    """The start method of this module."""

    _name = DEFAULT
    Process = Process


class ForkContext(context.ForkContext):
    """Plain ``os.fork``, refused where the child would inherit a running XLA client."""

    class Process(context.ForkProcess):
        @staticmethod
        def _Popen(process_obj):
            from jtorch.trace.jaxapi import backend_started

            if backend_started():
                raise RuntimeError(
                    "cannot fork: XLA has started in this process, and its threads do not survive a fork, so the "
                    "child would hang. Use start method 'forkserver' (the default) or 'spawn', or fork before the "
                    "first tensor is made"
                )
            return context.ForkProcess._Popen(process_obj)


CONTEXTS = {DEFAULT: ForkServerContext(), "spawn": context.SpawnContext(), "fork": ForkContext()}
