"""Voices: text to speech through a pipeline of streams at three rates: phonemes, frames, samples."""

from edgernn_runtime.voice.voice import Voice as Voice
from edgernn_runtime.voice.voice import load_voice as load_voice
