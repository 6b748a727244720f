"""One process over eight devices: every layout trains to the losses of one device.

JAX fixes the number of devices when it starts, so the tests run in one process of their own, which asks for eight.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def test_on_eight_devices():
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/on_eight_devices.py"],
        capture_output=True, text=True, timeout=600, cwd=ROOT,
        env={
            **os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
            "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "",  # a second -q would leave out the line that is read below
        },
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed and int(passed[1]) >= 60 and "skipped" not in result.stdout
