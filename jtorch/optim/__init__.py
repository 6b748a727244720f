"""Optimizers and learning-rate schedules."""

from jtorch.optim import lr_scheduler
from jtorch.optim.adagrad import Adagrad
from jtorch.optim.adam import Adam
from jtorch.optim.adamw import AdamW
from jtorch.optim.optimizer import Optimizer
from jtorch.optim.rmsprop import RMSprop
from jtorch.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
