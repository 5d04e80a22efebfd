"""Quantization measured: every cell in every precision, beside the stock quantizer.

Trains what is missing in the folder (some 40 minutes on two cores), and prints the tables of docs/quantization.md.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from road import edgernn, print_table
from stock import operators, stepper, stock_perplexity, stock_quantize

from edgernn.artefacts.drift import write_drift_report
from edgernn.bench.peers.stock_export import export_stock
from edgernn.models import RecurrentLM
from edgernn.training import Run
from edgernn_export import Recording, StagedModules, TorchEngine, verify
from edgernn_export.likelihood import kl_nats
from edgernn_export.timing import step_latencies
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.profiling import Latency, interleave

Tokens = NDArray[np.int64]

SECONDS: Final = {
    ("lstm", 256): 150, ("gru", 256): 120, ("elman", 256): 100,
    ("lstm", 512): 420, ("gru", 512): 400, ("elman", 512): 300,
}  # fmt: skip
CHARACTERS: Final = 40_000
BATCH_STEPS: Final = 1000
DRIFT_STEPS: Final = 10_000
COLOURS: Final = 48
FORMS: Final = ("int8", "int4", "int8-portable", "fp16")
METHODS: Final = ("nearest", "clipped", "hqq", "gptq")


def main() -> None:
    """Train, quantize, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where runs lie, and are trained if they are missing")
    parser.add_argument("--picture", type=Path, help="where to draw the drift of the smaller LSTM")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = {key: _run(options.folder, *key, seconds) for key, seconds in SECONDS.items()}
    reports = {key: _quantized(run) for key, run in runs.items()}
    _print_quality(reports)
    _print_sizes(reports)
    _print_methods(runs)
    _print_stock(runs)
    _print_batches(runs)
    if options.picture is not None:
        _draw(runs["lstm", 256], options.picture)


def _run(folder: Path, cell: str, hidden: int, seconds: int) -> Path:
    """Return a trained and exported run."""
    run = folder / f"{cell}-{hidden}"
    if not (run / "model.safetensors").exists():
        edgernn("train", "text", "--cell", cell, "--hidden", hidden, "--max-seconds", seconds, "-o", run)
    if not (run / "model.onnx").exists():
        edgernn("export", run)
    return run


def _quantized(run: Path) -> dict[str, Any]:
    """Return the reports on all forms of a run's model, by precision."""
    model = run / "model.onnx"
    return {
        form: edgernn("quantize", model, "--precision", form, "--max-tokens", CHARACTERS, "--force") for form in FORMS
    }


def _print_quality(reports: dict[tuple[str, int], dict[str, Any]]) -> None:
    rows = []
    for (cell, hidden), forms in reports.items():
        before = forms["int8"]["quality"]["before"]
        rows.append([f"{cell} {hidden}", f"{before:.4f}", *(_loss(forms[form]["quality"]) for form in FORMS)])
    print_table(["model", "float32", *FORMS], rows)


def _loss(quality: dict[str, Any]) -> str:
    low, high = quality["interval"]
    return f"{quality['relative']:+.3%} ({low:+.3%} to {high:+.3%})"


def _print_sizes(reports: dict[tuple[str, int], dict[str, Any]]) -> None:
    """Print the bytes as shares of the float file, and the step's p50 in microseconds."""
    rows = []
    for (cell, hidden), forms in reports.items():
        before = forms["int8"]["bytes_before"]
        paths = [Path(forms[form]["path"]) for form in FORMS]
        engines = [OrtEngine(paths[0].with_name("model.onnx")), *map(OrtEngine, paths)]
        times = [latency.p50 for latency in step_latencies(engines)]
        shares = [f"{forms[form]['bytes_after'] / before:.3f}" for form in FORMS]
        rows.append([f"{cell} {hidden}", f"{before:,}", *shares, *(f"{p50:.1f}" for p50 in times)])
    print_table(["model", "bytes", *FORMS, "float32 us", *(f"{form} us" for form in FORMS)], rows)


