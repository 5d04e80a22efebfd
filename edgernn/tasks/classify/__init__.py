"""The classify task: a decision about a sequence at every step of it. `ClassifyTask` in `task.py` joins its parts."""

from edgernn.tasks.classify.series import LabelledSeries as LabelledSeries
from edgernn.tasks.classify.series import hold_out as hold_out
from edgernn.tasks.classify.series import read_series as read_series
from edgernn.tasks.classify.sources import digits as digits
from edgernn.tasks.classify.sources import vowels as vowels
