"""edgernn: recurrent models from training to a streaming edge device.

This package is the workstation: cells, models, training, tasks and the command line. Translation lives
in `edgernn_export`, the device's side in `edgernn_runtime`.
"""

from edgernn_runtime import __version__ as __version__