def _print_methods(runs: dict[tuple[str, int], Path]) -> None:
    """Print the loss of int4 by each method."""
    rows = []
    for (cell, hidden), run in runs.items():
        losses = []
        for method in METHODS:
            with tempfile.TemporaryDirectory() as folder:
                form = ("--precision", "int4", "--method", method, "-o", Path(folder) / "model.onnx")
                quality = edgernn("quantize", run / "model.onnx", *form, "--max-tokens", CHARACTERS)["quality"]
            losses.append(f"{quality['relative']:+.3%} (KL {quality['kl_nats']:.1e})")
        rows.append([f"{cell} {hidden}", *losses])
    print_table(["model", *METHODS], rows)


def _print_stock(runs: dict[tuple[str, int], Path]) -> None:
    """Print what the stock quantizer makes of the stock export of the same models."""
    rows = []
    for (cell, hidden), run in runs.items():
        model = Run.open(run).load_model()
        assert isinstance(model, RecurrentLM)  # noqa: S101, these runs train text
        tokens = _tokens(run)
        with tempfile.TemporaryDirectory() as folder:
            exported = export_stock(model, Path(folder) / "stock.onnx")
            quantized = stock_quantize(exported)
            calls = [partial(_stepped, stepper(path), tokens) for path in (exported, quantized)]
            times = [Latency.of(taken).p50 for taken in interleave(calls, 1000)]
            before, after = (stock_perplexity(path, tokens) for path in (exported, quantized))
            share = quantized.stat().st_size / exported.stat().st_size
            found = ", ".join(f"{count} {name}" for name, count in operators(quantized).items())
        rows.append(
            [f"{cell} {hidden}", found, f"{share:.3f}", f"{after / before - 1:+.3%}", *(f"{p50:.1f}" for p50 in times)]
        )
    print_table(["model", "operators", "bytes", "perplexity", "stock us", "quantized us"], rows)


def _stepped(step: Callable[[int], object], tokens: Tokens, number: int) -> None:
    step(int(tokens[number]))


def _tokens(run: Path) -> Tokens:
    return Recording.load(run / "valid.npz").head(CHARACTERS).inputs["token"].astype(np.int64)


def _print_batches(runs: dict[tuple[str, int], Path]) -> None:
    """Print how far a stream alone is from the same stream in a batch of 64, beside what quantization costs."""
    rows = []
    for (cell, hidden), run in runs.items():
        tokens = _tokens(run)[: 64 * BATCH_STEPS].reshape(-1)
        source = _logits(OrtEngine(run / "model.onnx"), tokens, batch=1)
        for form in ("int8", "int4"):
            engine = OrtEngine(run / f"model.{form}.onnx")
            alone, among = (_logits(engine, tokens, batch=batch) for batch in (1, 64))
            apart, cost = kl_nats(alone, among), kl_nats(source, alone)
            rows.append([f"{cell} {hidden} {form}", f"{apart:.1e}", f"{cost:.1e}", f"{apart / cost:.2f}"])
    print_table(["model", "KL alone to batched", "KL float32 to quantized", "ratio"], rows)


def _logits(engine: OrtEngine, tokens: Tokens, *, batch: int) -> NDArray[np.float32]:
    """Return the logits of the first row over 1,000 steps; the other rows read other parts of the text."""
    executor = engine.executor(batch)
    offsets = np.arange(batch) * (len(tokens) - BATCH_STEPS) // max(batch - 1, 1)
    made = np.empty((BATCH_STEPS, executor.outputs["logits"].shape[-1]), np.float32)
    for step in range(BATCH_STEPS):
        executor.inputs["token"][:] = tokens[offsets + step]
        executor.run()
        made[step] = executor.outputs["logits"][0]
    return made


def _draw(run: Path, picture: Path) -> None:
    """Draw the drift of the float32, int8 and int4 models from the trained one in torch over 10,000 steps."""
    recording = Recording.load(run / "valid.npz").head(DRIFT_STEPS)
    modules = Run.open(run).step_modules()
    assert not isinstance(modules, StagedModules)  # noqa: S101, text models have one graph
    files = {"float32": "model.onnx", "int8": "model.int8.onnx", "int4": "model.int4.onnx"}
    reports = {
        form: verify(TorchEngine(modules), OrtEngine(run / file), recording, tolerance=None)
        for form, file in files.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        write_drift_report(Path(folder), reports, overwrite=True)
        Image.open(Path(folder) / "drift.png").quantize(COLOURS).save(picture, optimize=True)


if __name__ == "__main__":
    main()
