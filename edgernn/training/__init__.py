"""Training: truncated backpropagation through time that can be interrupted at any moment."""

from edgernn.training.config import TrainingConfig as TrainingConfig
from edgernn.training.evaluate import Evaluation as Evaluation
from edgernn.training.evaluate import evaluate as evaluate
from edgernn.training.run import Run as Run
from edgernn.training.trainer import Progress as Progress
from edgernn.training.trainer import Trainer as Trainer
from edgernn.training.trainer import TrainingResult as TrainingResult
