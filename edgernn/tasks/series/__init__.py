"""The series task: forecasting with uncertainty. `SeriesTask` in `task.py` joins its parts."""

from edgernn.tasks.series.table import Series as Series
from edgernn.tasks.series.table import read_series as read_series
