"""Voice folders: three bundles put together to a voice that a device loads."""

from collections.abc import Mapping
from pathlib import Path

from edgernn_runtime.bundle import load_bundle
from edgernn_runtime.bundle_spec import BUNDLE_FILE, read_bundle
from edgernn_runtime.errors import OutputError
from edgernn_runtime.files import check_target, write_bytes
from edgernn_runtime.voice.voice import Voice
from edgernn_runtime.voice.voice_spec import VOICE_FILE, VoiceSpec, voice_to_json


def write_voice(
    folder: Path, *, phonemes: Path, acoustic: Path, vocoder: Path, language: str, overwrite: bool = False
) -> VoiceSpec:
    """Write a voice: copies of three bundles that fit each other, and the `voice.json` last.

    Args:
        folder: The voice's folder; it is made if it is not there.
        phonemes: A bundle that turns words into phonemes.
        acoustic: One that turns phonemes into frames.
        vocoder: One that turns frames into samples.
        language: What the voice speaks, as in `en-us`.
        overwrite: Whether existing files may be replaced.

    Raises:
        ModelFileError, SpecError: If a bundle cannot be read, or one does not give what the next one takes.
        OutputError: If the folder cannot be written; OutputExistsError if a file exists and `overwrite` is false.
    """
    spec = VoiceSpec(language)
    parts = {spec.phonemes: phonemes, spec.acoustic: acoustic, spec.vocoder: vocoder}
    bundles = {name: load_bundle(path) for name, path in parts.items()}
    Voice(language, **bundles)
    files = {name: _files(path) for name, path in parts.items()}
    for name, sources in files.items():
        for source in sources:
            if (folder / name).is_dir():
                check_target(folder / name / source, overwrite=overwrite)
    if folder.is_dir():
        check_target(folder / VOICE_FILE, overwrite=overwrite)
    _write(folder, spec, files, overwrite=overwrite)
    return spec


def _files(bundle: Path) -> Mapping[str, bytes]:
    """Return the content of a bundle's files by their names, its `bundle.json` last."""
    names = [stage.file for stage in read_bundle(bundle).stages.values()]
    return {name: (bundle / name).read_bytes() for name in (*names, BUNDLE_FILE)}


def _write(folder: Path, spec: VoiceSpec, files: Mapping[str, Mapping[str, bytes]], *, overwrite: bool) -> None:
    try:
        for name in files:
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / VOICE_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} could not be made: {error.strerror or error}") from error
    for name, sources in files.items():
        for file, content in sources.items():
            write_bytes(folder / name / file, content, overwrite=overwrite)
    write_bytes(folder / VOICE_FILE, voice_to_json(spec).encode(), overwrite=overwrite)
