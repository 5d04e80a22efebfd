"""Ripples: a task of one's own, damped oscillations whose next sample a model predicts as a gaussian."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from edgernn.models import FrameModel
from edgernn.tasks import MODEL, Data, Evaluation, Facts, Part, Setting, Settings, Task, sha256_of
from edgernn_export import Recording


@dataclass(frozen=True, kw_only=True)
class RippleSettings(Settings):
    hidden: int = 32
    noise: Annotated[float, Setting("Deviation of the noise in every sample.", above=0)] = 0.02


class RippleData(Data):
    """1,024 ripples of 100 samples, made from the seed, float32 `[time, ripples]`; the last 64 are held out."""

    def __init__(self, settings: RippleSettings) -> None:
        rng, time = np.random.default_rng(settings.seed), np.arange(100)[:, None]
        waves = np.exp(-rng.uniform(0.01, 0.05, 1024) * time) * np.sin(rng.uniform(0.1, 0.6, 1024) * time)
        waves = (waves + settings.noise * rng.standard_normal(waves.shape)).astype(np.float32)
        self.train, self.held, self.settings = waves[:, :960], waves[:, 960:], settings
        self.facts, self.sha256, self.summary = {}, sha256_of(waves), "960 ripples to train on, 64 held out"

    def recordings(self, part: Part) -> dict[str, Recording]:
        waves = self.held if part == "valid" else self.train[:, ::6]  # 160 ripples are 15,840 steps
        inputs, targets = (each.T.reshape(-1, 1) for each in (waves[:-1], waves[1:]))  # [steps, 1]
        return {MODEL: Recording({"frame": inputs}, np.arange(len(inputs)) % 99 == 0, targets)}


class Ripples(Task[RippleSettings, RippleData, FrameModel]):
    name, summary, unit, settings = "ripples", "Damped oscillations, sample by sample.", "sample", RippleSettings

    def read(self, settings: RippleSettings) -> RippleData:
        return RippleData(settings)

    def model(self, settings: RippleSettings, facts: Facts) -> FrameModel:
        sizes = {"hidden": settings.hidden, "layers": settings.layers, "dropout": settings.dropout}
        drawn = {"output": (1, 2), "distribution": "gaussian", "generative": True}  # mean and log deviation, fed back
        return FrameModel(settings.cell, mean=[0.0], deviation=[1.0], **sizes, **drawn)

    def loss(self, model: FrameModel, data: RippleData, *, step: int, **_: object) -> tuple[torch.Tensor, tuple[()]]:
        chosen = np.random.default_rng([data.settings.seed, step]).integers(960, size=data.settings.batch)
        return self.nats(model, data.train[:, chosen]), ()

    def evaluate(self, model: FrameModel, data: RippleData) -> Evaluation:
        return Evaluation(float(self.nats(model, data.held)))

    def nats(self, model: FrameModel, waves: np.ndarray) -> torch.Tensor:
        frames = torch.from_numpy(waves).unsqueeze(-1)  # [time, ripples, 1]
        mean, log_deviation = model.scan(frames[:-1], model.init(waves.shape[1]))[0].unbind(-1)
        return -torch.distributions.Normal(mean, log_deviation.exp()).log_prob(frames[1:]).mean()
