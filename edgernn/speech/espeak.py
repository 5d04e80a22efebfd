"""eSpeak NG: a voice that says any text and tells which phonemes it said when; it makes data, and never ships."""

import ctypes
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.errors import DataError, MissingExtraError

SPEAK_RATE_HZ: Final = 22_050

_RETRIEVAL, _PHONEME_EVENTS_AND_NO_EXIT = 2, 0x8001
_RATE, _PITCH = 1, 3  # espeakRATE in words a minute, espeakPITCH from 0 to 100
_UTF_8, _CHARACTERS = 1, 1
_END_OF_LIST, _PHONEME = 0, 7
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a voice said.

    Attributes:
        samples: int16 `[n]` at `SPEAK_RATE_HZ`.
        phonemes: Each phoneme with the sample that it begins at; pauses are `_:` or `_`.
    """

    samples: NDArray[np.int16]
    phonemes: tuple[tuple[str, int], ...]


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def speak(text: str, *, voice: str = "en-us+edward", words_per_minute: int = 150, pitch: int = 50) -> Spoken:
    """Return a text as eSpeak NG says it; one thread at a time, as the library wants it.

    Args:
        text: The text.
        voice: A voice of the library, and a variant behind a plus sign.
        words_per_minute: How fast it speaks.
        pitch: 0 to 100.

    Raises:
        MissingExtraError: If the library is not installed.
        DataError: If there is no such voice, or it says nothing.
    """
    with _LOCK:
        library = _library()
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DataError(f"eSpeak NG has no voice {voice!r}; try en-us, or another of its languages")
        library.espeak_SetParameter(_RATE, words_per_minute, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        pieces: list[NDArray[np.int16]] = []
        phonemes: list[tuple[str, int]] = []

        def take(samples: Any, count: int, events: Any) -> int:  # noqa: ANN401, pointers of ctypes
            if samples and count:
                pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
            i = 0
            while events[i].type != _END_OF_LIST:
                if events[i].type == _PHONEME:
                    raw = ctypes.string_at(ctypes.addressof(events[i].id), 8)
                    phonemes.append((raw.split(b"\0")[0].decode(), events[i].sample))
                i += 1
            return 0

        callback = _CALLBACK(take)
        library.espeak_SetSynthCallback(callback)
        encoded = text.encode()
        library.espeak_Synth(encoded, len(encoded) + 1, 0, _CHARACTERS, 0, _UTF_8, None, None)
        library.espeak_Synchronize()
    if not pieces:
        raise DataError(f"eSpeak NG says nothing for {text!r}")
    return Spoken(np.concatenate(pieces), tuple(phonemes))


@cache
def _library() -> Any:  # noqa: ANN401, a library of ctypes
    try:
        import espeakng_loader  # noqa: PLC0415, an optional extra
    except ImportError as error:
        raise MissingExtraError("speech is made by eSpeak NG; install edgernn[speech]") from error
    path = espeakng_loader.get_data_path()
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    if library.espeak_Initialize(_RETRIEVAL, 0, path.encode(), _PHONEME_EVENTS_AND_NO_EXIT) <= 0:
        raise DataError(f"eSpeak NG cannot read its voices in {path}; its folder's name may be too long")
    return library
