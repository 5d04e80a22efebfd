"""The loss curve of a run as a picture."""

from io import BytesIO

from edgernn.training.run import Run
from edgernn.training.trainer import read_metrics
from edgernn_runtime.errors import MissingExtraError
from edgernn_runtime.files import write_bytes


def write_curve(run: Run) -> None:
    """Write the run's `loss.png`: training and validation loss, and gradient norms, over steps.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        OutputError: If the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415, an optional extra
    except ImportError as error:
        raise MissingExtraError("the loss curve needs matplotlib; install edgernn[report]") from error
    records = read_metrics(run)
    steps = [record["step"] for record in records]
    figure = Figure(figsize=(7, 5), layout="constrained")
    losses, norms = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    losses.plot(steps, [record["train_loss"] for record in records], label="training", marker=".")
    losses.plot(steps, [record["valid_loss"] for record in records], label="validation", marker=".")
    losses.set_ylabel(f"loss, {run.task.loss_unit}")
    losses.set_title(f"{run.task.name}: {run.settings.cell}, {run.settings.layers} x {run.settings.hidden}")
    losses.legend()
    norms.set_xlim(left=0)
    low, median, high = ([record[f"grad_norm_{part}"] for record in records] for part in ("min", "median", "max"))
    norms.plot(steps, median, label="median", marker=".")
    norms.vlines(steps, low, high, alpha=0.4, label="smallest to largest")
    norms.axhline(run.settings.clip_norm, color="gray", linestyle=":", label="clipped above")
    norms.set_yscale("log")
    norms.set_ylabel("gradient norm")
    norms.set_xlabel("step")
    norms.legend(fontsize="small")
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_bytes(run.curve_file, picture.getvalue(), overwrite=True)
