"""`edgernn bench`: the same weights through edgernn and through other runtimes, side by side."""

import json as json_format
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast, get_args

import typer
from rich.table import Table

from edgernn.cli.console import messages, new_table, print_json, print_table, print_text
from edgernn.cli.options import Force, Json, given
from edgernn_runtime.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from edgernn.bench.case import Case, Precision
    from edgernn.bench.peer import Peer
    from edgernn.bench.record import Record, Row

_PICTURES: Final = (".svg", ".png")
_LIST: Final = "A,B,..."


def bench(
    context: typer.Context,
    cells: Annotated[str, typer.Option(help="Cells: lstm, gru.", metavar=_LIST)] = "lstm,gru",
    hidden: Annotated[str, typer.Option(help="Features of each layer.", metavar=_LIST)] = "64,128,256,512,1024,2048",
    batch: Annotated[str, typer.Option(help="Rows of a step.", metavar=_LIST)] = "1,64",
    threads: Annotated[str, typer.Option(help="Threads inside one operator.", metavar=_LIST)] = "1,2",
    precisions: Annotated[str, typer.Option(help="Precisions.", metavar=_LIST)] = "float32,int8,int4",
    peers: Annotated[str | None, typer.Option(help="Who takes part (default all).", metavar=_LIST)] = None,
    seconds_per_case: Annotated[
        float, typer.Option(min=0, help="How long the peers of a case are timed, 50 steps of each at least.")
    ] = 10,
    saved: Annotated[Path | None, typer.Option("--from", help="Show what -o saved, and measure nothing.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Save the figures as JSON.")] = None,
    resume: Annotated[
        bool, typer.Option(help="Keep what -o holds already, and measure the cases that it lacks.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the figures, as .svg or .png.")] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure a step beside other runtimes.

    All peers of a case run in turns in one process. Each is checked against torch before it is timed; one that is not
    installed is named and left out.
    """
    if resume and (output is None or saved is not None):
        raise InputError("--resume goes on with the file that -o names, so it needs -o, and no --from")
    _check_target(output, overwrite=force or resume)
    _check_plot(plot, overwrite=force)
    from edgernn.bench.record import read_record

    if saved is not None:
        foreign = [name for name in given(context) if name not in ("saved", "output", "plot", "force", "json")]
        if foreign:
            raise InputError(f"--{foreign[0].replace('_', '-')} means nothing with --from, which measures nothing")
        record = read_record(saved).in_order()
        if output is not None:
            _save(record, output, overwrite=force)
    else:
        counts = [_numbers(hidden, "--hidden"), _numbers(batch, "--batch"), _numbers(threads, "--threads")]
        os.environ.setdefault("OMP_NUM_THREADS", str(max(counts[2])))
        from edgernn.bench.case import cases
        from edgernn.bench.registry import PEERS, find_peers

        record = _measure(
            cases(_names(cells, "--cells"), *counts),
            read_record(output) if resume and output is not None and output.exists() else None,
            find_peers(PEERS if peers is None else _names(peers, "--peers")),
            _precisions(precisions),
            seconds_per_case=seconds_per_case,
            output=output,
            overwrite=force or resume,
        )
    if plot is not None:
        _draw(record, plot, overwrite=force)
    if json:
        from edgernn.bench.record import to_record

        print_json(to_record(record))
    else:
        print_table(bench_table(record))
        for line in _absent(record):
            print_text(line)


def bench_table(record: "Record") -> Table:
    """Return a benchmark as a table of p50s in microseconds, the fastest of a row marked.

    The last column says how many times as fast as the best other peer edgernn is.
    """
    table = new_table("cell", "hidden", "batch", "threads", "precision", *record.peers, "times faster than best other")
    for row in record.rows:
        lead = row.lead()
        table.add_row(
            row.cell,
            *map(str, (row.hidden, row.batch, row.threads)),
            row.precision,
            *(_shown(row, peer) for peer in record.peers),
            "-" if lead is None else f"{lead:.2f}x",
        )
    return table


def _shown(row: "Row", peer: str) -> str:
    if peer in row.results:
        return f"{row.results[peer]:.1f}{'*' if peer == row.best else ' '}"
    return "failed " if peer in row.failed else "- "


def _absent(record: "Record") -> list[str]:
    """Return a line for each reason why a peer was left out, and for each failure."""
    lines: dict[str, None] = {}
    for row in record.rows:
        for peer, reason in row.missing.items():
            lines[f"left out: {peer}: {reason}"] = None
        for peer, reason in row.failed.items():
            case = f"{row.cell} {row.hidden}, batch {row.batch}, threads {row.threads}, {row.precision}"
            lines[f"failed: {peer} ({case}): {reason}"] = None
    return list(lines)


def _names(text: str, option: str) -> list[str]:
    """Return the values of a list, each once; an InputError if there is none."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise InputError(f"{option} names nothing; nothing is left to measure")
    return names


def _numbers(text: str, option: str) -> list[int]:
    names = _names(text, option)
    try:
        return [int(name) for name in names]
    except ValueError as error:
        raise InputError(f"{option} must be integers with commas between them, got {text!r}") from error


def _precisions(text: str) -> "list[Precision]":
    from edgernn.bench.case import PRECISIONS, Precision

    names = _names(text, "--precisions")
    for name in names:
        if name not in get_args(Precision):
            raise InputError(f"no precision is called {name}; there are {', '.join(PRECISIONS)}")
    return cast("list[Precision]", names)


def _check_target(target: Path | None, *, overwrite: bool) -> None:
    """Check what is to be written before anything is measured."""
    from edgernn_runtime.files import check_target

    if target is None:
        return
    check_target(target, overwrite=overwrite)
    if not os.access(target.absolute().parent, os.W_OK):
        raise InputError(f"the folder {target.absolute().parent} may not be written to")


def _check_plot(plot: Path | None, *, overwrite: bool) -> None:
    """Check that the figures can be drawn before anything is measured."""
    _check_target(plot, overwrite=overwrite)
    if plot is None:
        return
    if plot.suffix not in _PICTURES:
        raise InputError(f"--plot must name an .svg or .png file, got {plot}")
    if find_spec("matplotlib") is None:
        raise MissingExtraError("--plot needs matplotlib; install edgernn[report]")


def _measure(
    cases: "list[Case]",
    before: "Record | None",
    peers: "list[Peer]",
    precisions: "list[Precision]",
    *,
    seconds_per_case: float,
    output: Path | None,
    overwrite: bool,
) -> "Record":
    """Return what was measured before, and what is measured now of the other cases, saved after each row."""
    from edgernn.bench.record import Machine, Record
    from edgernn.bench.running import run

    if not any(precision in peer.precisions for precision in precisions for peer in peers):
        raise InputError(
            f"{', '.join(peer.name for peer in peers)} has no {' or '.join(precisions)}; nothing is left to measure"
        )
    machine = Machine.here(package for peer in peers for package in peer.packages)
    if before is not None and before.machine != machine:
        raise InputError(f"{output} was measured elsewhere, or with other peers or versions; measure all of it anew")
    rows = [] if before is None else list(before.rows)
    cases = [case for case in cases if not _is_measured(case, rows, peers, precisions)]
    again = {(case.cell, case.hidden, case.batch, case.threads) for case in cases}
    rows = [
        row
        for row in rows
        if row.precision not in precisions or (row.cell, row.hidden, row.batch, row.threads) not in again
    ]
    with messages.status("") as status:
        show: Callable[[str], None] = status.update if messages.is_terminal else lambda _: None
        for row in run(cases, peers, precisions, seconds_per_case=seconds_per_case, progress=show):
            rows.append(row)
            if output is not None:
                _save(Record(machine, tuple(rows)).in_order(), output, overwrite=overwrite or len(rows) > 1)
    record = Record(machine, tuple(rows)).in_order()
    if not any(row.results for row in rows):
        raise InputError("nothing could be measured: " + "; ".join(_absent(record)))
    return record


def _is_measured(case: "Case", rows: "list[Row]", peers: "list[Peer]", precisions: "list[Precision]") -> bool:
    """Whether every peer was measured, or named as absent, in every precision that it has."""
    named = {
        row.precision: {*row.results, *row.missing, *row.failed}
        for row in rows
        if (row.cell, row.hidden, row.batch, row.threads) == (case.cell, case.hidden, case.batch, case.threads)
    }
    return all(
        peer.name in named.get(precision, set())
        for peer in peers
        for precision in precisions
        if precision in peer.precisions
    )


def _save(record: "Record", target: Path, *, overwrite: bool) -> None:
    from edgernn.bench.record import to_record
    from edgernn_runtime.files import write_bytes

    content = json_format.dumps(to_record(record), indent=1) + "\n"
    write_bytes(target, content.encode(), overwrite=overwrite)


def _draw(record: "Record", target: Path, *, overwrite: bool) -> None:
    from edgernn.bench.figure import bench_figure, picture
    from edgernn_runtime.files import write_bytes

    write_bytes(target, picture(bench_figure(record), "svg" if target.suffix == ".svg" else "png"), overwrite=overwrite)
