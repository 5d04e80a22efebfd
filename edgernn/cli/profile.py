"""`edgernn profile`: latency, jitter, cold start, memory and the read floor of models side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edgernn.cli.console import new_table, print_json, print_table
from edgernn.cli.options import Json, Providers, Threads
from edgernn_runtime.errors import GateError

if TYPE_CHECKING:
    from edgernn_runtime.profiling import Profile


def profile(
    models: Annotated[list[Path], typer.Argument(help="Step models, measured side by side.", metavar="MODEL...")],
    steps: Annotated[int, typer.Option(min=1, help="Timed steps of each.")] = 5000,
    provider: Providers = None,
    threads: Threads = 1,
    max_p99_us: Annotated[float | None, typer.Option(min=0, help="Fail if a model's p99 is above this.")] = None,
    json: Json = False,
) -> None:
    """Measure latency, jitter, cold start and memory.

    The floor is the time to read the weights of one step once.
    """
    from edgernn_runtime.profiling import profile as measure
    from edgernn_runtime.profiling import to_json

    measured = measure(models, steps=steps, providers=provider or ["cpu"], threads=threads)
    if json:
        print_json({"models": [to_json(each) for each in measured]})
    else:
        print_table(profile_table(measured))
    slow = [each for each in measured if max_p99_us is not None and each.step_us.p99 > max_p99_us]
    if slow:
        raise GateError(f"p99 of {slow[0].path} is {slow[0].step_us.p99:.1f} us, above {max_p99_us:g} us")


def profile_table(measured: "Sequence[Profile]") -> Table:
    """Return profiles as a table, with the first model's p50 over each model's p50."""
    table = new_table(
        "model", "p50 us", "p90", "p99", "p99.9", "jitter", "steps/s", "times faster",
        "floor us", "p50/floor", "cold start ms", "load ms", "first step ms", "peak MB",
    )  # fmt: skip
    for each in measured:
        latency = each.step_us
        table.add_row(
            str(each.path),
            *(f"{value:.1f}" for value in (latency.p50, latency.p90, latency.p99, latency.p999, each.jitter_us)),
            f"{1e6 / latency.mean:,.0f}",
            f"{measured[0].step_us.p50 / latency.p50:.2f}",
            f"{each.floor_us:.1f}",
            f"{each.floor_ratio:.2f}",
            f"{each.cold.total_ms:.0f}",
            f"{each.cold.load_ms:.1f}",
            f"{each.cold.first_step_ms:.1f}",
            f"{each.cold.peak_rss_bytes / 1e6:.0f}",
        )
    return table
