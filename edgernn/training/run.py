"""Run: the folder of one training run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn.tasks.text.corpus import VALID_FILE
from edgernn.training.config import TrainingConfig
from edgernn.training.tensors import read_tensors
from edgernn_runtime.codec import Codec, codec_from_json
from edgernn_runtime.errors import EdgeRNNError, InputError, OutputError, OutputExistsError, RunError, last_line
from edgernn_runtime.files import write_bytes

RUN_VERSION: Final = 1

_START: Final = "\n"


@dataclass(frozen=True, slots=True)
class Run:
    """A training run: its folder, and what `run.json` says of it.

    Attributes:
        folder: The folder.
        model: What makes the model.
        codec: How its tokens become text.
        training: The settings of the training.
        data: The file or folder that the text came from; None for the built-in text.
        data_sha256: SHA-256 of the text.
        task: The task's name.
    """

    folder: Path
    model: ModelConfig
    codec: Codec
    training: TrainingConfig
    data: str | None
    data_sha256: str
    task: str = "text"

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

    @property
    def valid_file(self) -> Path:
        """The validation text."""
        return self.folder / VALID_FILE

    def create(self, valid_text: str) -> None:
        """Make the folder with `run.json` and the validation text.

        Raises:
            OutputExistsError: If the folder already holds a run, or a file that a run would replace.
            OutputError: If it cannot be written.
        """
        self.check_new()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder} could not be made: {error.strerror or error}") from error
        self.save()
        self.write_valid_text(valid_text)

    def check_new(self) -> None:
        """Check that nothing would be replaced if the run were created.

        Raises:
            OutputExistsError: If the folder holds a run, or a file of a name that a run uses.
            OutputError: If there is a file where the folder should be.
        """
        if (self.folder / "run.json").exists():
            raise OutputExistsError(f"{self.folder} already holds a run; go on with --resume, or name another folder")
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file; name a folder for the run")
        for path in (self.checkpoint_file, self.model_file, self.metrics_file, self.curve_file, self.valid_file):
            if path.exists():
                raise OutputExistsError(f"{path} exists, and a run would replace it; name another folder")

    def write_valid_text(self, text: str) -> None:
        """Write the validation text, and remove what interrupted writes of the run's files have left."""
        for path in (self.checkpoint_file, self.model_file, self.metrics_file, self.valid_file):
            for part in self.folder.glob(f".{path.name}.????????.part"):
                part.unlink(missing_ok=True)
        write_bytes(self.valid_file, text.encode("utf-8"), overwrite=True)

    def save(self) -> None:
        """Write `run.json`."""
        content = {
            "version": RUN_VERSION,
            "task": self.task,
            "model": asdict(self.model),
            "codec": self.codec.to_json(),
            "training": asdict(self.training),
            "data": self.data,
            "data_sha256": self.data_sha256,
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_bytes(self.folder / "run.json", text.encode("utf-8"), overwrite=True)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Return the run in a folder.

        Raises:
            RunError: If the folder holds no run, or one that this version cannot read.
        """
        path = folder / "run.json"
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file, not a run folder")
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != RUN_VERSION:
                raise InputError(f"it has version {content['version']!r}, this edgernn reads {RUN_VERSION}")
            run = cls(
                folder=folder,
                model=ModelConfig(**content["model"]),
                codec=codec_from_json(content["codec"]),
                training=TrainingConfig(**content["training"]),
                data=content["data"],
                data_sha256=content["data_sha256"],
                task=content["task"],
            )
            if run.codec.size != run.model.vocabulary:
                raise InputError(f"the codec has {run.codec.size} tokens, the model {run.model.vocabulary}")
            if not isinstance(run.data, str | None):
                raise InputError(f"data must be a path or null, got {run.data!r}")
        except FileNotFoundError as error:
            raise RunError(f"{folder} holds no run (no run.json); train one with: edgernn train text") from error
        except EdgeRNNError as error:
            raise RunError(f"{path}: {error}") from error
        except OSError as error:
            raise RunError(f"{path} could not be read: {error.strerror or error}") from error
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise RunError(f"{path} is damaged: {error}") from error
        return run

    def load_model(self) -> RecurrentLM:
        """Return the model with the best validation loss.

        Raises:
            RunError: If there are no weights yet, or they are damaged or of another model.
        """
        if not self.model_file.exists():
            raise RunError(
                f"{self.model_file} is missing: no validation was reached yet (go on with --resume), or it was removed"
            )
        model = RecurrentLM(self.model)
        try:
            model.load_state_dict(read_tensors(self.model_file))
        except RuntimeError as error:
            raise RunError(f"{self.model_file} does not fit run.json: {last_line(error)}") from error
        return model.eval()

    def step_module(self) -> RecurrentLMStep:
        """Return the trained model in its one-step form, for export; a stream starts with a line break."""
        tokens, unknown = self.codec.encode_lossy(_START)
        return RecurrentLMStep(self.load_model(), codec=self.codec, start=None if unknown else int(tokens[0]))
