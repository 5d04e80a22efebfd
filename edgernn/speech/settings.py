"""What every run of speech is told."""

from dataclasses import dataclass
from typing import Annotated

from edgernn.tasks.settings import Setting, Settings


@dataclass(frozen=True, kw_only=True)
class SpeechSettings(Settings):
    """What a run of speech is told, whatever it makes of it."""

    minutes: Annotated[float, Setting("Minutes that eSpeak NG speaks.", above=0, most=600)] = 15.0
    voice: Annotated[str, Setting("The voice of eSpeak NG.")] = "en-us+edward"
