"""What a run of the text task is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from edgernn.tasks.settings import Setting, Settings


@dataclass(frozen=True, kw_only=True)
class TextSettings(Settings):
    """What a text run is told."""

    data: Annotated[
        Path | None,
        Setting("A UTF-8 file, or a folder of .txt and .md files; without it, Python's own help texts."),
    ] = None
    codec: Annotated[Literal["characters", "bytes"], Setting("Tokens are characters, or bytes of UTF-8.")] = (
        "characters"
    )
    batch: Annotated[int, Setting("Lanes of the text read at the same time.", least=1)] = 32
    segment: Annotated[int, Setting("Steps that gradients flow back through.", least=1)] = 64
