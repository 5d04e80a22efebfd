"""`edgernn profile`: latency, jitter, cold start, memory, operators and the read floor of models side by side."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from edgernn.cli.console import new_table, print_json, print_message, print_table, print_text
from edgernn.cli.options import Engine, Force, Json, Providers, Threads, engine_name
from edgernn_runtime.errors import DataError, GateError, InputError, OutputError

if TYPE_CHECKING:
    from edgernn.artefacts.profile_report import DriftCurve, ProfileReport
    from edgernn_runtime.engines.opening import EngineName
    from edgernn_runtime.profiling import Profile, Trace

TRACED_STEPS: Final = 300
SWEPT_STEPS: Final = 2000


def profile(
    models: Annotated[list[Path], typer.Argument(help="Step models, measured side by side.", metavar="MODEL...")],
    steps: Annotated[int, typer.Option(min=1, help="Timed steps of each.")] = 5000,
    engine: Engine = None,
    provider: Providers = None,
    threads: Threads = 1,
    max_p99_us: Annotated[float | None, typer.Option(min=0, help="Fail if a model's p99 is above this.")] = None,
    deadline_us: Annotated[
        float | None,
        typer.Option(help="How long a step may take (default: the time in which a model's frames arrive)."),
    ] = None,
    max_misses: Annotated[
        float | None, typer.Option(min=0, max=1, help="Fail if a larger share of steps misses the deadline.")
    ] = None,
    operators: Annotated[bool, typer.Option("--operators", help="Say where the time of a step goes.")] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="Try numbers of threads, spinning and not.")] = False,
    soak: Annotated[
        int | None, typer.Option(help="Step each model for so long, and say how memory grows.", metavar="STEPS")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Keep ONNX Runtime's own trace, JSON for Chrome and Perfetto.", metavar="FILE")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with figures, which loads nothing.")] = None,
    drift: Annotated[
        list[Path] | None,
        typer.Option(help="For the page: what `edgernn verify --json` printed; may be repeated.", metavar="FILE"),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure latency, jitter, cold start and memory.

    The floor is the time to read the weights of one step once.
    """
    from edgernn_runtime.profiling import profile as measure
    from edgernn_runtime.profiling.soaking import check_soak

    wanted, asked = provider or ["cpu"], engine_name(engine)
    _check_outputs(trace, html, overwrite=force)
    if soak is not None:
        check_soak(soak)
    if max_misses is not None and deadline_us is None:
        _check_rates(models, asked)
    _check_traced(models, asked, {"--operators": operators, "--trace": trace is not None, "--sweep": sweep})
    curves = _drift_curves(drift or [], html)
    measured = measure(models, steps=steps, engine=asked, providers=wanted, threads=threads, deadline_us=deadline_us)
    reports = _reports(
        measured,
        wanted,
        operators=operators or html is not None,
        sweep=sweep,
        soak=soak,
        trace=trace,
        force=force,
    )
    if html is not None:
        _write_page(html, reports, curves, overwrite=force)
    if json:
        print_json({"models": [_record(each) for each in reports]})
    else:
        _print(reports, operators=operators)
    _check_gates(measured, max_p99_us=max_p99_us, max_misses=max_misses)


def profile_table(measured: "Sequence[Profile]") -> Table:
    """Return profiles as a table, with the first model's p50 over each model's p50."""
    table = new_table(
        "model", "p50 us", "p90", "p99", "p99.9", "jitter", "steps/s", "times faster",
        "floor us", "p50/floor", "cold start ms", "load ms", "first step ms", "peak MB",
    )  # fmt: skip
    for each in measured:
        latency = each.step_us
        table.add_row(
            f"{each.path} (native)" if each.engine == "native" else str(each.path),
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


def _check_outputs(*targets: Path | None, overwrite: bool) -> None:
    """Check that files can be written, before anything is measured."""
    from tempfile import TemporaryFile

    from edgernn_runtime.files import check_target

    given = [target for target in targets if target is not None]
    if len({target.resolve() for target in given}) < len(given):
        raise InputError(f"--trace and --html must name two files, got {given[0]} twice")
    for target in given:
        check_target(target, overwrite=overwrite)
        folder = target.resolve().parent
        try:
            TemporaryFile(dir=folder).close()
        except OSError as error:
            raise OutputError(
                f"{target} could not be written: {error.strerror or error}; name a file in another folder"
            ) from error


def _check_traced(models: Iterable[Path], engine: "EngineName | None", asked: Mapping[str, bool]) -> None:
    """Check that nothing is asked of compiled code that only ONNX Runtime has."""
    from edgernn_runtime.engines.opening import is_native

    wanted = next((option for option, given in asked.items() if given), None)
    for path in models:
        if wanted is not None and is_native(path, engine):
            raise InputError(
                f"{wanted} is for models in ONNX Runtime, and {path} runs as compiled code: it has no trace of its "
                "operators and one thread"
            )


def _check_rates(models: Iterable[Path], engine: "EngineName | None") -> None:
    """Check that each model says how long a step may take."""
    from edgernn_runtime.model import load

    for path in models:
        if load(path, engine=engine).spec.rate_hz is None:
            raise InputError(f"--max-misses needs a deadline, and {path} has no rate; say it with --deadline-us")


def _drift_curves(files: Sequence[Path], html: Path | None) -> "tuple[DriftCurve, ...]":
    """Return the curves of files that `edgernn verify --json` printed."""
    from json import loads

    from edgernn.artefacts.profile_report import drift_curves, short_names

    if files and html is None:
        raise InputError("--drift is drawn on the page; name one with --html")
    found: list[DriftCurve] = []
    for path, name in zip(files, short_names(files), strict=True):
        try:
            record = loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path} could not be read: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is no JSON: {error}") from error
        found += drift_curves(name, record)
    return tuple(found)


