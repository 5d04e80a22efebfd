"""Inputs beside the main one: set once, kept, snapshot, forked and reset."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgernn_export import export
from edgernn_runtime import Model, State, load
from edgernn_runtime.errors import InputError, StateError
from edgernn_runtime.spec import BATCH, Feedback, Spec, StateSpec, TensorSpec


class Conditioned(nn.Module):
    """Logits of 7 tokens, pushed by a condition; the condition is the first input, the token the second."""

    spec = Spec(
        inputs=(
            TensorSpec("mood", "float32", (BATCH, 7), "condition"),
            TensorSpec("token", "int64", (BATCH,), "token"),
        ),
        outputs=(TensorSpec("logits", "float32", (BATCH, 7), "logits"),),
        states=(StateSpec("state.h", "next_state.h", "float32", (BATCH, 7)),),
        distribution="categorical",
        feedback=Feedback("logits", "token", start=0),
    )

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(7, 7)

    def forward(self, mood: Tensor, token: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        h = torch.tanh(self.embedding(token) + 0.5 * h + mood)
        return 3 * h, h


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(export(Conditioned(), tmp_path_factory.mktemp("conditioned") / "m.onnx").path)


MOOD = np.linspace(-1, 1, 7, dtype=np.float32)


def test_a_condition_stays_and_changes_what_is_generated(model: Model) -> None:
    plain, moody = model.stream(), model.stream()
    moody.set_input("mood", MOOD)
    assert list(plain.generate(20)) != list(moody.generate(20))


def test_a_snapshot_a_file_and_a_fork_keep_the_condition(model: Model, tmp_path: Path) -> None:
    stream = model.stream()
    stream.set_input("mood", MOOD)
    list(stream.generate(5))
    snapshot = stream.snapshot()
    snapshot.save(tmp_path / "s.npz")
    fork = stream.fork()
    expected = list(stream.generate(20))
    assert expected == list(fork.generate(20))
    assert expected == list(model.stream(state=snapshot).generate(20))
    assert expected == list(model.stream(state=State.load(tmp_path / "s.npz")).generate(20))


def test_a_reset_stream_and_an_initial_state_have_no_condition(model: Model) -> None:
    expected = list(model.stream().generate(20))
    stream = model.stream()
    stream.set_input("mood", MOOD)
    list(stream.generate(3))
    stream.reset()
    assert expected == list(stream.generate(20))
    stream.set_input("mood", MOOD)
    stream.restore(model.initial_state())
    assert expected == list(stream.generate(20))


def test_an_input_that_does_not_fit_is_refused(model: Model) -> None:
    stream = model.stream()
    with pytest.raises(InputError, match="no input token beside its main one; it has mood"):
        stream.set_input("token", MOOD)
    with pytest.raises(InputError, match=r"mood must be float32\[7\], got float64\[7\]"):
        stream.set_input("mood", MOOD.astype(np.float64))
    wrong = State(model.model_id, model.initial_state().arrays, inputs=(np.zeros((1, 3), np.float32),))
    with pytest.raises(StateError, match="inputs are not those of the model"):
        stream.restore(wrong)
