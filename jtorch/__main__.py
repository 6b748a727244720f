"""``python -m jtorch`` runs a program written for PyTorch as it is: ``import torch`` gives jtorch, in children too.

python -m jtorch script.py [arguments]
python -m jtorch -m module [arguments]
python -m jtorch -c command [arguments]
"""

from __future__ import annotations

import os
import runpy
import sys
import types

from .shim import install, install_in_children

_LAUNCHER = (__file__, runpy.__file__, "<frozen runpy>")


def _hide_launcher(kind, error, traceback) -> None:
    """Print an uncaught exception as ``python script.py`` would: beginning with the program's own frames."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename in _LAUNCHER:
        traceback = traceback.tb_next
    sys.__excepthook__(kind, error.with_traceback(traceback), traceback)


def _run_command(source: str) -> None:
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(source, "<string>", "exec"), main.__dict__)


def main(arguments: list[str]) -> None:
    """Run the program that the arguments name."""
    option = arguments[0] if arguments else None
    if option in ("-h", "--help"):
        print(__doc__)
        return
    if option is None or option[:1] == "-" and (option not in ("-m", "-c") or len(arguments) < 2):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    if option[:1] != "-" and not os.path.exists(option):
        print(f"{sys.executable}: can't open file {os.path.abspath(option)!r}: no such file", file=sys.stderr)
        sys.exit(2)
    # Started with -m, Python has put the current folder first; the program gets the one that its way of running has.
    if not sys.flags.safe_path:
        del sys.path[0]
    install_in_children()
    install()
    sys.excepthook = _hide_launcher
    if option == "-c":
        sys.argv = ["-c", *arguments[2:]]
        first, run = "", lambda: _run_command(arguments[1])
    elif option == "-m":
        sys.argv = arguments[1:]
        first, run = os.getcwd(), lambda: runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        first, run = os.path.dirname(os.path.realpath(option)), lambda: runpy.run_path(option, run_name="__main__")
    if not sys.flags.safe_path:
        sys.path.insert(0, first)
    run()


if __name__ == "__main__":
    main(sys.argv[1:])
