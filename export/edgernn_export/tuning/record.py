"""The record of a tuning: all figures of a report, under the keys of the command line's `--json`."""

from dataclasses import asdict

from edgernn_export.tuning.candidates import Candidate, Setting
from edgernn_export.tuning.report import Choice, TuneReport


def to_record(report: TuneReport) -> dict[str, object]:
    """Return a report as JSON takes it."""
    return {
        "path": str(report.path),
        "budget": report.budget,
        "chosen": _setting(report.chosen.setting),
        "batches": [_choice(choice) for choice in report.choices],
        "candidates": [_candidate(candidate) for candidate in report.candidates],
    }


def _setting(setting: Setting) -> dict[str, object]:
    return {
        "lowering": setting.form.lowering,
        "precision": setting.form.precision,
        "threads": setting.threads,
        "spinning": setting.spinning,
        "engine": setting.engine,
    }


def _choice(choice: Choice) -> dict[str, object]:
    return {
        "batch": choice.batch,
        **_setting(choice.setting),
        "p50_us": choice.latency.p50,
        "p99_us": choice.latency.p99,
        "float_p50_us": choice.float_latency.p50,
    }


def _candidate(candidate: Candidate) -> dict[str, object]:
    form, latency = candidate.setting.form, candidate.latency
    return {
        **_setting(candidate.setting),
        "p50_us": None if latency is None else latency.p50,
        "p99_us": None if latency is None else latency.p99,
        "quality": None if form.quality is None else asdict(form.quality),
        "bytes": form.size,
        "kept": form.kept,
    }
