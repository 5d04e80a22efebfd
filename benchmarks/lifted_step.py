"""Lifted models beside the built-in ones of equal size: step latency in one interleaved run."""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgernn.models.recurrent_lm import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn_export import export, lift
from edgernn_runtime import load
from edgernn_runtime.profiling import interleave, stepper

VOCABULARY = 128


class SequenceLM(nn.Module):
    """A token model over whole sequences, as one is written in torch."""

    def __init__(self, layer: type[nn.RNNBase], hidden: int) -> None:
        """Make a model of two layers of `hidden`."""
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, hidden)
        self.rnn = layer(hidden, hidden, 2, batch_first=True)  # type: ignore[arg-type]
        self.head = nn.Linear(hidden, VOCABULARY)

    def forward(self, token: Tensor) -> Tensor:
        """Return the logits of every step."""
        return self.head(self.rnn(self.embedding(token))[0])  # type: ignore[no-any-return]


def main() -> None:
    """Print the p50 of lifted and built-in models, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    print("cell hidden  lifted us  built-in us  ratio")
    for cell, layer in (("lstm", nn.LSTM), ("gru", nn.GRU)):
        for hidden in (128, 256, 512):
            with tempfile.TemporaryDirectory() as folder:
                paths = [Path(folder) / "lifted.onnx", Path(folder) / "built_in.onnx"]
                export(lift(SequenceLM(layer, hidden), "token=int64[B,T]"), paths[0])
                config = ModelConfig(cell=cell, vocabulary=VOCABULARY, hidden=hidden, layers=2)
                export(RecurrentLMStep(RecurrentLM(config)), paths[1])
                durations = interleave([stepper(load(path)) for path in paths], steps)
            lifted, built_in = (float(np.percentile(each, 50)) for each in durations)
            print(f"{cell:<4} {hidden:6d} {lifted:10.1f} {built_in:12.1f} {lifted / built_in:6.3f}")


if __name__ == "__main__":
    main()
