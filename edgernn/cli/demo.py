"""`edgernn demo`: the whole road in a few minutes, on this machine."""

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edgernn.cli.console import new_table, print_message, print_table, print_text
from edgernn.cli.recordings import find_recording
from edgernn_runtime.errors import OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROMPT: Final = "The "

_PERPLEXITY_TOKENS: Final = 40_000
_TIMED_STEPS: Final = 3000
_TIMED_TOKENS: Final = 3000


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder for the run and its models.")] = Path(
        "demo"
    ),
    max_seconds: Annotated[float, typer.Option(min=1, help="Seconds of training.")] = 60,
    hidden: Annotated[int, typer.Option(min=1, help="Features of each layer.")] = 256,
) -> None:
    """Take the whole road on this machine, in minutes."""
    if (output / "run.json").exists():
        raise OutputExistsError(f"{output} already holds a run; remove it, or name another folder with -o")
    started = time.monotonic()
    model, int8, int4 = (output / name for name in ("model.onnx", "model.int8.onnx", "model.int4.onnx"))
    _run("train", "text", "--hidden", str(hidden), "--max-seconds", f"{max_seconds:g}", "-o", str(output))
    _run("export", str(output), "--sample", "temperature")
    _run("verify", str(model), "--against", str(output))
    for precision, path in (("int8", int8), ("int4", int4)):
        _run("quantize", str(model), "--precision", precision, "-o", str(path))
    for path in (model, int8, int4):
        _run("generate", str(path), "--prompt", PROMPT, "--max-tokens", "300", "--temperature", "0.7", "--seed", "7")
    _run("profile", str(model), str(int8), str(int4))
    print_text("")
    print_text("all together, measured now:")
    _print_table(output, (model, int8, int4))
    print_text(f"everything lies in {output}; it took {time.monotonic() - started:.0f} s")


def _run(*arguments: str) -> None:
    """Run a command of this program, shown as a user would type it, and end with its exit code if it fails."""
    print_text("")
    print_text("$ edgernn " + " ".join(f'"{each}"' if " " in each else each for each in arguments))
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "edgernn", *arguments], check=False)  # noqa: S603, our own command
    if done.returncode:
        print_message(f"the demo ends here: edgernn {arguments[0]} failed")
        raise typer.Exit(done.returncode)


def _print_table(run: Path, paths: "Sequence[Path]") -> None:
    import torch

    from edgernn.eager import eager_steppers
    from edgernn.models import RecurrentLM
    from edgernn.training import Run
    from edgernn_export.likelihood import perplexity
    from edgernn_runtime import load
    from edgernn_runtime.engines.ort import OrtEngine
    from edgernn_runtime.profiling import Latency, interleave, stepper

    torch.set_num_threads(1)
    models = [load(path) for path in paths]
    trained = Run.open(run).load_model()
    assert isinstance(trained, RecurrentLM)  # noqa: S101, the demo trains text
    eager = list(eager_steppers(trained).values())
    taken = [Latency.of(each) for each in interleave([*eager, *map(stepper, models)], _TIMED_STEPS)]
    best = min(taken[: len(eager)], key=lambda latency: latency.p50)
    recording = find_recording(models[0].spec, paths[0], data=None, limit=_PERPLEXITY_TOKENS)

    table = new_table(
        "model", "bytes", "perplexity", "step p50 us", "p99 us", "generated tokens/s", "times faster than eager"
    )
    table.add_row("torch eager", "-", "-", f"{best.p50:.1f}", f"{best.p99:.1f}", "-", "1.0")
    for path, latency in zip(paths, taken[len(eager) :], strict=True):
        table.add_row(
            path.name,
            f"{path.stat().st_size:,}",
            f"{perplexity(OrtEngine(path), recording):.4f}",
            f"{latency.p50:.1f}",
            f"{latency.p99:.1f}",
            f"{_tokens_per_s(path):,.0f}",
            f"{best.p50 / latency.p50:.1f}",
        )
    print_table(table)


def _tokens_per_s(path: Path) -> float:
    from edgernn_runtime import Sampler, load

    stream = load(path).stream(seed=7, sampler=Sampler(0.8))
    stream.prefill(PROMPT)
    started = time.perf_counter()
    count = sum(1 for _ in stream.generate(_TIMED_TOKENS))
    return count / (time.perf_counter() - started)
