"""``torch.utils.benchmark``: timing statements. Work is waited for, because jtorch runs it when it is needed."""

from .utils import common, compare
from .utils import timer as _timer_module
from .utils.common import Measurement, select_unit
from .utils.compare import Colorize, Compare
from .utils.timer import Timer, timer

__all__ = ["Colorize", "Compare", "Measurement", "Timer", "select_unit", "timer"]
