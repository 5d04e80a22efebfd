"""`edgernn train`: train a model and leave a run folder."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from edgernn.cli.console import messages, print_json, print_message, print_text, print_warning
from edgernn.cli.options import Json, given
from edgernn_runtime.errors import DataError, InputError, MissingExtraError

if TYPE_CHECKING:
    from edgernn.tasks.text import Corpus
    from edgernn.training import Run, Trainer, TrainingConfig, TrainingResult

EXIT_INTERRUPT = 130

app = typer.Typer(help="Train a model and leave a run folder.", no_args_is_help=True, rich_markup_mode=None)


class CellChoice(StrEnum):
    """The cells that a text model can be made of."""

    ELMAN = "elman"
    ELMAN_RELU = "elman-relu"
    LSTM = "lstm"
    GRU = "gru"


class CodecChoice(StrEnum):
    """How text becomes tokens."""

    CHARACTERS = "characters"
    BYTES = "bytes"


_CHANGEABLE = ("max_steps", "max_seconds", "threads", "json", "output", "resume")


@app.callback()
def _train() -> None:
    """Train a model and leave a run folder."""


@app.command("text")
def text(
    context: typer.Context,
    output: Annotated[Path, typer.Option("-o", "--output", help="The run folder.")],
    data: Annotated[
        Path | None,
        typer.Option(help="A UTF-8 file, or a folder of .txt and .md files; without it, Python's own help texts."),
    ] = None,
    codec: Annotated[
        CodecChoice, typer.Option(help="Tokens are characters, or bytes of UTF-8.")
    ] = CodecChoice.CHARACTERS,
    cell: Annotated[CellChoice, typer.Option(help="The recurrent cell.")] = CellChoice.LSTM,
    hidden: Annotated[int, typer.Option(min=1, help="Features of each layer.")] = 256,
    layers: Annotated[int, typer.Option(min=1, help="The number of layers.")] = 2,
    dropout: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of features set to zero between layers.")
    ] = 0.1,
    max_steps: Annotated[int | None, typer.Option(min=1, help="The budget in optimiser steps.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="The budget in seconds (default 150).")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Lanes of the text read at the same time.")] = 32,
    segment: Annotated[int, typer.Option(min=1, help="Steps that gradients flow back through.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="The peak learning rate.")] = 4e-3,
    warmup: Annotated[float, typer.Option(help="Share of the budget in which the rate rises.")] = 0.05,
    weight_decay: Annotated[float, typer.Option(help="AdamW's decay of weight matrices.")] = 0.01,
    l1: Annotated[float, typer.Option(help="Penalty on the absolute values of weights.")] = 0.0,
    l2: Annotated[float, typer.Option(help="Penalty on the squares of weights.")] = 0.0,
    clip_norm: Annotated[float, typer.Option(help="The largest norm of the gradient.")] = 1.0,
    valid_every: Annotated[int, typer.Option(min=1, help="Steps between validations.")] = 200,
    patience: Annotated[
        int, typer.Option(min=0, help="Validations without progress before an early stop; 0 never.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of initialisation, dropout and offsets.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Threads of torch (default: its own choice).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    json: Json = False,
) -> None:
    """Train a recurrent language model on text.

    Ctrl-C leaves a run that --resume continues.
    """
    import torch

    from edgernn.training import Trainer, TrainingConfig

    if threads is not None:
        torch.set_num_threads(threads)
    if resume:
        run, corpus = _reopen(context, output, max_steps=max_steps, max_seconds=max_seconds)
    else:
        config = TrainingConfig(
            max_steps=max_steps,
            max_seconds=150.0 if max_steps is None and max_seconds is None else max_seconds,
            batch=batch,
            segment=segment,
            learning_rate=learning_rate,
            warmup=warmup,
            weight_decay=weight_decay,
            l1=l1,
            l2=l2,
            clip_norm=clip_norm,
            valid_every=valid_every,
            patience=patience,
            seed=seed,
        )
        run, corpus = _begin(
            output, data, codec.value, cell=cell.value, hidden=hidden, layers=layers, dropout=dropout, config=config
        )
    trainer = Trainer(run, train=corpus.train, valid=corpus.valid, resume=resume)
    if resume:
        run.save()
        run.write_valid_text(corpus.valid_text)
    else:
        run.create(corpus.valid_text)
    print_message(
        f"{run.model.cell}, {run.model.layers} x {run.model.hidden}, "
        f"{sum(each.numel() for each in trainer.model.parameters()):,} weights; "
        f"{corpus.train.size:,} tokens to train on, {corpus.valid.size:,} to validate"
    )
    if corpus.unknown:
        print_warning(f"{corpus.unknown} validation characters never occur in training; they count as U+FFFD")
    if trainer.position.finished:
        print_message("the budget is spent already; give a larger --max-steps or --max-seconds to go on")
    result = _train_with_progress(trainer)
    _finish(run, result, json=json)


def _begin(
    folder: Path,
    data: Path | None,
    codec: str,
    *,
    cell: str,
    hidden: int,
    layers: int,
    dropout: float,
    config: "TrainingConfig",
) -> "tuple[Run, Corpus]":
    from edgernn.models import ModelConfig
    from edgernn.tasks.text import Corpus, builtin_text, read_text
    from edgernn.training import Run

    corpus = Corpus.from_text(builtin_text() if data is None else read_text(data), codec)
    model = ModelConfig(cell=cell, vocabulary=corpus.codec.size, hidden=hidden, layers=layers, dropout=dropout)
    source = None if data is None else str(data.absolute())
    run = Run(folder, model, corpus.codec, config, source, corpus.sha256)
    run.check_new()
    return run, corpus


def _reopen(
    context: typer.Context, folder: Path, *, max_steps: int | None, max_seconds: float | None
) -> "tuple[Run, Corpus]":
    from edgernn.tasks.text import Corpus, builtin_text, read_text
    from edgernn.training import Run

    fixed = [name for name in given(context) if name not in _CHANGEABLE]
    if fixed:
        raise InputError(f"a resumed run keeps its settings; --{fixed[0].replace('_', '-')} cannot change")
    run = Run.open(folder)
    text = builtin_text() if run.data is None else read_text(Path(run.data))
    corpus = Corpus.from_text(text, run.codec.kind)
    if corpus.sha256 != run.data_sha256:
        raise DataError(f"the text {run.data or 'of this Python'} is not the one that {folder} was trained on")
    if max_steps is not None or max_seconds is not None:
        run = replace(run, training=replace(run.training, max_steps=max_steps, max_seconds=max_seconds))
    return run, corpus


def _train_with_progress(trainer: "Trainer") -> "TrainingResult":
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from edgernn.training import Progress as Step

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with _interruption() as interrupted, Progress(*columns, console=messages, refresh_per_second=4) as bar:
        task = bar.add_task("training", total=1.0)

        def report(step: Step) -> None:
            losses = f"loss {step.loss:.3f}  best valid {step.valid_loss:.3f}"
            text = f"step {step.step}  {losses}  {step.tokens_per_s:,.0f} tokens/s"
            bar.update(task, completed=step.spent, description=text)

        result: TrainingResult = trainer.train(stop=lambda: bool(interrupted), report=report)
        return result


@contextmanager
def _interruption() -> Iterator[list[int]]:
    """Yield a list that holds a signal's number once Ctrl-C or a termination asks the run to end."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _finish(run: "Run", result: "TrainingResult", *, json: bool) -> None:
    import math

    from edgernn.training.curve import write_curve

    position = result.position
    try:
        write_curve(run)
    except MissingExtraError as error:
        print_warning(str(error))
    if result.interrupted:
        print_message(f"interrupted at step {position.step}; go on with: edgernn train text -o {run.folder} --resume")
        raise typer.Exit(EXIT_INTERRUPT)
    bits = position.best_loss / math.log(2)
    if json:
        print_json(
            {
                "run_dir": str(run.folder),
                "steps": position.step,
                "train_loss": position.train_loss,
                "valid_loss": position.best_loss,
                "bits_per_token": bits,
                "accuracy": position.best_accuracy,
                "seconds": position.elapsed_s,
            }
        )
    else:
        print_text(
            f"{run.folder}: {position.step} steps in {position.elapsed_s:.0f} s, validation loss "
            f"{position.best_loss:.4f} nats ({bits:.4f} bits) per token, accuracy {position.best_accuracy:.1%}, "
            f"at step {position.best_step}"
        )
