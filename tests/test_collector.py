"""The garbage collector around imports."""

import subprocess
import sys


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_it_runs_less_often_and_leaves_out_what_was_imported():
    shown = run("import gc, jtorch; print(gc.isenabled(), gc.get_threshold()[0], gc.get_freeze_count() > 100_000)")
    assert shown == "True 20000 True"


def test_what_a_program_has_set_stays():
    shown = run(
        "import gc; gc.disable(); gc.set_threshold(5000)\nimport jtorch\nprint(gc.isenabled(), gc.get_threshold())"
    )
    assert shown.startswith("False (5000,")
    shown = run(
        "import gc; [gc.collect() for _ in range(9)]\nimport jtorch\nprint(gc.isenabled(), gc.get_freeze_count())"
    )
    assert shown == "True 0"


def test_an_import_that_fails_turns_it_on_again():
    failing = "import gc, sys; sys.modules['jax'] = None\ntry:\n    import jtorch\nexcept ImportError:\n    pass\n"
    assert run(failing + "print(gc.isenabled())") == "True"
