"""``torch.profiler`` on JAX's profiler: what ran, on which thread or device, and how long it took."""

from ..autograd.profiler import record_function
from .profile import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)


def kineto_available() -> bool:
    """Whether there is an engine that records: JAX's profiler."""
    return True


__all__ = [
    "ProfilerAction", "ProfilerActivity", "kineto_available", "profile", "record_function",
    "schedule", "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip
