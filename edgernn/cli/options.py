"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from edgernn_export.quality import Metric
    from edgernn_runtime.engines.opening import EngineName


class EngineChoice(StrEnum):
    """What can compute the steps of a model."""

    ONNXRUNTIME = "onnxruntime"
    NATIVE = "native"


ModelPath = Annotated[
    Path, typer.Argument(help="A .onnx file that edgernn exported, or the folder of a bundle.", metavar="MODEL")
]
RunnablePath = Annotated[
    Path,
    typer.Argument(
        help="A .onnx file that edgernn exported, a library that it compiled, or the folder of a bundle.",
        metavar="MODEL",
    ),
]
Engine = Annotated[
    EngineChoice | None,
    typer.Option(
        help="What computes the steps: onnxruntime, or native, the code that `edgernn compile MODEL --build --cache` "
        "made (default: native for a library).",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output file.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="A UTF-8 text file, an .npy of frames, or an .npz recording; without it, what the run that MODEL lies in "
        "keeps for validation, or random inputs where no loss is promised.",
    ),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        help="What to calibrate on, files as for --data; without it, the training data that MODEL's run keeps, or, if "
        "MODEL must be calibrated, half of what is measured on.",
    ),
]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="A loss of your own, smaller is better: a function of an engine and a recording.",
        metavar="MODULE:FUNCTION",
    ),
]
_LOSS = typer.Option(
    help="The largest loss, held with 99.9% confidence: 0.5% of perplexity or likelihood, or 35dB for signals.",
    metavar="LOSS",
)
MaxLoss = Annotated[str | None, _LOSS]
RequiredLoss = Annotated[str, _LOSS]
MaxTokens = Annotated[int, typer.Option(min=2, help="Tokens or steps to measure quality on at most.")]
Providers = Annotated[
    list[str] | None,
    typer.Option("--provider", help="Execution provider, may be repeated in order of preference (default cpu)."),
]
Threads = Annotated[int, typer.Option("--threads", help="Threads inside one operator.")]


def engine_name(choice: EngineChoice | None) -> "EngineName | None":
    """Return an engine as `load` takes it."""
    return None if choice is None else choice.value


def find_metric(name: str | None) -> "Metric | None":
    """Return the metric that `module:function` names; an InputError if there is none."""
    if name is None:
        return None
    from edgernn.importing import import_named

    found = import_named(name)
    if not callable(found):
        raise InputError(f"{name} is no function of an engine and a recording")
    return cast("Metric", found)


def default_target(model: Path, word: str) -> Path:
    """Return where a form of a model is written without `--output`: beside it, with a word in its name.

    >>> default_target(Path("run/model.onnx"), "int8").name
    'model.int8.onnx'
    """
    if model.is_dir():
        return model.with_name(f"{model.name}.{word}")
    return model.with_name(f"{model.stem}.{word}{model.suffix}")


def given(context: typer.Context) -> list[str]:
    """Return the names of the parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
