"""Run: the folder of one training run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from torch import nn

from edgernn.tasks.recording_files import recording_file
from edgernn.tasks.registry import find_task
from edgernn.tasks.settings import Settings
from edgernn.tasks.task import MODEL, AnyTask, Data, Facts, Part
from edgernn.training.tensors import read_tensors
from edgernn_export import Recording, StagedModules, StepModule
from edgernn_runtime.errors import EdgeRNNError, InputError, OutputError, OutputExistsError, RunError, last_line
from edgernn_runtime.files import make_folder, write_bytes

RUN_VERSION: Final = 2
RUN_FILE: Final = "run.json"


@dataclass(frozen=True, slots=True)
class Run:
    """A training run: its folder, and what `run.json` says of it.

    Attributes:
        folder: The folder.
        task: What it is trained for.
        settings: What it was told.
        facts: What the model must know of the data.
        data_sha256: SHA-256 of the data.
    """

    folder: Path
    task: AnyTask
    settings: Settings
    facts: Facts
    data_sha256: str

    @property
    def checkpoint_file(self) -> Path:
        """The newest checkpoint, with all that a resumed run needs."""
        return self.folder / "checkpoint.safetensors"

    @property
    def model_file(self) -> Path:
        """The weights with the best validation loss so far."""
        return self.folder / "model.safetensors"

    @property
    def metrics_file(self) -> Path:
        """One JSON object for each validation."""
        return self.folder / "metrics.jsonl"

    @property
    def curve_file(self) -> Path:
        """The loss curve as a picture."""
        return self.folder / "loss.png"

    def create(self, data: Data) -> None:
        """Make the folder with `run.json` and the recordings of the data.

        Raises:
            OutputExistsError: If the folder already holds a run, or a file that a run would replace.
            OutputError: If it cannot be written.
        """
        self.check_new()
        recordings = self._recordings(data)
        make_folder(self.folder)
        self.save()
        self._save_recordings(recordings)

    def check_new(self) -> None:
        """Check that nothing would be replaced if the run were created.

        Raises:
            OutputExistsError: If the folder holds a run, or a file of a name that a run uses.
            OutputError: If there is a file where the folder should be.
        """
        if (self.folder / RUN_FILE).exists():
            raise OutputExistsError(f"{self.folder} already holds a run; go on with --resume, or name another folder")
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file; name a folder for the run")
        files = [self.checkpoint_file, self.model_file, self.metrics_file, self.curve_file]
        for part in get_args(Part):
            files += [recording_file(self.folder, MODEL, part=part)]
            files += sorted(self.folder.glob(recording_file(self.folder, "*", part=part).name))
        for path in files:
            if path.exists():
                raise OutputExistsError(f"{path} exists, and a run would replace it; name another folder")

    def write_recordings(self, data: Data) -> None:
        """Write what models are measured on, and what quantization calibrates on.

        What interrupted writes of the run's files have left is removed.
        """
        self._save_recordings(self._recordings(data))

    def _recordings(self, data: Data) -> dict[Path, Recording]:
        """Return the recordings of both parts of the data by their files."""
        return {
            recording_file(self.folder, name, part=part): recording
            for part in get_args(Part)
            for name, recording in data.recordings(part).items()
        }

    def _save_recordings(self, recordings: Mapping[Path, Recording]) -> None:
        for path in (self.checkpoint_file, self.model_file, self.metrics_file, *recordings):
            for leftover in self.folder.glob(f".{path.name}.????????.part"):
                leftover.unlink(missing_ok=True)
        for path, recording in recordings.items():
            recording.save(path, overwrite=True)

    def save(self) -> None:
        """Write `run.json`."""
        content = {
            "version": RUN_VERSION,
            "task": self.task.name,
            "settings": self.settings.to_json(),
            "facts": self.facts,
            "data_sha256": self.data_sha256,
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_bytes(self.folder / RUN_FILE, text.encode("utf-8"), overwrite=True)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Return the run in a folder.

        Raises:
            RunError: If the folder holds no run, or one that this version cannot read.
        """
        path = folder / RUN_FILE
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file, not a run folder")
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != RUN_VERSION:
                raise InputError(f"it has version {content['version']!r}, this edgernn reads {RUN_VERSION}")
            task = find_task(content["task"])
            facts, sha256 = content["facts"], content["data_sha256"]
            if not isinstance(facts, dict) or not isinstance(sha256, str):
                raise InputError("its facts must be an object, and data_sha256 text")
            run = cls(folder, task, task.settings.from_json(content["settings"]), facts, sha256)
            task.model(run.settings, facts)
        except FileNotFoundError as error:
            raise RunError(f"{folder} holds no run (no {RUN_FILE}); train one with: edgernn train") from error
        except EdgeRNNError as error:
            raise RunError(f"{path}: {error}") from error
        except OSError as error:
            raise RunError(f"{path} could not be read: {error.strerror or error}") from error
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise RunError(f"{path} is damaged: {error}") from error
        return run

    def load_model(self) -> nn.Module:
        """Return the model with the best validation loss.

        Raises:
            RunError: If there are no weights yet, or they are damaged or of another model.
        """
        if not self.model_file.exists():
            raise RunError(
                f"{self.model_file} is missing: no validation was reached yet (go on with --resume), or it was removed"
            )
        model = self.task.model(self.settings, self.facts)
        try:
            model.load_state_dict(read_tensors(self.model_file))
        except RuntimeError as error:
            raise RunError(f"{self.model_file} does not fit {RUN_FILE}: {last_line(error)}") from error
        return model.eval()

    def step_modules(self) -> StepModule | StagedModules:
        """Return what the trained model is on a device, for export; errors as in `load_model`."""
        return self.task.export(self.load_model(), self.settings, self.facts)