def _reports(
    measured: "Sequence[Profile]",
    providers: Sequence[str],
    *,
    operators: bool,
    sweep: bool,
    soak: int | None,
    trace: Path | None,
    force: bool,
) -> "list[ProfileReport]":
    """Return all that is to be measured of each model besides; write the trace."""
    from dataclasses import replace

    from edgernn.artefacts.profile_report import ProfileReport, short_names
    from edgernn_runtime.profiling import soak as measure_soak
    from edgernn_runtime.profiling import sweep as measure_sweep

    names = short_names([each.path for each in measured])
    reports = [ProfileReport(name, each, macs=_macs(each.path)) for name, each in zip(names, measured, strict=True)]
    if operators or trace is not None:
        reports = _traced(reports, providers, trace, overwrite=force)
    if sweep:
        paths, steps = [each.path for each in measured], min(measured[0].steps, SWEPT_STEPS)
        swept = measure_sweep(paths, steps=steps, providers=tuple(providers))
        reports = [replace(each, variants=variants) for each, variants in zip(reports, swept, strict=True)]
    if soak is not None:
        for i, each in enumerate(reports):
            print_message(f"stepping {each.name} {soak:,} times")
            grown = measure_soak(
                each.profile.path,
                steps=soak,
                engine=each.profile.engine,
                providers=tuple(providers),
                threads=each.profile.threads,
            )
            reports[i] = replace(each, soak=grown)
    return reports


