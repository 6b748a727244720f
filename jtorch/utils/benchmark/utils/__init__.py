"""The parts of :mod:`jtorch.utils.benchmark`."""
