"""The record of a search: what its `search.json` holds, and what `edgernn search --json` prints."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgernn.search.answer import Answer
from edgernn.search.frontier import choice, default_of, frontier
from edgernn.search.notes import Note
from edgernn.search.plan import Plan


def to_record(folder: Path, plan: Plan, notes: Sequence[Note], answer: Answer | None) -> dict[str, Any]:
    """Return what a search found as JSON; without an answer, no trial is within the limit."""
    counts = Counter(each.ending for each in notes)
    chosen, default = choice(notes, plan.max_step_us), default_of(notes)
    return {
        "search_dir": str(folder),
        **plan.to_json(),
        "trials": {ending.replace(" ", "_"): count for ending, count in sorted(counts.items())},
        "default": None if default is None else _trial(default),
        "frontier": [_trial(each) for each in frontier(notes)],
        "chosen": None if chosen is None else _trial(chosen),
        "model": None if answer is None else str(answer.model),
        "int8": None if answer is None else str(answer.int8),
        "bytes": None if answer is None else answer.bytes,
        "bytes_int8": None if answer is None else answer.bytes_int8,
        "int8_step_us": None if answer is None else answer.step_us,
        "int8_loss": None if answer is None else answer.loss,
    }


def _trial(note: Note) -> dict[str, Any]:
    return {
        "trial": note.number,
        "values": note.values,
        "valid_loss": note.valid_loss,
        "step_us": note.step_us,
        "measured_us": note.p50_us,
        "bytes": note.bytes,
        "run_dir": note.folder,
        "host": note.host,
    }
