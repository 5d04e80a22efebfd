"""Tasks: what a model is trained for; data, model, loss and metric of each in a folder."""

from edgernn.tasks.calibration import CALIBRATION_STEPS as CALIBRATION_STEPS
from edgernn.tasks.recording_files import recording_file as recording_file
from edgernn.tasks.registry import find_task as find_task
from edgernn.tasks.registry import task_names as task_names
from edgernn.tasks.settings import Setting as Setting
from edgernn.tasks.settings import Settings as Settings
from edgernn.tasks.task import MODEL as MODEL
from edgernn.tasks.task import Data as Data
from edgernn.tasks.task import Evaluation as Evaluation
from edgernn.tasks.task import Facts as Facts
from edgernn.tasks.task import Part as Part
from edgernn.tasks.task import Task as Task
from edgernn.tasks.task import sha256_of as sha256_of
