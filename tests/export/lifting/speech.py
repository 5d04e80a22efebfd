"""Speech to test with, spoken by espeak (the `espeakng-loader` package)."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16_000

_SPOKEN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def speak(library: Any, data_path: str, text: str) -> NDArray[np.float32]:
    """Return `text` as float32 samples in [-1, 1] at 16 kHz.

    Args:
        library: The loaded library.
        data_path: Its voices.
        text: What to say.
    """
    rate = library.espeak_Initialize(2, 0, data_path.encode(), 0x8000)
    assert rate > 0
    blocks: list[NDArray[np.int16]] = []

    def keep(samples: Any, count: int, _: object) -> int:
        if samples and count:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _SPOKEN(keep)
    library.espeak_SetSynthCallback(callback)
    content = text.encode()
    library.espeak_Synth(content, len(content) + 1, 0, 1, 0, 1, None, None)
    library.espeak_Synchronize()
    audio = np.concatenate(blocks).astype(np.float32) / 2**15
    times = np.arange(0, len(audio) / rate, 1 / RATE)
    return np.interp(times, np.arange(len(audio)) / rate, audio).astype(np.float32)
