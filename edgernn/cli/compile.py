"""`edgernn compile`: a step model as C, and as a library or object file for a target."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from edgernn.cli.console import new_table, print_json, print_message, print_table
from edgernn.cli.options import Force, Json, ModelPath
from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from edgernn_export.compile import Built, Compiled, Target
    from edgernn_export.compile.c_compiler import Compiler


def compile(  # noqa: A001, the command's name
    model: ModelPath,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder to write to.", metavar="FOLDER")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What files and functions are called (default: the model file's name).")
    ] = None,
    target: Annotated[
        str, typer.Option(help="The machine: host, x86_64-linux, aarch64-linux, thumbv7em, wasm32, ...")
    ] = "host",
    build: Annotated[
        bool, typer.Option("--build", help="Compile the C as well: a library, or an object file for firmware.")
    ] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="Put the library where `--engine native` finds it; builds for this host.")
    ] = False,
    compiler: Annotated[
        str | None, typer.Option(help="The C compiler (default: the first one found that makes code for the target).")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a step model as one C99 source and one header, without a runtime, and compile them.

    A bundle becomes a source for each stage, and a voice one for each stage of its parts. Flash, RAM and stack are
    those of the compiled code with --build, and otherwise the bytes of weights, of a state and of a step's arrays.
    """
    from edgernn_export.compile import compile_model, find_compiler, find_target
    from edgernn_export.compile.checking import check_library
    from edgernn_export.compile.identifiers import prefix as called
    from edgernn_runtime.files import check_target

    machine = find_target(target)
    if output is None and not cache:
        raise InputError("say where the C goes with --output, or --cache to fill the cache of `--engine native`")
    if cache and not machine.native:
        raise InputError(f"the cache is for this machine, so --target must be host, got {target}")
    if compiler is not None and not (build or cache):
        raise InputError("--compiler is for --build")
    tool = find_compiler(machine, compiler) if build or cache else None
    files = _models(model, name)
    with TemporaryDirectory() as nowhere:
        folder = Path(nowhere) if output is None else output
        records = {}
        for file, prefix in files.values() if tool is not None and folder.is_dir() else ():
            check_target(_library_path(folder, called(prefix or file.stem), machine), overwrite=force)
        for stage, (file, prefix) in files.items():
            compiled = compile_model(file, folder, name=prefix, overwrite=force)
            built = None if tool is None else _built(compiled, machine, tool, Path(nowhere))
            step_us = check_library(built.path, file) if built is not None and machine.native else None
            library = _cached(built, compiled) if cache and built is not None else None
            if built is not None and output is not None:
                built = _placed(built, output, overwrite=force)
            kept = None if output is None else compiled
            records[stage] = {
                **_record(compiled, kept, machine, built, library),
                "step_us": step_us,
                "step_instructions": _instructions(compiled, machine),
            }
            if built is not None:
                print_message(f"{compiled.name}: {built.compiler}; stack: {built.stack_source}")
    if json:
        print_json(records.get("", {"stages": records}))
        return
    _print(records)


def _print(records: "Mapping[str, Mapping[str, object]]") -> None:
    """Print the figures of a model one below the other, those of several in a row each, their files last."""
    names = list(next(iter(records.values())))
    if "" in records:
        table = new_table("", "")
        for name in names:
            table.add_row(name.replace("_", " "), _shown(records[""][name]))
    else:
        figures = [name for name in names if name.endswith(("_bytes", "_step", "_us"))]
        table = new_table("", *(name.replace("_", " ") for name in figures), "written")
        for stage, record in records.items():
            written = record["library"] or record["source"]
            table.add_row(stage, *(_shown(record[name]) for name in figures), _shown(written))
    print_table(table)


def _models(model: Path, name: str | None) -> Mapping[str, tuple[Path, str | None]]:
    """Return the file and the name in C of a model under an empty name, or of a bundle's graphs under their stages'."""
    if not model.is_dir():
        return {"": (model, name)}
    prefix = name or model.resolve().name
    parts = _voice_parts(model)
    if not parts:
        return _stages(model, prefix)
    return {
        f"{part}/{stage}": found
        for part, folder in parts.items()
        for stage, found in _stages(folder, f"{prefix}_{part}").items()
    }


def _voice_parts(folder: Path) -> Mapping[str, Path]:
    """Return the bundles of a voice by what they do; none if the folder is no voice."""
    from edgernn_runtime.voice.voice_spec import read_voice

    if not (folder / "voice.json").is_file():
        return {}
    spec = read_voice(folder)
    places = {"phonemes": spec.phonemes, "acoustic": spec.acoustic, "vocoder": spec.vocoder}
    return {part: folder / place for part, place in places.items()}


def _stages(bundle: Path, prefix: str) -> Mapping[str, tuple[Path, str]]:
    from edgernn_runtime.bundle_spec import read_bundle

    return {stage: (bundle / each.file, f"{prefix}_{stage}") for stage, each in read_bundle(bundle).stages.items()}


def _placed(built: "Built", folder: Path, *, overwrite: bool) -> "Built":
    """Write code that was found good to the folder that was named."""
    from edgernn_runtime.files import write_bytes

    path = folder / built.path.name
    write_bytes(path, built.path.read_bytes(), overwrite=overwrite)
    return replace(built, path=path)


def _built(compiled: "Compiled", target: "Target", compiler: "Compiler", folder: Path) -> "Built":
    from edgernn_export.compile import build_library, build_object

    output = _library_path(folder, compiled.name, target)
    if target.library is None:
        return build_object(compiled.source, target, output, compiler=compiler)
    return build_library(
        compiled.source,
        target,
        output,
        model_id=compiled.model_id,
        spec=compiled.spec,
        compiler=compiler,
    )


def _library_path(folder: Path, name: str, target: "Target") -> Path:
    """Return where the code of a model is written: a library, or an object file for firmware."""
    return folder / f"{name}{'.o' if target.library is None else target.library_suffix}"


def _cached(built: "Built", compiled: "Compiled") -> Path:
    from edgernn_runtime.engines.library_cache import store_library

    return store_library(built.path.read_bytes(), compiled.model_id)


def _record(
    compiled: "Compiled", kept: "Compiled | None", target: "Target", built: "Built | None", cached: Path | None
) -> dict[str, object]:
    """Return the record of a compiled model; `kept` is None where its C was only needed for the cache."""
    library = cached or (None if built is None else built.path)
    return {
        "source": None if kept is None else str(kept.source),
        "header": None if kept is None else str(kept.header),
        "library": None if library is None else str(library),
        "target": target.name,
        "flash_bytes": compiled.constant_bytes if built is None else built.flash_bytes,
        "ram_bytes": compiled.state_bytes if built is None else built.ram_bytes,
        "stack_bytes": compiled.stack_bytes if built is None or built.stack_bytes is None else built.stack_bytes,
        "macs_per_step": compiled.macs_per_step,
        "model_id": compiled.model_id,
        "measured": built is not None,
    }


def _instructions(compiled: "Compiled", target: "Target") -> int | None:
    """Return about how many instructions a step takes; None where nothing was counted for the target."""
    each = target.instructions_per_mac.get(compiled.spec.precision)
    return None if each is None or compiled.macs_per_step is None else int(each * compiled.macs_per_step)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
