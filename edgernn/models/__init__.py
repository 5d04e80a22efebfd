"""Generative models built from cells."""

from edgernn.models.frame_model import FrameModel as FrameModel
from edgernn.models.recurrent_lm import ModelConfig as ModelConfig
from edgernn.models.recurrent_lm import RecurrentLM as RecurrentLM
from edgernn.models.recurrent_lm import RecurrentLMStep as RecurrentLMStep
