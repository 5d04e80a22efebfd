"""Training: truncated backpropagation through time that can be interrupted at any moment."""

from edgernn.training.run import Run as Run
from edgernn.training.trainer import Progress as Progress
from edgernn.training.trainer import Trainer as Trainer
from edgernn.training.trainer import TrainingResult as TrainingResult
