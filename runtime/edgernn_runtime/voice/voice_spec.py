"""VoiceSpec: what a voice says of itself; the content of a `voice.json`."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from edgernn_runtime.errors import ModelFileError, SpecError

VOICE_FILE: Final = "voice.json"
VOICE_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class VoiceSpec:
    """The parts of a voice, each a bundle in the voice's own folder.

    Attributes:
        language: What it speaks, as in `en-us`.
        phonemes: The folder of the bundle that turns words into phonemes.
        acoustic: The folder of the one that turns phonemes into frames.
        vocoder: The folder of the one that turns frames into samples.
    """

    language: str
    phonemes: str = "phonemes"
    acoustic: str = "acoustic"
    vocoder: str = "vocoder"


def voice_to_json(voice: VoiceSpec) -> str:
    """Return a voice as the text of its `voice.json`."""
    return json.dumps({"version": VOICE_VERSION, **asdict(voice)}, indent=2) + "\n"


def read_voice(folder: Path) -> VoiceSpec:
    """Return what the `voice.json` in a folder says.

    Raises:
        ModelFileError: If it cannot be read.
        SpecError: If it is of another version, or names a folder outside its own.
    """
    path = folder / VOICE_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        if folder.is_dir() and not path.exists():
            raise ModelFileError(f"{folder} holds no voice (no {VOICE_FILE}); make one with: edgernn voice") from error
        raise ModelFileError(f"{path} could not be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is no JSON: {error}") from error
    names = {field.name for field in fields(VoiceSpec)}
    if not isinstance(content, dict) or content.keys() != names | {"version"}:
        raise SpecError(f"{path} is no voice: it must hold version, {', '.join(sorted(names))}")
    version = content.pop("version")
    if version != VOICE_VERSION:
        raise SpecError(f"{path} has version {version!r}; this code reads version {VOICE_VERSION}")
    for name, value in content.items():
        if not isinstance(value, str) or not value:
            raise SpecError(f"{path}: {name} must be a name, got {value!r}")
        if name != "language" and (Path(value).name != value or value == ".."):
            raise SpecError(f"{path}: {name} must be a folder in the voice's own, got {value!r}")
    return VoiceSpec(**content)
