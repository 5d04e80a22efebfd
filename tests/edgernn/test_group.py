"""Several processes and one batch: their shares of the rows, and what their losses and gradients add up to."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgernn.tasks import find_task
from edgernn.tasks.share import WHOLE, Share
from edgernn.tasks.vae.objective import elbo_loss, kl_nats, moments
from edgernn.training import Run, Trainer
from edgernn.training.group import ALONE, Group
from edgernn_runtime.errors import InputError

SMALL: Mapping[str, Any] = {"hidden": 8, "dropout": 0.0, "batch": 8, "max_steps": 4}
TASKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "text": ("text", {"segment": 12}),
    "pixels": ("image", {}),
    "rows": ("image", {"order": "rows"}),
    "vae": ("vae", {"free_bits": 0.0, "kl_warmup": 0.0}),
    "series": ("series", {"window": 10, "drop": 0.4, "gaps": "mask"}),
    "mixture": ("series", {"window": 10, "series": "sunspots", "distribution": "logistic_mixture"}),
    "vowels": ("classify", {}),
    "digits": ("classify", {"dataset": "digits", "head": "sigmoid"}),
}
STEP = 3
FLOAT64 = {"text", "pixels", "rows", "vowels", "digits"}


def share_of(rank: int, ranks: int) -> Share:
    return Share(rank, ranks, torch.Generator().manual_seed(7), lambda value: value)


def loss_and_gradient(name: str, share: Share) -> tuple[float, Tensor]:
    """Return what one process computes of a step of a task, from the same weights and the same random state."""
    task = find_task(TASKS[name][0])
    settings = task.settings(**SMALL, **TASKS[name][1])
    data = task.read(settings)
    data.share = share
    torch.manual_seed(1)
    model = task.model(settings, data.facts)
    if name in FLOAT64:
        model.double()
    state = tuple(share.of(tensor, 0) for tensor in task.begin(model, settings))
    torch.manual_seed(7)
    loss, carried = task.loss(model, data, step=STEP, state=state, spent=0.5)
    torch.autograd.backward(loss)
    assert all(len(tensor) == SMALL["batch"] // share.ranks for tensor in carried)
    gradients = [each.grad.flatten() for each in model.parameters() if each.grad is not None]
    return float(loss.detach()), torch.cat(gradients)


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("name", TASKS)
def test_the_means_over_the_shares_are_loss_and_gradient_of_the_whole_batch(name: str, ranks: int) -> None:
    whole, gradient = loss_and_gradient(name, WHOLE)
    parts = [loss_and_gradient(name, share_of(rank, ranks)) for rank in range(ranks)]
    near = 1e-13 if name in FLOAT64 else 2e-6
    assert len({loss for loss, _ in parts}) == ranks  # each has rows of its own
    assert whole == pytest.approx(sum(loss for loss, _ in parts) / ranks, rel=near)
    mean = torch.stack([each for _, each in parts]).mean(0)
    assert float((gradient - mean).abs().max()) < near * max(1.0, float(gradient.abs().max()))


def test_shares_are_the_rows_of_a_batch_one_after_the_other() -> None:
    rows = torch.arange(12).view(2, 6)
    parts = [Share(rank, 3).of(rows, 1) for rank in range(3)]
    assert torch.equal(rows, torch.cat(parts, dim=1))
    assert all(part.shape == (2, 2) for part in parts)
    assert WHOLE.of(rows, 1) is rows


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(InputError, match="a batch of 7 cannot be divided among 2 processes; use a --batch that"):
        Share(1, 2).rows(7)


@pytest.mark.parametrize("draw", [torch.randn, torch.rand])
def test_processes_draw_their_rows_of_what_one_process_draws(draw: Callable[..., Tensor]) -> None:
    torch.manual_seed(7)
    alone = [WHOLE.draw(draw, 5, 4, axis=1) for _ in range(2)]
    shares = [share_of(rank, 2) for rank in range(2)]
    for whole in alone:
        assert torch.equal(whole, torch.cat([share.draw(draw, 5, 2, axis=1) for share in shares], dim=1))
    torch.manual_seed(7)
    assert torch.equal(alone[0], torch.randn(5, 4) if draw is torch.randn else torch.rand(5, 4))


def test_one_process_is_a_group_that_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert Group.from_torchrun("") is ALONE
    module = torch.nn.Linear(2, 2)
    assert ALONE.parallel(module, idle_weights=False) is module
    assert ALONE.share() == WHOLE
    assert ALONE.total(1.5, 2.0) == (1.5, 2.0)
    assert ALONE.from_first(module) is module
    assert ALONE.gathered(module) == [module]
    assert ALONE.tells()


def test_a_single_process_under_torchrun_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("TORCHELASTIC_RUN_ID", "none")):
        monkeypatch.setenv(name, value)
    assert Group.from_torchrun("") is ALONE


def text_run(folder: Path) -> tuple[Run, Any]:
    task = find_task("text")
    settings = task.settings(**SMALL)
    data = task.read(settings)
    return Run(folder, task, settings, data.facts, data.sha256), data


def test_a_task_that_does_not_divide_its_batches_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run, data = text_run(tmp_path / "run")
    data.rows = None
    with pytest.raises(InputError, match="the task text does not divide its batches among processes"):
        Trainer(run, data, resume=False, group=Group(0, 2))
    assert not run.folder.exists()


def test_a_batch_that_leaves_a_rest_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run, data = text_run(tmp_path / "run")
    with pytest.raises(InputError, match="a batch of 8 cannot be divided among 3 processes"):
        Trainer(run, data, resume=False, group=Group(2, 3))
    assert not run.folder.exists()


def test_what_is_carried_must_have_the_rows_of_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, data = text_run(tmp_path / "run")
    monkeypatch.setattr(type(run.task), "begin", lambda *_: (torch.zeros(3, 8),))
    with pytest.raises(InputError, match=r"what the task text carries must have 8 rows .* got \[3, 8\]"):
        Trainer(run, data, resume=False, group=Group(0, 2))


def test_free_bits_are_those_of_the_whole_batch() -> None:
    task = find_task("vae")
    settings = task.settings(**SMALL)
    data: Any = task.read(settings)
    torch.manual_seed(1)
    model: Any = task.model(settings, data.facts)
    rows = data.batch(STEP)
    with torch.no_grad():
        cost = kl_nats(*moments(model, rows)).mean(0)

    def gradient(share: Share) -> Tensor:
        model.zero_grad()
        torch.manual_seed(7)
        mine = share.of(rows, 1)
        loss = elbo_loss(model, mine, levels=4, kl_weight=100.0, free_bits=float(cost.median()), share=share)
        torch.autograd.backward(loss)
        return torch.cat([each.grad.flatten() for each in model.encoder.parameters()])

    def parted(average: Callable[[Tensor], Tensor]) -> Tensor:
        chances = [torch.Generator().manual_seed(7) for _ in range(2)]
        return torch.stack([gradient(Share(rank, 2, chances[rank], average)) for rank in range(2)]).mean(0)

    whole = gradient(WHOLE)
    assert torch.allclose(whole, parted(lambda value: value + (cost - value).detach()), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(whole, parted(lambda value: value), rtol=1e-4, atol=1e-4)
