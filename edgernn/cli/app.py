"""The `edgernn` command: its subcommands, and how errors become exit codes."""

import io
import os
import sys
import traceback
from typing import Annotated, Final

import typer
from typer.core import TyperGroup

from edgernn import __version__
from edgernn.cli import (
    bench,
    compile,  # noqa: A004, the command's name
    demo,
    export,
    generate,
    inspect,
    profile,
    providers,
    quantize,
    search,
    speak,
    tasks,
    train,
    tune,
    verify,
    voice,
)
from edgernn.cli.console import print_error
from edgernn_runtime.errors import EdgeRNNError, GateError

EXIT_ERROR: Final = 1
EXIT_GATE: Final = 3

COMMANDS: Final = (
    "tasks",
    "train",
    "search",
    "export",
    "verify",
    "quantize",
    "tune",
    "compile",
    "generate",
    "voice",
    "speak",
    "profile",
    "inspect",
    "providers",
    "bench",
    "demo",
)
"""The commands in the order of the road, as the help lists them."""


class _Road(TyperGroup):
    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the commands in the order of the road."""
        return sorted(super().list_commands(ctx), key=COMMANDS.index)


app = typer.Typer(
    cls=_Road,
    name="edgernn",
    help="Recurrent PyTorch models from training to a streaming edge device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("tasks")(tasks.tasks)
app.add_typer(train.app, name="train")
app.add_typer(search.app, name="search")
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("quantize")(quantize.quantize)
app.command("tune")(tune.tune)
app.command("compile")(compile.compile)
app.command("generate")(generate.generate)
app.command("voice")(voice.voice)
app.command("speak")(speak.speak)
app.command("profile")(profile.profile)
app.command("inspect")(inspect.inspect)
app.command("providers")(providers.providers)
app.command("bench")(bench.bench)
app.command("demo")(demo.demo)

_DEBUG: Final = "EDGERNN_DEBUG"


def _show_version(value: bool) -> None:  # noqa: FBT001, typer calls it so
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001, its callback does the work
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if debug:
        os.environ[_DEBUG] = "1"


def main() -> None:
    """Run the command line, and end the process with its exit code.

    0 done; 1 an expected error, in one line; 2 wrong usage; 3 it ran, and a gate that the caller set
    failed; 130 interrupted.
    """
    _use_utf8()
    try:
        app()
    except GateError as error:
        _fail(error, EXIT_GATE)
    except (EdgeRNNError, OSError) as error:
        _fail(error, EXIT_ERROR)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
            raise
        print_error("out of memory; use a smaller model or batch")
        sys.exit(EXIT_ERROR)


def _use_utf8() -> None:
    """Write UTF-8 whatever the locale says, and to nowhere where a stream was closed."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123, as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _fail(error: Exception, code: int) -> None:
    if os.environ.get(_DEBUG):
        traceback.print_exception(error)
    print_error(str(error) or type(error).__name__)
    sys.exit(code)
