"""The vocoder task: frames to samples."""
