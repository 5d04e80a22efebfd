"""edgernn's translator: a recurrent module in, a self-describing streaming step model out."""

from edgernn_export.exporter import ExportReport as ExportReport
from edgernn_export.exporter import export as export
from edgernn_export.step import StepModule as StepModule
