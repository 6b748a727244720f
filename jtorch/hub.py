"""``torch.hub``: weights from the network, and models that a folder's ``hubconf.py`` makes.

``load``, ``list`` and ``help`` read local folders (``source="local"``). Code is not fetched from GitHub: clone the
repository and name its folder. A ``hubconf.py`` that says ``import torch`` gets jtorch (see :mod:`jtorch.shim`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import urllib.request
from urllib.parse import urlparse

try:
    from tqdm import tqdm
except ImportError:  # it is optional: a plainer meter with the methods that programs use

    class tqdm:
        """Counts on standard error: ``with tqdm(total=n) as bar: bar.update(k)``, or a loop over ``tqdm(items)``."""

        def __init__(self, iterable=None, total=None, disable=False, desc="", **ignored):
            self._iterable, self.total, self.disable, self.desc, self.n = iterable, total, disable, desc, 0

        def update(self, n=1) -> None:
            self.n += n
            if not self.disable:
                of = f"{100 * self.n / self.total:.1f}%" if self.total else f"{self.n}"
                print(f"\r{self.desc} {of}".rstrip(), end="", file=sys.stderr, flush=True)

        def __iter__(self):
            with self:
                for x in self._iterable:
                    yield x
                    self.update()

        def close(self) -> None:
            if not self.disable:
                print(file=sys.stderr)

        def __enter__(self):
            return self

        def __exit__(self, *error) -> None:
            self.close()


_dir: str | None = None
HASH_REGEX = _HASH = re.compile(r"-([a-f0-9]{8,})\.[^.]+$")


def get_dir() -> str:
    """Where downloads are kept: what :func:`set_dir` said, else ``$TORCH_HOME/hub``, else ``~/.cache/torch/hub``."""
    if _dir is not None:
        return _dir
    return os.path.join(_get_torch_home(), "hub")


def _get_torch_home() -> str:
    """``$TORCH_HOME``, else ``torch`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME") or os.path.join(cache, "torch"))


def set_dir(d) -> None:
    """Keep downloads in this folder."""
    global _dir
    _dir = os.path.expanduser(os.fspath(d))


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Download ``url`` to the file ``dst``, which appears only when it is complete and its SHA-256 fits.

    Raises:
        RuntimeError: the SHA-256 does not begin with ``hash_prefix``.
    """
    dst = os.path.expanduser(dst)
    digest = hashlib.sha256()
    part = tempfile.NamedTemporaryFile(dir=os.path.dirname(dst) or ".", suffix=".part", delete=False)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "jtorch.hub"})
        with part, urllib.request.urlopen(request) as source:
            size = source.headers.get("Content-Length")
            bar = tqdm(total=int(size) if size else None, disable=not progress, unit="B", unit_scale=True)
            with bar:
                while chunk := source.read(1 << 20):
                    part.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
        if hash_prefix and not digest.hexdigest().startswith(hash_prefix):
            raise RuntimeError(
                f'invalid hash value of {url} (expected "{hash_prefix}", got "{digest.hexdigest()}"); try again'
            )
        shutil.move(part.name, dst)
    finally:
        if os.path.exists(part.name):
            os.remove(part.name)


def load_state_dict_from_url(
    url: str, model_dir=None, map_location=None, progress: bool = True, check_hash: bool = False,
    file_name: str | None = None, weights_only: bool = False,
):  # fmt: skip
    """Load a file saved by ``torch.save`` from the network, or from ``model_dir`` where it was kept the first time.

    ``check_hash``: the file is named ``name-<sha256 prefix>.ext``, and is checked against it.
    """
    from .serialization import load as load_file

    folder = os.path.join(get_dir(), "checkpoints") if model_dir is None else os.fspath(model_dir)
    os.makedirs(folder, exist_ok=True)
    name = file_name or os.path.basename(urlparse(url).path)
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        if progress:
            print(f'Downloading: "{url}" to {path}', file=sys.stderr)
        found = _HASH.search(name) if check_hash else None
        download_url_to_file(url, path, found[1] if found else None, progress)
    return load_file(path, map_location=map_location, weights_only=weights_only)


def _hubconf(folder, source: str):
    if source not in ("github", "local"):
        raise ValueError(f'Unknown source: "{source}". Allowed values: "github" | "local".')
    if source == "github":
        raise NotImplementedError(
            f"jtorch.hub does not fetch code from GitHub: clone {folder!r} and pass its folder with source='local'"
        )
    from . import shim

    if "torch" not in sys.modules:
        shim.install()
    path = os.path.join(os.fspath(folder), "hubconf.py")
    spec = importlib.util.spec_from_file_location("hubconf", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.fspath(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(os.fspath(folder))
    absent = [n for n in getattr(module, "dependencies", ()) if importlib.util.find_spec(n) is None]
    if absent:
        raise RuntimeError(f"Missing dependencies: {', '.join(absent)}")
    return module


def _entry(module, model: str):
    found = getattr(module, model, None)
    if not callable(found):
        raise RuntimeError(f"Cannot find callable {model} in hubconf")
    return found


def list(github, force_reload=False, skip_validation=False, trust_repo="check", verbose=True, source="local"):  # noqa: A001
    """The names of the models that a folder's ``hubconf.py`` makes."""
    module = _hubconf(github, source)
    return [n for n in dir(module) if callable(getattr(module, n)) and not n.startswith("_")]


def help(github, model, force_reload=False, skip_validation=False, trust_repo="check", source="local"):  # noqa: A001
    """The documentation of one of these models."""
    return _entry(_hubconf(github, source), model).__doc__


def load(
    repo_or_dir, model, *args, source="github", trust_repo="check", force_reload=False, verbose=True,
    skip_validation=False, **kwargs,
):  # fmt: skip
    """What ``model(*args, **kwargs)`` of the folder's ``hubconf.py`` returns.

    Raises:
        NotImplementedError: ``source="github"``.
        RuntimeError: there is no such model, or what it depends on is not installed.
    """
    return _entry(_hubconf(repo_or_dir, source), model)(*args, **kwargs)


__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]
