"""The acoustic task: how phonemes sound, and how long they last."""
