"""``torch.__version__``: a string that compares as a version, as programs expect of PyTorch's."""

from __future__ import annotations

import re

_FORM = re.compile(r"v?(\d+(?:\.\d+)*)(?:[-_.]?(a|alpha|b|beta|rc|c|pre|preview|dev)[-_.]?(\d*))?(\+\S+)?")
_STAGES = {"dev": 0, "a": 1, "alpha": 1, "b": 2, "beta": 2, "c": 3, "rc": 3, "pre": 3, "preview": 3}
_FINAL = 4


def _key(version) -> tuple:
    """What versions are ordered by: the numbers without trailing zeros, the stage before the release, the build."""
    if not isinstance(version, str):
        version = ".".join(map(str, version))
    match = _FORM.match(version)
    if match is None:
        raise ValueError(f"not a version: {version!r}")
    numbers = [int(n) for n in match[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    stage = _STAGES[match[2]] if match[2] else _FINAL
    return tuple(numbers), stage, int(match[3] or 0), match[4] or ""


class TorchVersion(str):
    """A version that compares with strings and tuples: ``TorchVersion("2.13.0") > "2.9"`` and ``>= (2, 1)``."""

    def _against(self, other):
        try:
            return _key(self), _key(other)
        except (TypeError, ValueError):
            return None

    def __eq__(self, other):
        keys = self._against(other)
        return keys is not None and keys[0] == keys[1]

    def __lt__(self, other):
        keys = self._against(other)
        return NotImplemented if keys is None else keys[0] < keys[1]

    def __le__(self, other):
        keys = self._against(other)
        return NotImplemented if keys is None else keys[0] <= keys[1]

    def __gt__(self, other):
        keys = self._against(other)
        return NotImplemented if keys is None else keys[0] > keys[1]

    def __ge__(self, other):
        keys = self._against(other)
        return NotImplemented if keys is None else keys[0] >= keys[1]

    __hash__ = str.__hash__
