"""The tables of the benchmark in README.md and docs/benchmarks.md, made of benchmarks/results.json.

python benchmarks/headline.py           # print the part of README.md
python benchmarks/headline.py --all     # print the part of docs/benchmarks.md
python benchmarks/headline.py --write   # put both in their places
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgernn.bench.record import Record, Row, read_record

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results.json"
MARKERS: Final = ("<!-- bench -->\n", "<!-- /bench -->\n")

PRECISIONS: Final = ("float32", "int8", "int4")

_OURS: Final = "edgernn"
_CELLS: Final = {"lstm": "LSTM", "gru": "GRU"}


def headline(record: Record) -> str:
    """Return one step at batch 1 on one thread: edgernn beside torch eager and the best of all others."""
    rows = {(row.cell, row.hidden, row.precision): row for row in record.rows if (row.batch, row.threads) == (1, 1)}
    others = " | ".join(f"best other, {precision} | edgernn {precision}" for precision in PRECISIONS)
    table = [f"| cell | hidden | torch eager | {others} |", "|---|---|---|---|---|---|---|---|---|"]
    for cell, hidden in dict.fromkeys((cell, hidden) for cell, hidden, _ in rows):
        found = [rows.get((cell, hidden, precision)) for precision in PRECISIONS]
        columns = [text for row in found for text in (_best_other(row), _time(row, _OURS))]
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


PLACES: Final[Mapping[Path, Callable[[Record], str]]] = {
    ROOT / "README.md": headline,
    ROOT / "docs" / "benchmarks.md": everything,
}


def parts(page: str) -> tuple[str, str, str]:
    """Return a page in three: up to the first marker, what lies between the markers, and the rest."""
    before, begin, rest = page.partition(MARKERS[0])
    between, end, after = rest.partition(MARKERS[1])
    if not begin or not end:
        raise SystemExit(f"the page lacks the markers {' and '.join(marker.strip() for marker in MARKERS)}")
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
    others = {} if row is None else {peer: time for peer, time in row.results.items() if peer != _OURS}
    if not others:
        return "-"
    best = min(others, key=others.__getitem__)
    return f"{others[best]:.1f} ({best})"


def main() -> None:
    """Print a part, or write both."""
    record = read_record(RESULTS)
    if sys.argv[1:] == ["--write"]:
        for path, make in PLACES.items():
            before, _, after = parts(path.read_text(encoding="utf-8"))
            path.write_text(before + make(record) + after, encoding="utf-8")
    elif sys.argv[1:] == ["--all"]:
        sys.stdout.write(everything(record))
    elif not sys.argv[1:]:
        sys.stdout.write(headline(record))
    else:
        raise SystemExit(f"usage:\n{__doc__}")


if __name__ == "__main__":
    main()
