"""`edgernn voice`: three bundles put together to a voice."""

from pathlib import Path
from typing import Annotated

import typer

from edgernn.cli.console import print_json, print_text
from edgernn.cli.options import Force, Json
from edgernn_runtime.errors import InputError


def voice(
    phonemes: Annotated[Path, typer.Option(help="A bundle of the task seq2seq, from words to phonemes.")],
    acoustic: Annotated[Path, typer.Option(help="A bundle of the task acoustic.")],
    vocoder: Annotated[Path, typer.Option(help="A bundle of the task vocoder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder of the voice.")],
    language: Annotated[
        str | None, typer.Option(help="What it speaks; without it, what the acoustic model's run was trained on.")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Put a voice together that `edgernn speak` and devices load."""
    from edgernn.speech.voice_folder import write_voice

    spoken = language or _trained_on(acoustic)
    write_voice(output, phonemes=phonemes, acoustic=acoustic, vocoder=vocoder, language=spoken, overwrite=force)
    size = sum(path.stat().st_size for path in output.rglob("*.onnx"))
    if json:
        print_json({"path": str(output), "language": spoken, "bytes": size})
    else:
        print_text(f"{output}: a voice that speaks {spoken}, {size / 1e6:.1f} MB")


def _trained_on(acoustic: Path) -> str:
    """Return what the run speaks that a bundle lies in."""
    from edgernn.training import Run
    from edgernn_runtime.bundle_spec import read_bundle

    read_bundle(acoustic)
    run = acoustic.absolute().parent
    if not (run / "run.json").is_file():
        raise InputError(f"{run} is no run folder, so say what the voice speaks: --language en-us")
    return str(Run.open(run).facts["language"])