def _macs(path: Path) -> int | None:
    """Return the multiplications in one step of a model, or of a bundle whose slower stages count so much less."""
    from edgernn_export.operations import macs_per_step, read_graph
    from edgernn_runtime.bundle_spec import read_bundle
    from edgernn_runtime.engines.opening import is_native

    if is_native(path):
        return None
    if not path.is_dir():
        return macs_per_step(read_graph(path))
    stages = [stage for stage in read_bundle(path).stages.values() if stage.every]
    counts = [(macs_per_step(read_graph(path / stage.file)), stage.every or 1) for stage in stages]
    return None if any(count is None for count, _ in counts) else sum((count or 0) // every for count, every in counts)


def _traced(
    reports: "Sequence[ProfileReport]", providers: Sequence[str], target: Path | None, *, overwrite: bool
) -> "list[ProfileReport]":
    """Return reports with the time of operators; keep the traces if there is a target."""
    from dataclasses import replace

    from edgernn_export.operations import operator_times
    from edgernn_runtime.files import write_bytes
    from edgernn_runtime.profiling import chrome_trace, read_trace, trace_steps

    with TemporaryDirectory(prefix="edgernn-trace-") as folder:
        traces: list[Trace] = []
        found: list[ProfileReport] = []
        for i, each in enumerate(reports):
            if each.profile.engine == "native":
                found.append(each)
                continue
            place = Path(folder) / str(i)
            place.mkdir()
            measured = each.profile
            count = min(measured.steps, TRACED_STEPS)
            traces.append(trace_steps(measured.path, place, steps=count, providers=providers, threads=measured.threads))
            step = read_trace(traces[-1])
            rows = operator_times(traces[-1], step, step_us=measured.step_us.p50)
            found.append(replace(each, traced=step, operators=rows))
        if target is not None:
            write_bytes(target, chrome_trace(traces), overwrite=overwrite)
    return found


def _write_page(
    target: Path, reports: "Sequence[ProfileReport]", curves: "Sequence[DriftCurve]", *, overwrite: bool
) -> None:
    import platform

    import numpy as np
    import onnxruntime

    from edgernn.artefacts.profile_page import machine_line, profile_page
    from edgernn_runtime import __version__
    from edgernn_runtime.files import write_bytes
    from edgernn_runtime.profiling.sweeping import usable_cores

    versions = {
        "edgernn": __version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "Python": platform.python_version(),
    }
    machine = machine_line(versions, system=f"{platform.system()} {platform.machine()}", cores=usable_cores())
    page = profile_page(reports, machine=machine, drift=curves)
    write_bytes(target, page.encode(), overwrite=overwrite)
    print_message(f"the page lies in {target}")


def _record(report: "ProfileReport") -> dict[str, object]:
    """Return all that is known of a model as JSON; what was not asked for is null."""
    from edgernn_runtime.profiling import operators_to_json, soak_to_json, sweep_to_json, to_json

    return {
        **to_json(report.profile),
        "macs_per_step": report.macs,
        "operators": None if report.traced is None else operators_to_json(report.traced, report.operators),
        "sweep": sweep_to_json(report.variants) or None,
        "soak": None if report.soak is None else soak_to_json(report.soak),
    }


def _print(reports: "Sequence[ProfileReport]", *, operators: bool) -> None:
    print_table(profile_table([each.profile for each in reports]))
    for each in reports:
        if len(each.profile.nodes) > 1:
            placed = ", ".join(f"{count} on {name}" for name, count in each.profile.nodes.items())
            print_text(f"{each.name}: nodes run on several providers: {placed}")
    for table in (_deadline_table(reports), _sweep_table(reports), _soak_table(reports)):
        if table.row_count:
            print_text("")
            print_table(table)
    for each in reports if operators else []:
        _print_operators(each)


def _deadline_table(reports: "Sequence[ProfileReport]") -> Table:
    table = new_table("deadline", "us", "missed", "share", "most in a row")
    for each in reports:
        found = each.profile.deadline
        if found is not None:
            table.add_row(
                each.name, f"{found.us:,.1f}", f"{found.misses:,}", f"{found.share:.3%}", f"{found.longest_run:,}"
            )
    return table


def _sweep_table(reports: "Sequence[ProfileReport]") -> Table:
    table = new_table("threads and spinning", "threads", "idle threads", "p50 us", "p99", "")
    for each in reports:
        for variant in each.variants:
            idle = "-" if variant.threads == 1 else "spin" if variant.spinning else "sleep"
            times = (f"{variant.p50_us:.1f}", f"{variant.p99_us:.1f}")
            table.add_row(each.name, str(variant.threads), idle, *times, "best" if variant.best else "")
    return table


def _soak_table(reports: "Sequence[ProfileReport]") -> Table:
    table = new_table("memory along a long run", "steps", "bytes in a million steps", "standard error")
    for each in reports:
        if each.soak is not None:
            known = ("-" if value is None else f"{value:,.0f}" for value in (each.soak.slope, each.soak.error))
            table.add_row(each.name, f"{each.soak.steps:,}", *known)
    return table


def _print_operators(report: "ProfileReport") -> None:
    from edgernn_runtime.profiling import copies

    assert report.traced is not None  # noqa: S101, asked for and so measured
    print_text("")
    table = new_table(report.name, "operator", "calls a step", "us, traced", "share", "us, estimated")
    for row in report.operators:
        times = (f"{row.us:.1f}", f"{row.share:.1%}", f"{row.untraced_us:.1f}")
        table.add_row(row.what, row.operator, f"{row.calls:g}", *times)
    print_table(table)
    placed = ", ".join(f"{count} nodes on {name}" for name, count in report.profile.nodes.items())
    step, moved = report.profile.step_us.p50, len(copies(report.traced.nodes))
    print_text(f"a step takes {report.traced.us:.1f} us while it is traced, {step:.1f} us else")
    print_text(f"{placed}; {moved} copies and casts that ONNX Runtime put in")


def _check_gates(measured: "Sequence[Profile]", *, max_p99_us: float | None, max_misses: float | None) -> None:
    """Raise a GateError for the first model that is beyond a limit."""
    for each in measured:
        if max_p99_us is not None and each.step_us.p99 > max_p99_us:
            raise GateError(f"p99 of {each.path} is {each.step_us.p99:.1f} us, above {max_p99_us:g} us")
        deadline = each.deadline
        if max_misses is not None and deadline is not None and deadline.share > max_misses:
            raise GateError(
                f"{each.path} misses its deadline of {deadline.us:g} us in {deadline.share:.3%} of steps, "
                f"above {max_misses:.3%}"
            )
