"""The image task: grey pictures, pixel by pixel. `ImageTask` in `task.py` joins its parts."""
