"""Compiled step models token by token, beside the read floor, and called from C, all in turns.

    OMP_NUM_THREADS=1 python benchmarks/compiled.py [--only tokens|floor|signals] [--steps 5000]

Two layers, one thread, batch 1, random weights, microseconds. `tokens` is `next` on `Stream.generate` of two LSTM
layers of 128; `floor` is `Stream.step_into` beside the time to read the weights; `signals` has the networks of
RTNeural's benchmark, two LSTM layers with one number in and one out. Where it says C, a program calls the library and
no Python takes part. Steps beside other runtimes are in compiled.json, which `edgernn bench` wrote.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from edgernn.bench.case import PRECISIONS, VOCABULARY, Case, Material, Precision, make_model
from edgernn.bench.peers.native import library_file
from edgernn.bench.peers.step_model import model_file
from edgernn_export import Recording, export, lift, quantize
from edgernn_export.compile import find_compiler, find_target
from edgernn_runtime import GREEDY, Sampler, load
from edgernn_runtime.profiling import Latency, interleave, profile, stepper

FLOOR_SIZES: Final = (128, 256, 512, 1024)
SAMPLERS: Final = {
    "greedy": GREEDY,
    "temperature 0.8": Sampler(0.8),
    "top-k 20, top-p 0.9": Sampler(0.8, top_k=20, top_p=0.9),
}
RTNEURAL_US: Final = {64: 1.8, 128: 6.6, 256: 34.0}
"""RTNeural's figures in float32 for these sizes, on the kind of machine that the tables in docs are of."""

ROUNDS: Final = 5

_PROGRAM: Final = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct edgernn_call {
    void *states;
    const void *const *inputs;
    void *const *outputs;
    int32_t rows, top_k;
    float temperature, top_p;
    int32_t ranked;
} edgernn_call;

enum { MOST_BLOCKS = 2000 };
static double spent[MOST_BLOCKS];
static _Alignas(64) char state[1 << 20], stream[1 << 20];
static _Alignas(64) float output[1 << 16], frame[1 << 16];
static int64_t token;
static uint32_t noise = 1;
static int vocabulary;
static uint64_t *words, count;
static volatile uint64_t sink;
static edgernn_call call = {state, NULL, NULL, 1, 0, 0.0f, 1.0f, 0};
static int32_t (*run)(const edgernn_call *);
static int32_t (*next)(void *);

static void step_tokens(void) {
    noise = noise * 1664525u + 1013904223u;
    token = (noise >> 8) % (uint32_t)vocabulary;
    run(&call);
}

static void step_frames(void) {
    noise = noise * 1664525u + 1013904223u;
    frame[0] = (float)(noise >> 8) / 16777216.0f - 0.5f;
    run(&call);
}

static void step_drawn(void) { next(stream); }

