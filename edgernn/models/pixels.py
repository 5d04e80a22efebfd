"""PixelModel: pictures pixel by pixel, each from those before it; after Pixel RNN (van den Oord et al. 2016)."""

from typing import Final

import torch
from torch import Tensor, nn

from edgernn.cells import State, make_stack
from edgernn.models.picture import PictureConfig, class_inputs, picture_spec, split_class
from edgernn.models.state_specs import state_specs
from edgernn_runtime.spec import Spec

NEIGHBOURS: Final = 4
"""Left, above left, above and above right: the pixels that a step sees as they are."""

_FEATURES: Final = 24


class PixelModel(nn.Module):
    """Embeddings of four neighbours, place and class, stacked cells, and a head: the greys of the next pixel.

    The cells see the whole picture so far; the neighbours are what a step needs of it at once. Beside the cells'
    states it carries the pixels of the row above, int64 `[batch, width + 1]`, and the place in the picture.
    """

    def __init__(self, config: PictureConfig) -> None:
        """Make a model with torch's default initialisation."""
        super().__init__()
        self.config = config
        self.neighbours = nn.ModuleList(nn.Embedding(config.levels + 1, _FEATURES) for _ in range(NEIGHBOURS))
        self.row = nn.Embedding(config.height, _FEATURES)
        self.column = nn.Embedding(config.width, _FEATURES)
        self.classes = nn.Embedding(config.classes, _FEATURES)
        features = (NEIGHBOURS + 3) * _FEATURES
        self.stack = make_stack(config.cell, features, config.hidden, layers=config.layers, dropout=config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Sequential(
            nn.Linear(config.hidden + NEIGHBOURS * _FEATURES, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.levels),
        )

    def init(self, batch: int) -> State:
        """Return the state at reset: the row above, the place, and the cells' states."""
        row = torch.zeros(batch, self.config.width + 1, dtype=torch.int64)
        return (row, torch.zeros(batch, 1, dtype=torch.int64), *self.stack.init(batch))

    def step(self, token: Tensor, kind: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits `[batch, levels]` of the pixel after `token`, and the next state.

        Args:
            token: The pixel before, int64 `[batch]`; 0 before the first.
            kind: The class, int64 `[batch]`.
            state: As `init` gives it.
        """
        row, place, *cells = state
        row = torch.cat([row[:, 1:], token.unsqueeze(1)], dim=1)
        seen = self._seen(row, place[:, 0])
        y, after = self.stack.step(self._features(seen, place[:, 0], kind), tuple(cells))
        following = (place + 1) % self.config.pixels
        return self._head(y, seen), (row, following, *after)

    def scan(self, pixels: Tensor, kind: Tensor) -> Tensor:
        """Return the logits `[pixels, batch, levels]` of every pixel of whole pictures.

        Args:
            pixels: int64 `[pixels, batch]`.
            kind: The classes, int64 `[batch]`.
        """
        width = self.config.width
        before = torch.cat([pixels.new_zeros(width + 2, pixels.shape[1]), pixels[:-1]])
        rows = before.unfold(0, width + 1, 1)[1:]  # [pixels, batch, width + 1]
        place = torch.arange(len(pixels)).unsqueeze(1).expand_as(pixels)
        seen = self._seen(rows, place)
        y, _ = self.stack.scan(self._features(seen, place, kind.expand_as(pixels)), self.stack.init(pixels.shape[1]))
        return self._head(y, seen)

    def _seen(self, row: Tensor, place: Tensor) -> Tensor:
        """Return the embedded neighbours `[..., 4 * features]`; those outside the picture have one of their own."""
        width, outside = self.config.width, self.config.levels
        column, above = place % width, place >= width
        places = (
            (-1, column > 0),
            (-width - 1, above & (column > 0)),
            (-width, above),
            (-width + 1, above & (column < width - 1)),
        )
        values = (torch.where(inside, row[..., index], outside) for index, inside in places)
        return torch.cat([embed(value) for embed, value in zip(self.neighbours, values, strict=True)], dim=-1)

    def _features(self, seen: Tensor, place: Tensor, kind: Tensor) -> Tensor:
        width = self.config.width
        return torch.cat([seen, self.row(place // width), self.column(place % width), self.classes(kind)], dim=-1)

    def _head(self, y: Tensor, seen: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.cat([self.dropout(y), seen], dim=-1))
        return logits


class PixelStep(nn.Module):
    """A `PixelModel` as a `StepModule`: `forward(token, [class], *states) -> (logits, *states)`."""

    def __init__(self, model: PixelModel) -> None:
        """Wrap a model; it is put into evaluation mode."""
        super().__init__()
        self.model = model.eval()

    @property
    def spec(self) -> Spec:
        """The interface of the step."""
        names = ("row", "place", *self.model.stack.state_names)
        config = self.model.config
        return picture_spec(config, class_inputs(config), state_specs(names, self.model.init(1)))

    def forward(self, token: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Return the logits `[batch, levels]` and the next states, for tokens int64 `[batch]`."""
        kind, state = split_class(self.model.config, rest, token)
        logits, after = self.model.step(token, kind, state)
        return (logits, *after)
