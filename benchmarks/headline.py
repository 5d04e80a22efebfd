"""The tables of the benchmark in README.md and docs, made of benchmarks/results.json and benchmarks/compiled.json.

python benchmarks/headline.py             # print the part of README.md
python benchmarks/headline.py --all       # print the part of docs/benchmarks.md
python benchmarks/headline.py --compiled  # print the part of docs/compile.md, which README.md has as well
python benchmarks/headline.py --write     # put all in their places
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgernn.bench.record import OURS, Record, Row, read_record

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results.json"
COMPILED: Final = ROOT / "benchmarks" / "compiled.json"

_NATIVE: Final = OURS[1]

PRECISIONS: Final = ("float32", "int8", "int4")

_CELLS: Final = {"lstm": "LSTM", "gru": "GRU"}


def headline(record: Record) -> str:
    """Return one step at batch 1 on one thread: edgernn beside torch eager and the best of all others."""
    rows = {(row.cell, row.hidden, row.precision): row for row in record.rows if (row.batch, row.threads) == (1, 1)}
    others = " | ".join(f"best other, {precision} | edgernn {precision}" for precision in PRECISIONS)
    table = [f"| cell | hidden | torch eager | {others} |", "|---|---|---|---|---|---|---|---|---|"]
    for cell, hidden in dict.fromkeys((cell, hidden) for cell, hidden, _ in rows):
        found = [rows.get((cell, hidden, precision)) for precision in PRECISIONS]
        columns = [text for row in found for text in (_best_other(row), _time(row, OURS[0]))]
        table.append(f"| {_CELLS[cell]} | {hidden} | {_time(found[0], 'torch-eager')} | {' | '.join(columns)} |")
    return _conditions(record, "batch 1, one thread") + "\n".join(table) + "\n"


def everything(record: Record) -> str:
    """Return a table for each batch and number of threads: every peer in every case."""
    parts = [_conditions(record, "every case")]
    for batch, threads in dict.fromkeys((row.batch, row.threads) for row in record.rows):
        rows = [row for row in record.rows if (row.batch, row.threads) == (batch, threads)]
        parts += [f"Batch {batch}, {threads} thread{'s' * (threads > 1)}:\n", _table(rows, record.peers)]
    text = "Largest error of a logit against torch, as a share of the largest logit, over all cases:\n"
    return "\n".join([*parts, text, _errors(record)])


def compiled(record: Record) -> str:
    """Return one step at batch 1 on one thread, compiled to C, beside others in their fastest precision."""
    others = [peer for peer in record.peers if peer != _NATIVE]
    names = " | ".join([*others, *(f"compiled, {precision}" for precision in PRECISIONS)])
    table = [f"| cell | hidden | {names} |", "|---|---|" + "---|" * (len(others) + len(PRECISIONS))]
    rows = {(row.cell, row.hidden, row.precision): row for row in record.rows if (row.batch, row.threads) == (1, 1)}
    for cell, hidden in dict.fromkeys((cell, hidden) for cell, hidden, _ in rows):
        found = [rows.get((cell, hidden, precision)) for precision in PRECISIONS]
        columns = [_quickest(found, peer) for peer in others]
        table.append(
            f"| {_CELLS[cell]} | {hidden} | {' | '.join([*columns, *(_time(row, _NATIVE) for row in found)])} |"
        )
    return _conditions(record, "batch 1, one thread") + "\n".join(table) + "\n"


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a page that is made of a record.

    Attributes:
        page: The page.
        name: What the markers around the part are called.
        source: The record's file.
        make: What makes the part.
    """

    page: Path
    name: str
    source: Path
    make: Callable[[Record], str]


PLACES: Final = (
    Place(ROOT / "README.md", "bench", RESULTS, headline),
    Place(ROOT / "README.md", "compiled", COMPILED, compiled),
    Place(ROOT / "docs" / "benchmarks.md", "bench", RESULTS, everything),
    Place(ROOT / "docs" / "compile.md", "speed", COMPILED, compiled),
)


def parts(page: str, name: str = "bench") -> tuple[str, str, str]:
    """Return a page in three: up to the first marker, what lies between the markers, and the rest."""
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    before, begin, rest = page.partition(first)
    between, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"the page lacks the markers {first.strip()} and {last.strip()}")
    return before + begin, between, end + after


def _conditions(record: Record, what: str) -> str:
    machine = record.machine
    versions = ", ".join(f"{name} {version.partition('+')[0]}" for name, version in machine.versions.items())
    return (
        f"p50 of a step in microseconds, two layers, 128 tokens, {what}; {machine.cpu}, {machine.cores} cores, "
        f"Python {machine.python}; {versions}:\n\n"
    )


def _table(rows: Sequence[Row], peers: Sequence[str]) -> str:
    lines = [f"| cell | hidden | precision | {' | '.join(peers)} |", "|---|---|---|" + "---|" * len(peers)]
    for row in rows:
        times = [f"**{_time(row, peer)}**" if peer == row.best else _time(row, peer) for peer in peers]
        lines.append(f"| {_CELLS[row.cell]} | {row.hidden} | {row.precision} | {' | '.join(times)} |")
    return "\n".join(lines) + "\n"


def _errors(record: Record) -> str:
    lines = [f"| precision | {' | '.join(record.peers)} |", "|---|" + "---|" * len(record.peers)]
    for precision in PRECISIONS:
        checks = [row.checked for row in record.rows if row.precision == precision]
        found = [[check[peer] for check in checks if peer in check] for peer in record.peers]
        lines.append(f"| {precision} | {' | '.join(f'{max(each):.1e}' if each else '-' for each in found)} |")
    return "\n".join(lines) + "\n"


def _time(row: Row | None, peer: str) -> str:
    return "-" if row is None or peer not in row.results else f"{row.results[peer]:.1f}"


def _best_other(row: Row | None) -> str:
    others = {} if row is None else {peer: time for peer, time in row.results.items() if peer not in OURS}
    if not others:
        return "-"
    best = min(others, key=others.__getitem__)
    return f"{others[best]:.1f} ({best})"


def _quickest(rows: Sequence[Row | None], peer: str) -> str:
    """Return the shortest time of a peer, and its precision."""
    times = {row.precision: row.results[peer] for row in rows if row is not None and peer in row.results}
    if not times:
        return "-"
    best = min(times, key=times.__getitem__)
    return f"{times[best]:.1f} ({best})"


def main() -> None:
    """Print a part, or write all."""
    shown = {(): headline, ("--all",): everything, ("--compiled",): compiled}
    asked = tuple(sys.argv[1:])
    if asked == ("--write",):
        for place in PLACES:
            before, _, after = parts(place.page.read_text(encoding="utf-8"), place.name)
            place.page.write_text(before + place.make(read_record(place.source)) + after, encoding="utf-8")
    elif asked in shown:
        sys.stdout.write(shown[asked](read_record(COMPILED if asked == ("--compiled",) else RESULTS)))
    else:
        raise SystemExit(f"usage:\n{__doc__}")


if __name__ == "__main__":
    main()
