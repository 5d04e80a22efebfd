"""RecurrentLM: a recurrent model of token sequences, and its one-step form for export."""

from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from edgernn.cells import State, make_stack
from edgernn.cells.stack import CELLS
from edgernn.models.state_specs import state_specs
from edgernn_runtime.codecs import Codec
from edgernn_runtime.errors import InputError
from edgernn_runtime.spec import BATCH, Feedback, Spec, TensorSpec

MAX_SIZE: Final = 2**16


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What makes a `RecurrentLM`.

    Attributes:
        cell: A name of `edgernn.cells.stack.CELLS`.
        vocabulary: The number of tokens.
        hidden: Features of the embedding and of every layer.
        layers: The number of cells.
        dropout: The share of features set to zero between layers in training.

    Raises:
        InputError: If a setting is out of range.
    """

    cell: str
    vocabulary: int
    hidden: int
    layers: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.cell not in CELLS:
            raise InputError(f"no cell is called {self.cell}; there are {', '.join(CELLS)}")
        for name in ("vocabulary", "hidden", "layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 < value <= MAX_SIZE:
                raise InputError(f"{name} must be an integer in 1..{MAX_SIZE}, got {value!r}")
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise InputError(f"dropout must lie in [0, 1), got {self.dropout!r}")


class RecurrentLM(nn.Module):
    """Embedding, stacked cells, dropout and a linear head: the next token's logits at every step."""

    def __init__(self, config: ModelConfig) -> None:
        """Make a model with torch's default initialisation."""
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.hidden)
        self.stack = make_stack(config.cell, config.hidden, config.hidden, layers=config.layers, dropout=config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, config.vocabulary)

    def init(self, batch: int) -> State:
        """Return the state at reset, tensors `[batch, ...]`."""
        return self.stack.init(batch)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits `[batch, vocabulary]` and the next state, for tokens int64 `[batch]`."""
        x, state = self.stack.step(self.embedding(token), state)
        return self.head(self.dropout(x)), state

    def scan(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits `[time, batch, vocabulary]` and the last state, for int64 `[time, batch]`."""
        x, state = self.stack.scan(self.embedding(tokens), state)
        return self.head(self.dropout(x)), state


class RecurrentLMStep(nn.Module):
    """A `RecurrentLM` as a `StepModule`: `forward(token, *states) -> (logits, *states)`."""

    def __init__(self, model: RecurrentLM, *, codec: Codec | None = None, start: int | None = None) -> None:
        """Wrap a model.

        Args:
            model: The trained model; it is put into evaluation mode.
            codec: How its tokens become text.
            start: The token that begins a stream without a prompt.
        """
        super().__init__()
        self.model = model.eval()
        self.codec = codec
        self.start = start

    @property
    def spec(self) -> Spec:
        """The interface of the step; the exporter adds what follows from the weights."""
        config = self.model.config
        return Spec(
            inputs=(TensorSpec("token", "int64", (BATCH,), "token", size=config.vocabulary),),
            outputs=(TensorSpec("logits", "float32", (BATCH, config.vocabulary), "logits"),),
            states=state_specs(self.model.stack.state_names, self.model.init(1)),
            distribution="categorical",
            feedback=Feedback(output="logits", input="token", start=self.start),
            codec=self.codec,
        )

    def forward(self, token: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return the logits `[batch, vocabulary]` and the next states, for tokens int64 `[batch]`."""
        logits, after = self.model.step(token, state)
        return (logits, *after)
