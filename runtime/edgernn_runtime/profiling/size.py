"""The size of a model on disk."""

from pathlib import Path

from edgernn_runtime.bundle_spec import read_bundle


def model_bytes(path: Path) -> int:
    """Return the size of a model file, or of all model files of a bundle."""
    if not path.is_dir():
        return path.stat().st_size
    return sum((path / stage.file).stat().st_size for stage in read_bundle(path).stages.values())
