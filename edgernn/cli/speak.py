"""`edgernn speak`: text to sound, to a file or a loudspeaker, as it is made."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgernn.cli.console import print_json, print_message, print_text
from edgernn.cli.options import Engine, Force, Json, Providers, Threads, engine_name
from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from edgernn_runtime.voice import Voice
    from edgernn_runtime.voice.spectrogram import Samples


def speak(
    voice: Annotated[Path, typer.Argument(help="The folder of a voice.", metavar="VOICE")],
    text: Annotated[str, typer.Argument(help="What is said.", metavar="TEXT")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A .wav file to write.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Play it while it is made; needs edgernn[audio].")] = False,
    language: Annotated[str | None, typer.Option(help="What the voice must speak.")] = None,
    griffin_lim: Annotated[
        bool, typer.Option("--griffin-lim", help="Leave out the vocoder: phases by Griffin and Lim, all at once.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the noise.")] = 0,
    engine: Engine = None,
    provider: Providers = None,
    threads: Threads = 1,
    force: Force = False,
    json: Json = False,
) -> None:
    """Say a text: numbers are spelled out, punctuation makes pauses."""
    from edgernn_runtime.files import check_target
    from edgernn_runtime.voice import load_voice
    from edgernn_runtime.voice.clock import Clock
    from edgernn_runtime.voice.wav import write_wav

    if (output is None) == (not live):
        raise InputError("say where the sound goes: either -o FILE.wav or --live")
    if output is not None:
        if output.suffix != ".wav":
            raise InputError(f"{output} must end in .wav")
        check_target(output, overwrite=force)
    loaded = load_voice(
        voice, language=language, engine=engine_name(engine), providers=provider or ["cpu"], threads=threads
    )
    clock = Clock(loaded.rate_hz)
    sound = clock.pass_on(_plain(loaded, text, seed) if griffin_lim else loaded.speak(text, seed=seed))
    if output is not None:
        write_wav(output, sound, rate_hz=loaded.rate_hz, overwrite=force)
    else:
        from edgernn.speech.loudspeaker import play

        play(sound, rate_hz=loaded.rate_hz)
    timing = clock.timing
    if json:
        print_json({"path": None if output is None else str(output), "seed": seed, **asdict(timing)})
        return
    if output is not None:
        print_text(str(output))
    print_message(
        f"{timing.seconds:.2f} s of sound, the first after {timing.first_sound_ms:.1f} ms, {timing.rtf:.2f} of real "
        f"time, p99 {timing.p99_us:,.0f} us for pieces of {timing.piece_us:,.0f} us"
    )


def _plain(voice: "Voice", text: str, seed: int) -> "Iterator[Samples]":
    yield voice.speak_plainly(text, seed=seed)
