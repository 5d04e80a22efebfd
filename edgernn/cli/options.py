"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ModelPath = Annotated[
    Path, typer.Argument(help="A .onnx file that edgernn exported, or the folder of a bundle.", metavar="MODEL")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output file.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="A UTF-8 text file, an .npy of frames, or an .npz recording; without it, what the run that MODEL lies in "
        "keeps for validation, or random inputs.",
    ),
]
Providers = Annotated[
    list[str] | None,
    typer.Option("--provider", help="Execution provider, may be repeated in order of preference (default cpu)."),
]
Threads = Annotated[int, typer.Option("--threads", help="Threads inside one operator.")]


def given(context: typer.Context) -> list[str]:
    """Return the names of the parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
