"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ModelFile = Annotated[Path, typer.Argument(help="A .onnx file that edgernn exported.", metavar="MODEL")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output file.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="A UTF-8 text file, or an .npy of frames; without it, the validation text of the run that MODEL lies in, "
        "or random frames.",
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