static void step_read(void) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; ++i)
        sum += words[i];
    sink = sum;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    const void *inputs[1] = {&token};
    void *outputs[1] = {output};
    void (*step)(void) = step_tokens;
    const char *kind = argv[1];
    (void)argc;
    call.inputs = inputs;
    call.outputs = outputs;
    if (!strcmp(kind, "read")) {
        count = strtoull(argv[2], NULL, 10) / 8;
        words = aligned_alloc(64, (count * 8 + 63) / 64 * 64);
        for (uint64_t i = 0; i < count; ++i)
            words[i] = i;
        step = step_read;
    } else {
        void *library = dlopen(argv[2], RTLD_NOW);
        if (!library)
            return 1;
        run = (int32_t(*)(const edgernn_call *))dlsym(library, "edgernn_run");
        next = (int32_t(*)(void *))dlsym(library, "edgernn_next");
        ((void (*)(void *))dlsym(library, "edgernn_reset"))(state);
        if (!strcmp(kind, "tokens")) {
            vocabulary = atoi(argv[3]);
        } else if (!strcmp(kind, "frames")) {
            inputs[0] = frame;
            step = step_frames;
        } else {
            void (*begin)(void *, uint32_t, uint32_t, float, int32_t, float, float) = (void (*)(
                void *, uint32_t, uint32_t, float, int32_t, float, float))dlsym(library, "edgernn_begin");
            begin(stream, 1, 0, strtof(argv[3], NULL), atoi(argv[4]), strtof(argv[5], NULL), 1.0f);
            step = step_drawn;
        }
    }
    double began = now();
    int taken = 0;
    for (; now() < began + 5e4; ++taken)
        step();
    const int steps = 1 + (int)(100 * taken / (now() - began));
    int blocks = 0;
    began = now();
    while (blocks < MOST_BLOCKS && (blocks < 20 || now() < began + 3e5)) {
        const double from = now();
        for (int i = 0; i < steps; ++i)
            step();
        spent[blocks++] = (now() - from) / steps;
    }
    qsort(spent, blocks, sizeof *spent, by_size);
    printf("%.4f\\n", spent[blocks / 2]);
    return 0;
}
"""
"""Prints the microseconds of a step: `tokens LIBRARY VOCABULARY`, `frames LIBRARY`, `drawn LIBRARY TEMPERATURE TOP_K
TOP_P`, or `read BYTES`, which sums them."""

Arguments = Sequence[object]


def main() -> None:
    """Measure, and print a table for each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"tokens": print_tokens, "floor": print_floor, "signals": print_signals}
    parser.add_argument("--only", choices=parts)
    parser.add_argument("--steps", type=int, default=5000, help="timed steps of what Python steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        program = _program(Path(folder))
        for name, part in parts.items():
            if options.only in (None, name):
                part(program, options.steps)


def print_tokens(program: Path, steps: int) -> None:
    """Print a token of two LSTM layers of 128."""
    rows = []
    for precision in PRECISIONS:
        with tempfile.TemporaryDirectory() as folder:
            model = _model("lstm", 128, precision, Path(folder))
            library = library_file(model)
            calls = [_tokens(file, sampler) for sampler in SAMPLERS.values() for file in (library, model)]
            times = [Latency.of(taken).p50 for taken in interleave(calls, steps)]
            told = [("drawn", library, each.temperature, each.top_k, each.top_p) for each in SAMPLERS.values()]
            alone = _alone(program, told)
        for i, name in enumerate(SAMPLERS):
            native, other = times[2 * i : 2 * i + 2]
            rows.append([precision, name, f"{native:.2f}", f"{other:.2f}", f"{other / native:.1f}", f"{alone[i]:.2f}"])
    _print_table(["precision", "sampler", "native", "ONNX Runtime", "ratio", "from C"], rows)


def print_floor(program: Path, steps: int) -> None:
    """Print steps of native code beside the time to read their weights, with numpy and from C."""
    rows = []
    for cell in ("lstm", "gru"):
        for hidden in FLOOR_SIZES:
            with tempfile.TemporaryDirectory() as folder:
                models = [_model(cell, hidden, precision, Path(folder)) for precision in PRECISIONS]
                libraries = [library_file(model) for model in models]
                measured = profile(libraries, steps=steps if hidden < max(FLOOR_SIZES) else steps // 5)
                told: list[Arguments] = [("tokens", library, VOCABULARY) for library in libraries]
                alone = _alone(program, [*told, *(("read", each.weight_bytes) for each in measured)])
            reads = alone[len(libraries) :]
            for precision, found, c_us, read_us in zip(PRECISIONS, measured, alone, reads, strict=False):
                sizes = (f"{found.weight_bytes:,}", f"{found.floor_us:.2f}", f"{read_us:.2f}")
                times = (f"{found.step_us.p50:.2f}", f"{c_us:.2f}")
                ratios = (f"{found.floor_ratio:.2f}", f"{c_us / read_us:.2f}")
                rows.append([cell, str(hidden), precision, *sizes, *times, *ratios])
    columns = ("bytes", "floor", "floor from C", "step", "step from C", "ratio", "ratio from C")
    _print_table(["cell", "hidden", "precision", *columns], rows)


class Network(nn.Module):
    """Two LSTM layers with one number in and one out, over a whole sequence."""

    def __init__(self, hidden: int) -> None:
        """Make a network with torch's default initialisation."""
        super().__init__()
        self.rnn = nn.LSTM(1, hidden, 2, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[batch, time, 1]` of samples `[batch, time, 1]`."""
        return self.head(self.rnn(x)[0])  # type: ignore[no-any-return]


def print_signals(program: Path, steps: int) -> None:
    """Print a step of RTNeural's networks."""
    rows = []
    for hidden, published in RTNEURAL_US.items():
        with tempfile.TemporaryDirectory() as folder:
            models = _networks(hidden, Path(folder))
            libraries = [library_file(model) for model in models]
            alone = _alone(program, [("frames", library) for library in libraries])
            calls = [stepper(load(file)) for pair in zip(libraries, models, strict=True) for file in pair]
            through = [Latency.of(taken).p50 for taken in interleave(calls, steps)]
        for i, precision in enumerate(("float32", "int8")):
            cells = [f"{alone[i]:.2f}", f"{published:.1f}", f"{alone[i] / published:.2f}"]
            rows.append([str(hidden), precision, *cells, *(f"{us:.2f}" for us in through[2 * i : 2 * i + 2])])
    columns = ("from C", "RTNeural, float32", "ratio", "through Python", "ONNX Runtime")
    _print_table(["hidden", "precision", *columns], rows)


def _networks(hidden: int, folder: Path) -> list[Path]:
    """Return RTNeural's network in float32 and int8."""
    torch.manual_seed(0)
    lifted = lift(Network(hidden).eval(), "x=float32[B,T,1]")
    source = export(lifted, folder / "float32.onnx").path
    samples = np.random.default_rng(0).standard_normal((600, 1)).astype(np.float32)
    recording, calibration = Recording.of(lifted.spec.main_input.name, samples).split(300)
    made = quantize(
        source, folder / "int8.onnx", precision="int8", recording=recording, calibration=calibration, method="nearest"
    )
    return [source, made.path]


def _model(cell: str, hidden: int, precision: Precision, folder: Path) -> Path:
    return model_file(Material(Case(cell, hidden, 1, 1), make_model(cell, hidden), folder), precision)


def _tokens(path: Path, sampler: Sampler) -> Callable[[int], None]:
    generation = load(path).stream(sampler=sampler).generate(2**62)
    return partial(_take, generation.__next__)


def _take(following: Callable[[], int], _: int) -> None:
    following()


def _program(folder: Path) -> Path:
    """Return the program that steps a library without Python."""
    (folder / "loop.c").write_text(_PROGRAM)
    target = find_target("host")
    compiler = find_compiler(target)
    compiler.run([*compiler.options(target), "-std=gnu11", "-O3", "loop.c", "-ldl", "-o", "loop"], folder=folder)
    return folder / "loop"


def _alone(program: Path, told: Sequence[Arguments]) -> list[float]:
    """Return what the program prints for each of some arguments, the median of several runs in turns."""
    rounds = [[_microseconds(program, arguments) for arguments in told] for _ in range(ROUNDS)]
    return [float(np.median(taken)) for taken in zip(*rounds, strict=True)]


def _microseconds(program: Path, arguments: Arguments) -> float:
    command = [str(program), *map(str, arguments)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603, our own


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    for cells in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(cells) + " |")
    print(flush=True)


if __name__ == "__main__":
    main()
