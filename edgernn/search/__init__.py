"""Searching hyperparameters: by validation, and by the measured time of the exported int8 model's step."""
