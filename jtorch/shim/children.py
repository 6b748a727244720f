"""Child processes find jtorch under the name ``torch`` as well."""

from __future__ import annotations

import os
import pathlib
import sys

#: The folder with the packages that stand in for PyTorch.
PATH = str(pathlib.Path(__file__).with_name("path"))
_HOME = str(pathlib.Path(__file__).parents[2])


def install_in_children() -> None:
    """Put the stand-in on ``sys.path`` and ``PYTHONPATH``, which Python processes started from here inherit.

    A child that is started without this process's environment, or with ``python -I`` or ``-E``, is out of reach.
    """
    folders = [PATH]
    # Run from a checkout, jtorch itself is found only through the current folder, which children need not share.
    if not any(finder.find_spec("jtorch", None) for finder in sys.meta_path):
        folders.append(_HOME)
    before = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p not in folders]
    os.environ["PYTHONPATH"] = os.pathsep.join(folders + before)
    sys.path[:] = folders + [p for p in sys.path if p not in folders]
