"""SeriesModel: a recurrent model of series, which gives the distribution of the next values; and its one-step form."""

import math
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from edgernn.cells import State, make_stack
from edgernn.models.state_specs import begun_specs, state_specs
from edgernn_runtime.codecs import SeriesCodec
from edgernn_runtime.spec import BATCH, Feedback, Spec, TensorSpec

SeriesDistribution = Literal["gaussian", "logistic_mixture"]

NEVER: Final = -1
"""Steps since the last value of a column that had none yet."""

_FEATURES: Final = 6
_LARGEST_INPUT: Final = 10.0  # in standard deviations
_LARGEST_SHIFT: Final = 10.0  # in typical changes; keeps a stream finite however long it runs free
_LOG_SCALES: Final = (-7.0, 3.0)  # around the logarithm of a typical change


@dataclass(frozen=True, slots=True)
class SeriesConfig:
    """What makes a `SeriesModel`.

    Attributes:
        cell: A name of `edgernn.cells.stack.CELLS`.
        hidden: Features of every layer.
        layers: The number of cells.
        season: Steps in a period.
        means: The mean of each column.
        deviations: The standard deviation of each column.
        changes: The typical change of each column from one step to the next.
        dropout: The share of features set to zero between layers in training.
        distribution: How the next value is distributed.
        components: Components of a mixture.
    """

    cell: str
    hidden: int
    layers: int
    season: int
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    changes: tuple[float, ...]
    dropout: float = 0.0
    distribution: SeriesDistribution = "gaussian"
    components: int = 3

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The axes of a number's parameters."""
        return (2,) if self.distribution == "gaussian" else (self.components, 3)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known at a step, tensors `[..., columns]`; `changes` `[..., season, columns]`, the oldest first."""

    known: Tensor
    filled: Tensor
    since: Tensor
    changes: Tensor


class SeriesModel(nn.Module):
    """Cells, and a linear map of the last season's changes, that give the next value's distribution.

    Values are raw, NaN where one is missing, and so are the parameters: the scales of the columns lie in the model.
    The mean is the last known value and a change, which is bounded. Where all columns are missing the cells keep
    their state. The state is: the last `season` values `[batch, season, columns]`, gaps filled by the value before;
    the steps since the last value of each column, int64 `[batch, columns]`, -1 if there was none; those of the cells.
    """

    means: Tensor
    deviations: Tensor
    changes: Tensor

    def __init__(self, config: SeriesConfig) -> None:
        """Make a model that at first expects every value to stay as it is."""
        super().__init__()
        self.config = config
        columns = len(config.means)
        for name in ("means", "deviations", "changes"):
            self.register_buffer(name, torch.tensor(getattr(config, name), dtype=torch.float32))
        self.stack = make_stack(
            config.cell, _FEATURES * columns, config.hidden, layers=config.layers, dropout=config.dropout
        )
        self.dropout = nn.Dropout(config.dropout)
        self.lags = nn.Parameter(torch.zeros(config.season, columns))
        self.level = nn.Parameter(torch.zeros(columns))
        self.head = nn.Linear(config.hidden, columns * math.prod(config.parameter_shape))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if config.distribution == "logistic_mixture":
            with torch.no_grad():
                spread = torch.linspace(-1.0, 1.0, config.components)
                self.head.bias.view(columns, config.components, 3)[..., 1] = spread

    def init(self, batch: int) -> State:
        """Return the state at reset, tensors `[batch, ...]`."""
        columns = len(self.means)
        season = self.means.expand(batch, self.config.season, columns).contiguous()
        since = torch.full((batch, columns), NEVER, dtype=torch.int64)
        return (season, since, *self.stack.init(batch))

    def step(self, value: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the parameters of the next value and the next state.

        Args:
            value: float32 `[batch, columns]`, NaN where one is missing.
            state: As `init` gives it.

        Returns:
            The parameters, float32 `[batch, columns, 2]` or `[batch, columns, components, 3]`, and the state.
        """
        season, since, *cells = state
        known, never = ~value.isnan(), since < 0
        season = torch.where((known & never).unsqueeze(1), value.unsqueeze(1), season)
        filled = torch.where(known, value, season[:, -1])
        since = torch.where(known, 0, torch.where(never, NEVER, since + 1))
        after = torch.cat([season, filled.unsqueeze(1)], dim=1)[:, 1:]
        seen = _Seen(known, filled, since, (after - season) / self.changes)
        y, cells_after = self._hold(self._features(seen), known, tuple(cells))
        return self._distribution(y, seen), (after, since, *cells_after)

    def scan(self, values: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the parameters `[time, batch, columns, ...]` and the last state, for `[time, batch, columns]`."""
        season, since, *cells = state
        seen, season = self._look(values, season, since)
        x, missing = self._features(seen), ~seen.known.any(-1)
        if missing.any():
            outputs, after = [], tuple(cells)
            for frame, known in zip(x, seen.known, strict=True):
                y, after = self._hold(frame, known, after)
                outputs.append(y)
            y = torch.stack(outputs)
        else:
            y, after = self.stack.scan(x, tuple(cells))
        return self._distribution(y, seen), (season, seen.since[-1], *after)

    def _look(self, values: Tensor, season: Tensor, since: Tensor) -> tuple[_Seen, Tensor]:
        """Return what is known at all steps at once, and the last season after them."""
        steps = torch.arange(1, len(values) + 1).view(-1, 1, 1)
        known, never = ~values.isnan(), since < 0
        latest = torch.where(known, steps, 0).cummax(0).values  # the step of the last known value, 0 if before
        first = values.gather(0, known.int().argmax(0, keepdim=True))[0]
        start = torch.where(never & known.any(0), first, season[:, -1])  # [batch, columns]
        before = torch.where(never.unsqueeze(1), start.unsqueeze(1), season).transpose(0, 1)
        filled = torch.cat([start.unsqueeze(0), values]).gather(0, latest)
        unseen = never & (latest == 0)
        line = torch.cat([before, filled])  # [season + time, batch, columns]
        changes = (line.diff(dim=0) / self.changes).unfold(0, self.config.season, 1).movedim(-1, 2)
        waited = torch.where(latest > 0, steps - latest, torch.where(never, NEVER, since + steps))
        seen = _Seen(known, torch.where(unseen, self.means, filled), waited, changes)
        return seen, line[-self.config.season :].transpose(0, 1).contiguous()

    def _hold(self, x: Tensor, known: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output of the cells, and their next state; it stays as it is where nothing is known."""
        y, after = self.stack.step(x, state)
        some = known.any(-1, keepdim=True)
        return y, tuple(torch.where(some, new, old) for new, old in zip(after, state, strict=True))

    def _features(self, seen: _Seen) -> Tensor:
        """Return what the cells take, `[..., 6 * columns]`."""
        scaled = (
            self._level(seen),
            seen.changes[..., -1, :],
            seen.changes[..., 0, :],  # what comes next, one season before
            seen.changes.sum(-2) * (self.changes / self.deviations),
        )
        waited = torch.log1p(seen.since.clamp(min=0).to(torch.float32))
        limited = [each.clamp(-_LARGEST_INPUT, _LARGEST_INPUT) for each in scaled]
        return torch.cat([*limited, (~seen.known).to(torch.float32), waited], dim=-1)

    def _level(self, seen: _Seen) -> Tensor:
        return (seen.filled - self.means) / self.deviations

    def _distribution(self, y: Tensor, seen: _Seen) -> Tensor:
        raw: Tensor = self.head(self.dropout(y)).unflatten(-1, (len(self.means), *self.config.parameter_shape))
        level = self._level(seen).clamp(-_LARGEST_INPUT, _LARGEST_INPUT)
        shift = (seen.changes * self.lags).sum(-2) + level * self.level  # [..., columns]
        filled, changes = seen.filled, self.changes
        if self.config.distribution == "logistic_mixture":
            shift, filled, changes = shift.unsqueeze(-1), filled.unsqueeze(-1), changes.unsqueeze(-1)
        moved = (shift + raw[..., -2]).clamp(-_LARGEST_SHIFT, _LARGEST_SHIFT)
        log_scale = changes.log() + raw[..., -1].clamp(*_LOG_SCALES)
        rest = [raw[..., 0]] if self.config.distribution == "logistic_mixture" else []
        return torch.stack([*rest, filled + changes * moved, log_scale], dim=-1)


class SeriesStep(nn.Module):
    """A `SeriesModel` as a `StepModule`: `forward(value, *states) -> (params, *states)`."""

    def __init__(self, model: SeriesModel, codec: SeriesCodec) -> None:
        """Wrap a trained model, and what its columns are; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()
        self.codec = codec

    @property
    def spec(self) -> Spec:
        """The interface of the step; the exporter adds what follows from the weights."""
        config = self.model.config
        columns = len(config.means)
        season, since, *cells = self.model.init(1)
        return Spec(
            inputs=(TensorSpec("value", "float32", (BATCH, columns), "frame"),),
            outputs=(TensorSpec("params", "float32", (BATCH, columns, *config.parameter_shape), "params"),),
            states=(
                *begun_specs(("season", "since"), (season, since)),
                *state_specs(self.model.stack.state_names, cells),
            ),
            distribution=config.distribution,
            feedback=Feedback(output="params", input="value", start=None),
            codec=self.codec,
        )

    def forward(self, value: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return the parameters of the next values and the next states, for values float32 `[batch, columns]`."""
        params, after = self.model.step(value, state)
        return (params, *after)
