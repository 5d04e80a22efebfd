"""RowModel: pictures row by row, and in a row pixel by pixel: two networks at two rates.

After SampleRNN (Mehri et al. 2017): the slow one reads whole rows and tells the fast one what to go on from.
"""

from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from edgernn.cells import State, make_stack
from edgernn.models.picture import PictureConfig, class_inputs, picture_spec, split_class
from edgernn.models.state_specs import state_specs
from edgernn_export import StagedModules, StepModule
from edgernn_runtime.bundle_spec import Link
from edgernn_runtime.spec import BATCH, Spec, TensorSpec

_FEATURES: Final = 24


class RowModel(nn.Module):
    """Cells that step once a row, and cells that step once a pixel and take what the first ones gave."""

    def __init__(self, config: PictureConfig) -> None:
        """Make a model with torch's default initialisation."""
        super().__init__()
        self.config = config
        hidden, width = config.hidden, config.width
        stack = partial(make_stack, config.cell, layers=config.layers, dropout=config.dropout)
        self.row_pixels = nn.Embedding(config.levels, _FEATURES)
        self.row_place = nn.Embedding(config.height, _FEATURES)
        self.row_class = nn.Embedding(config.classes, _FEATURES)
        self.row_stack = make_stack(
            config.cell, (width + 2) * _FEATURES, hidden, layers=config.layers, dropout=config.dropout
        )
        self.above = nn.Linear(width * _FEATURES, hidden)
        self.context = nn.Linear(hidden, hidden)
        self.pixel = nn.Embedding(config.levels, _FEATURES)
        self.column = nn.Embedding(width, _FEATURES)
        self.pixel_stack = stack(2 * _FEATURES + hidden, hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(hidden, config.levels)

    def row_init(self, batch: int) -> State:
        """Return the slow network's state at reset: which row it is, and its cells' states."""
        return (torch.zeros(batch, 1, dtype=torch.int64), *self.row_stack.init(batch))

    def row_step(self, row: Tensor, kind: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the context `[batch, hidden]` of the row after `row`, int64 `[batch, width]`, and the next state."""
        place, *cells = state
        y, after = self.row_stack.step(self._row_features(row, place[:, 0], kind), tuple(cells))
        return self._context(y, row), ((place + 1) % self.config.height, *after)

    def pixel_init(self, batch: int) -> State:
        """Return the fast network's state at reset: the column, and its cells' states."""
        return (torch.zeros(batch, 1, dtype=torch.int64), *self.pixel_stack.init(batch))

    def pixel_step(self, token: Tensor, context: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits `[batch, levels]` of the pixel after `token`, int64 `[batch]`, and the next state."""
        column, *cells = state
        y, after = self.pixel_stack.step(self._pixel_features(token, context, column[:, 0]), tuple(cells))
        return self.head(self.dropout(y)), ((column + 1) % self.config.width, *after)

    def scan(self, pixels: Tensor, kind: Tensor) -> Tensor:
        """Return the logits `[pixels, batch, levels]` of every pixel of pictures int64 `[pixels, batch]`."""
        height, width, batch = self.config.height, self.config.width, pixels.shape[1]
        before = torch.cat([torch.zeros_like(pixels[:width]), pixels[:-width]])
        rows = before.view(height, width, batch).transpose(1, 2)  # [height, batch, width], the row above each
        places = torch.arange(height).unsqueeze(1).expand(height, batch)
        y, _ = self.row_stack.scan(
            self._row_features(rows, places, kind.expand(height, batch)), self.row_stack.init(batch)
        )
        context = self._context(y, rows).repeat_interleave(width, dim=0)
        tokens = torch.cat([torch.zeros_like(pixels[:1]), pixels[:-1]])
        columns = (torch.arange(len(pixels)) % width).unsqueeze(1).expand_as(pixels)
        y, _ = self.pixel_stack.scan(self._pixel_features(tokens, context, columns), self.pixel_stack.init(batch))
        logits: Tensor = self.head(self.dropout(y))
        return logits

    def _row_features(self, row: Tensor, place: Tensor, kind: Tensor) -> Tensor:
        return torch.cat([self.row_pixels(row).flatten(-2), self.row_place(place), self.row_class(kind)], dim=-1)

    def _context(self, y: Tensor, row: Tensor) -> Tensor:
        return torch.relu(self.context(self.dropout(y)) + self.above(self.row_pixels(row).flatten(-2)))

    def _pixel_features(self, token: Tensor, context: Tensor, column: Tensor) -> Tensor:
        return torch.cat([self.pixel(token), self.column(column), context], dim=-1)


class RowStep(nn.Module):
    """The slow network of a `RowModel` as a `StepModule`: `forward(row, [class], *states) -> (context, *states)`."""

    def __init__(self, model: RowModel) -> None:
        """Wrap a model; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()

    @property
    def spec(self) -> Spec:
        """The interface of the step."""
        config = self.model.config
        return Spec(
            inputs=(
                TensorSpec("row", "int64", (BATCH, config.width), "frame", size=config.levels),
                *class_inputs(config),
            ),
            outputs=(TensorSpec("context", "float32", (BATCH, config.hidden), "params"),),
            states=state_specs(("place", *self.model.row_stack.state_names), self.model.row_init(1)),
        )

    def forward(self, row: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Return the context `[batch, hidden]` and the next states, for rows int64 `[batch, width]`."""
        kind, state = split_class(self.model.config, rest, row[:, 0])
        context, after = self.model.row_step(row, kind, state)
        return (context, *after)


class RowPixelStep(nn.Module):
    """The fast network of a `RowModel` as a `StepModule`: `forward(token, context, *states) -> (logits, *states)`."""

    def __init__(self, model: RowModel) -> None:
        """Wrap a model; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()

    @property
    def spec(self) -> Spec:
        """The interface of the step."""
        config = self.model.config
        context = TensorSpec("context", "float32", (BATCH, config.hidden), "condition")
        names = ("column", *self.model.pixel_stack.state_names)
        return picture_spec(config, (context,), state_specs(names, self.model.pixel_init(1)))

    def forward(self, token: Tensor, context: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return the logits `[batch, levels]` and the next states, for tokens int64 `[batch]`."""
        logits, after = self.model.pixel_step(token, context, state)
        return (logits, *after)


def stages(model: RowModel) -> StagedModules:
    """Return a `RowModel` as two stages: `row`, which steps every row, and `pixel`, which steps every pixel."""
    links = (Link("pixel", "logits", "row", "row"), Link("row", "context", "pixel", "context"))
    steps: dict[str, StepModule] = {"row": RowStep(model), "pixel": RowPixelStep(model)}
    return StagedModules(steps, {"row": model.config.width, "pixel": 1}, links)
