"""Utilities around training programs; so far :mod:`jtorch.utils.data`."""

from jtorch.utils import data
