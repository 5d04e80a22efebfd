"""`edgernn voice`: three bundles put together to a voice."""

from pathlib import Path
from typing import Annotated

import typer

from edgernn.cli.console import print_json, print_text
from edgernn.cli.options import Force, Json


def voice(
    phonemes: Annotated[Path, typer.Option(help="A bundle of the task seq2seq, from words to phonemes.")],
    acoustic: Annotated[Path, typer.Option(help="A bundle of the task acoustic.")],
    vocoder: Annotated[Path, typer.Option(help="A bundle of the task vocoder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder of the voice.")],
    language: Annotated[str, typer.Option(help="What it speaks.")] = "en-us",
    force: Force = False,
    json: Json = False,
) -> None:
    """Put a voice together that `edgernn speak` and devices load."""
    from edgernn.speech.voice_folder import write_voice

    write_voice(output, phonemes=phonemes, acoustic=acoustic, vocoder=vocoder, language=language, overwrite=force)
    size = sum(path.stat().st_size for path in output.rglob("*.onnx"))
    if json:
        print_json({"path": str(output), "language": language, "bytes": size})
    else:
        print_text(f"{output}: a voice that speaks {language}, {size / 1e6:.1f} MB")
