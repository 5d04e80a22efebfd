"""Verify: differences are found where they are, and only there."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgernn.models import ModelConfig, RecurrentLM, RecurrentLMStep
from edgernn_export import Recording, TorchEngine, export, verify
from edgernn_export.drift.free_running import free_running
from edgernn_export.drift.teacher_forced import teacher_forced
from edgernn_export.likelihood import _NATS, mean_nats, perplexity
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import DataError, InputError
from edgernn_runtime.sampling import GREEDY, Sampler

VOCABULARY = 9


def step_of(seed: int = 0, cell: str = "lstm") -> RecurrentLMStep:
    torch.manual_seed(seed)
    model = RecurrentLM(ModelConfig(cell, VOCABULARY, hidden=10, layers=2))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return RecurrentLMStep(model, start=0)


TOKENS = Recording.of_tokens("token", np.random.default_rng(0).integers(0, VOCABULARY, 401))


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_a_float_model_picks_the_same_tokens_as_torch(tmp_path: Path, cell: str) -> None:
    step = step_of(cell=cell)
    engine = OrtEngine(export(step, tmp_path / "m.onnx").path)
    report = verify(TorchEngine(step), engine, TOKENS, tolerance=1e-4)
    assert report.passed
    assert report.teacher_forced.max_abs <= 1e-5
    assert report.teacher_forced.kl_nats == pytest.approx(0, abs=1e-9)
    assert report.teacher_forced.first_divergence is None
    for run in (report.greedy, report.sampled):
        assert run is not None
        assert (run.first_divergence, run.agreement, run.margin) == (None, 1.0, None)


def test_a_changed_layer_is_named_as_the_state_that_diverges_first() -> None:
    source, changed = step_of(), step_of()
    changed.model.stack.layers[1].kernel.get_parameter("bias_ih_l0").data += 0.01
    report = verify(TorchEngine(source), TorchEngine(changed), TOKENS, tolerance=1e-4)
    assert not report.passed
    assert report.teacher_forced.first_divergence == 0
    assert report.teacher_forced.worst_state in {"state.1.h", "state.1.c"}
    drift = {state.name: state.max_abs for state in report.teacher_forced.states}
    assert drift["state.0.h"] == drift["state.0.c"] == 0


def test_other_weights_generate_other_tokens_and_the_margin_says_how_close_it_was() -> None:
    source, other = TorchEngine(step_of(0)), TorchEngine(step_of(1))
    for sampler in (GREEDY, Sampler()):
        run = free_running(source, other, TOKENS.head(100), sampler=sampler, seed=4)
        assert run.first_divergence is not None
        assert run.agreement < 1
        assert run.margin is not None
        assert run.margin >= 0


def test_nan_never_passes() -> None:
    source, broken = step_of(), step_of()
    broken.model.head.bias.data[3] = float("nan")
    forced = teacher_forced(TorchEngine(source), TorchEngine(broken), TOKENS.head(5))
    assert not forced.max_abs <= 1e9
    assert forced.first_divergence == 0
    report = verify(TorchEngine(source), TorchEngine(broken), TOKENS.head(5), tolerance=1e9)
    assert not report.passed
    assert report.sampled is None


def test_models_of_different_shape_are_not_compared() -> None:
    with pytest.raises(InputError, match="differ in their states"):
        verify(TorchEngine(step_of()), TorchEngine(step_of(cell="gru")), TOKENS, tolerance=None)
    with pytest.raises(InputError, match="no inputs"):
        verify(TorchEngine(step_of()), TorchEngine(step_of()), TOKENS.head(0), tolerance=None)


def test_perplexity_is_that_of_the_sequence_model() -> None:
    step = step_of()
    assert TOKENS.targets is not None
    with torch.inference_mode():
        logits, _ = step.model.scan(torch.tensor(TOKENS.inputs["token"])[:, None], step.model.init(1))
        expected = nn.functional.cross_entropy(logits[:, 0], torch.tensor(TOKENS.targets))
    assert mean_nats(TorchEngine(step), TOKENS) == pytest.approx(float(expected), abs=1e-6)
    assert perplexity(TorchEngine(step), TOKENS) == pytest.approx(float(expected.exp()), rel=1e-6)


def test_perplexity_needs_two_tokens() -> None:
    with pytest.raises(InputError, match="two tokens"):
        Recording.of_tokens("token", [1])


def test_there_is_no_likelihood_without_targets() -> None:
    with pytest.raises(InputError, match="no targets"):
        perplexity(TorchEngine(step_of()), Recording.of("token", [1, 2, 3]))


def test_a_model_that_gives_nan_has_no_good_likelihood() -> None:
    broken = step_of()
    broken.model.head.bias.data[3] = float("nan")
    assert math.isnan(mean_nats(TorchEngine(broken), TOKENS))


@pytest.mark.parametrize("distribution", ["gaussian", "logistic_mixture"])
def test_only_a_missing_target_costs_nothing(distribution: str) -> None:
    nats = _NATS[distribution]
    shape = (2, 1, 2) if distribution == "gaussian" else (2, 1, 4, 3)
    parameters, targets = np.zeros(shape), np.array([[np.nan], [1.0]])
    found = nats(parameters, targets)
    assert found[0, 0] == 0 < found[1, 0]
    assert np.isnan(nats(np.full(shape, np.nan), targets)[1, 0])


def test_targets_and_inputs_out_of_range_are_refused() -> None:
    engine = TorchEngine(step_of())
    start = np.array([True, False])
    with pytest.raises(InputError, match=r"targets must lie in 0\.\.8"):
        mean_nats(engine, Recording({"token": np.array([1, 2])}, start, np.array([9, 0])))
    with pytest.raises(InputError, match="targets must be"):
        mean_nats(engine, Recording({"token": np.array([1, 2])}, start, np.zeros((2, 3), np.int64)))
    with pytest.raises(InputError, match=r"token must lie in 0\.\.8"):
        mean_nats(engine, Recording({"token": np.array([1, 9])}, start, np.array([0, 0])))


@pytest.mark.parametrize("keep", range(20, 900, 80))
def test_a_damaged_recording_is_one_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "valid.npz"
    TOKENS.save(path)
    assert TOKENS.inputs["token"].tolist() == Recording.load(path).inputs["token"].tolist()
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:keep])
    with pytest.raises(DataError, match="is no recording"):
        Recording.load(path)
