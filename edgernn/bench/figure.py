"""The figure of a benchmark: the time of a step over the hidden size, a panel for each cell and batch."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import product
from typing import Final, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from edgernn.bench.record import Record, Row

_NAMELESS: Final = {"Creator": None, "Date": None, "Format": None, "Type": None}
_LINES: Final[Mapping[str, Literal["-", "--", ":"]]] = {"float32": "-", "int8": "--", "int4": ":"}
_INK: Final[Mapping[str, str]] = {"edgernn": "black", "edgernn-native": "crimson"}


def bench_figure(record: Record) -> Figure:
    """Return the figure: a column for each cell, a row for each batch and number of threads, log-log.

    A color stands for a peer and a kind of line for a precision. The lines of edgernn are thick: black, and red where
    it is compiled.
    """
    cells = list(dict.fromkeys(row.cell for row in record.rows))
    settings = list(dict.fromkeys((row.batch, row.threads) for row in record.rows))
    size = (2.6 + 4.4 * len(cells), 0.8 + 3.6 * len(settings))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(settings), len(cells), squeeze=False, sharex=True, sharey="row")
    colors = _colors(record.peers)
    for (i, (batch, threads)), (j, cell) in product(enumerate(settings), enumerate(cells)):
        shown = [row for row in record.rows if (row.cell, row.batch, row.threads) == (cell, batch, threads)]
        _draw(panels[i, j], shown, colors)
        panels[i, j].set_title(f"{cell.upper()}, batch {batch}, {threads} thread{'s' * (threads > 1)}", fontsize=10)
    for panel in panels[:, 0]:
        panel.set_ylabel("step, us (p50)")
    for panel in panels[-1]:
        panel.set_xlabel("hidden")
    figure.legend(handles=_legend(record, colors), loc="outside right center", fontsize=9, frameon=False)
    return figure


def picture(figure: Figure, form: Literal["png", "svg"]) -> bytes:
    """Return a figure as a PNG, or as an SVG that is the same for the same figure."""
    content = BytesIO()
    with rc_context({"svg.hashsalt": "bench"}):
        figure.savefig(content, format=form, dpi=100, metadata=_NAMELESS if form == "svg" else None)
    return content.getvalue()


def _draw(panel: Axes, rows: Sequence[Row], colors: Mapping[str, str]) -> None:
    """Draw a line for each peer and precision."""
    for precision, (peer, color) in product(_LINES, colors.items()):
        points = sorted(
            (row.hidden, row.results[peer]) for row in rows if row.precision == precision and peer in row.results
        )
        if not points:
            continue
        sizes, times = zip(*points, strict=True)
        width, marker, height = (2.4, 4, 3) if peer in _INK else (1.3, 3, 2)
        panel.plot(
            sizes, times, color=color, linestyle=_LINES[precision], linewidth=width, marker="o", markersize=marker,
            zorder=height,
        )  # fmt: skip
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    hidden = sorted({row.hidden for row in rows})
    panel.set_xticks(hidden, [str(each) for each in hidden])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.grid(alpha=0.3, which="both", linewidth=0.5)


def _colors(peers: Sequence[str]) -> Mapping[str, str]:
    others = [peer for peer in peers if peer not in _INK]
    return {peer: _INK.get(peer) or f"C{others.index(peer)}" for peer in peers}


def _legend(record: Record, colors: Mapping[str, str]) -> list[Line2D]:
    """Return an entry for each peer, then one for each precision."""
    precisions = dict.fromkeys(row.precision for row in record.rows if row.results)
    peers = [Line2D([], [], color=color, linewidth=2.4, label=peer) for peer, color in colors.items()]
    return [*peers, *(Line2D([], [], color="gray", linestyle=_LINES[each], label=each) for each in precisions)]
