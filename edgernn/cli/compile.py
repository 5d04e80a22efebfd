"""`edgernn compile`: a step model as C, and as a library or object file for a target."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from edgernn.cli.console import new_table, print_json, print_message, print_table, print_warning
from edgernn.cli.options import Force, Json, ModelPath
from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from edgernn_export.compile import Built, Compiled, Target
    from edgernn_export.compile.c_compiler import Compiler


def compile(  # noqa: A001, the command's name
    model: ModelPath,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The folder to write to; needed unless --cache.", metavar="FOLDER"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="What files and functions are called, in letters, digits and _ (default: the file's name); "
            "for a bundle, what each stage's name follows."
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="The machine: host, x86_64-linux, x86_64-linux-vnni, aarch64-linux, aarch64-linux-dotprod, "
            "armv7-linux, riscv64-linux, thumbv7em, thumbv7em-m7 or wasm32; docs/compile.md says which is for what."
        ),
    ] = "host",
    build: Annotated[
        bool, typer.Option("--build", help="Compile the C as well: a library, or an object file for firmware.")
    ] = False,
    cache: Annotated[
        bool,
        typer.Option("--cache", help="Build for this machine, and put the library where `--engine native` finds it."),
    ] = False,
    compiler: Annotated[
        str | None,
        typer.Option(
            help="The C compiler, words as in a shell (default: the first found that makes code for the target)."
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a step model as one C99 source and one header, without a runtime, and compile them.

    A bundle becomes a source for each stage, and a voice one for each stage of its parts. Flash, RAM and stack are
    those of the compiled code with --build, and otherwise the bytes of weights, of a state and of a step's arrays.
    """
    from edgernn_export.compile import find_compiler, find_target

    machine = find_target(target)
    if output is None and not cache:
        raise InputError("say where the C goes with --output, or --cache to fill the cache of `--engine native`")
    if cache and not machine.native:
        raise InputError(f"the cache is for this machine, so --target must be host, got {target}")
    if compiler is not None and not (build or cache):
        raise InputError("--compiler is for --build")
    tool = find_compiler(machine, compiler) if build or cache else None
    files = _models(model, name)
    _check_outputs(output, files.values(), machine, built=tool is not None, overwrite=force)
    records = {}
    with TemporaryDirectory() as folder:
        made = {stage: _Made.of(file, Path(folder), prefix, machine, tool) for stage, (file, prefix) in files.items()}
        for stage, each in made.items():
            cached = each.cached() if cache else None
            placed = each if output is None else each.placed(output, overwrite=force)
            records[stage] = placed.record(machine, cached, kept=output is not None)
            placed.comment(machine)
    if json:
        print_json(records.get("", {"stages": records}))
        return
    _print(records)


@dataclass(frozen=True, slots=True)
class _Made:
    """A model in C, and what was built of it: None without a compiler, and no time where it runs on another machine."""

    compiled: "Compiled"
    built: "Built | None"
    step_us: float | None

    @classmethod
    def of(cls, file: Path, folder: Path, name: str | None, target: "Target", compiler: "Compiler | None") -> "_Made":
        """Write a model's C to a folder, compile it there, and compare it with the model."""
        from edgernn_export.compile import build_library, build_object, compile_model
        from edgernn_export.compile.checking import check_library

        compiled = compile_model(file, folder, name=name)
        if compiler is None:
            return cls(compiled, None, None)
        path, spec = _library_path(folder, compiled.name, target), compiled.spec
        if target.library is None:
            return cls(compiled, build_object(compiled.source, target, path, compiler=compiler), None)
        model_id = compiled.model_id
        built = build_library(compiled.source, target, path, model_id=model_id, spec=spec, compiler=compiler)
        return cls(compiled, built, check_library(built.path, file) if target.native else None)

    def cached(self) -> Path:
        """Put the library where the runtime finds it, and return its path."""
        from edgernn_runtime.engines.library_cache import store_library

        assert self.built is not None  # noqa: S101, the cache asks for a compiler
        return store_library(self.built.path.read_bytes(), self.compiled.model_id)

    def placed(self, folder: Path, *, overwrite: bool) -> "_Made":
        """Write all files to the folder that was named."""
        from edgernn_runtime.files import make_folder, write_bytes

        def place(path: Path) -> Path:
            write_bytes(folder / path.name, path.read_bytes(), overwrite=overwrite)
            return folder / path.name

        make_folder(folder)
        compiled = replace(self.compiled, source=place(self.compiled.source), header=place(self.compiled.header))
        built = None if self.built is None else replace(self.built, path=place(self.built.path))
        return replace(self, compiled=compiled, built=built)

    def comment(self, target: "Target") -> None:
        """Say which compiler was used; without one, that a library beside the C may be of something else."""
        if self.built is not None:
            print_message(f"{self.compiled.name}: {self.built.compiler}; stack: {self.built.stack_source}")
            return
        library = _library_path(self.compiled.source.parent, self.compiled.name, target)
        if library.exists():
            print_warning(f"{library} was left as it is, and may be of another model; --build replaces it")

    def record(self, target: "Target", cached: Path | None, *, kept: bool) -> dict[str, object]:
        """Return the figures and the files; the C is not `kept` where it was only needed for the cache."""
        compiled, built = self.compiled, self.built
        library = cached or (None if built is None else built.path)
        return {
            "source": str(compiled.source) if kept else None,
            "header": str(compiled.header) if kept else None,
            "library": None if library is None else str(library),
            "target": target.name,
            "flash_bytes": compiled.constant_bytes if built is None else built.flash_bytes,
            "ram_bytes": compiled.state_bytes if built is None else built.ram_bytes,
            "stack_bytes": compiled.stack_bytes if built is None or built.stack_bytes is None else built.stack_bytes,
            "macs_per_step": compiled.macs_per_step,
            "model_id": compiled.model_id,
            "measured": built is not None,
            "step_us": self.step_us,
            "step_instructions": _instructions(compiled, target),
        }


def _check_outputs(
    folder: Path | None, files: Iterable[tuple[Path, str | None]], target: "Target", *, built: bool, overwrite: bool
) -> None:
    """Check names, and that what is called so may be written to a folder."""
    from edgernn_export.compile.identifiers import prefix
    from edgernn_runtime.files import check_targets

    if folder is None:
        return
    for file, given in files:
        name = prefix(given or file.stem)
        code = [_library_path(folder, name, target)] if built else []
        check_targets(folder, [folder / f"{name}.c", folder / f"{name}.h", *code], overwrite=overwrite)


def _instructions(compiled: "Compiled", target: "Target") -> int | None:
    """Return about how many instructions a step takes; None where nothing was counted for the target."""
    each = target.instructions_per_mac.get(compiled.spec.precision)
    return None if each is None or compiled.macs_per_step is None else int(each * compiled.macs_per_step)


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
    from edgernn_export.compile.identifiers import prefix as called

    if name is not None and called(name) != name:
        raise InputError(f"what edgernn writes in C cannot be called {name!r}; --name {called(name)} is possible")
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


def _library_path(folder: Path, name: str, target: "Target") -> Path:
    """Return where the code of a model is written: a library, or an object file for firmware."""
    return folder / f"{name}{'.o' if target.library is None else target.library_suffix}"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
