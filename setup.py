"""Lists the packages; everything else is in pyproject.toml.

``interop/``, which may use only jtorch's public API, lies beside ``jtorch/`` and is installed as ``jtorch.interop``.
"""

from setuptools import find_packages, setup

interop = ["jtorch.interop"] + [f"jtorch.interop.{name}" for name in find_packages("interop")]
setup(
    packages=find_packages(include=["jtorch", "jtorch.*"]) + interop,
    package_dir={"jtorch.interop": "interop"},
)
