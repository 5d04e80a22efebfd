"""One model's C on several machines, real and emulated: whether they compute the same bits."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Final

from edgernn_export.compile import build_library, build_object, compile_model, find_compiler, find_target

BLOCK: Final = 100
"""Steps for each digest of the logits' bits."""

_FIRMWARE: Final = Path(__file__).parents[1] / "examples" / "firmware"
_QEMU_ARM64: Final = ("qemu-aarch64", "-cpu", "max")
_TIMEOUT_S: Final = 1800

_PROGRAM: Final = """
#include <string.h>
#include "board.h"
#include "model.h"

static const uint16_t tokens[] = {@TOKENS@};
static model_state state;
static float logits[MODEL_VOCABULARY];
static uint32_t words[MODEL_VOCABULARY];

int main(void) {
    uint32_t digest = 2166136261u;
    size_t step, i;
    board_begin();
    model_reset(&state);
    for (step = 0; step < sizeof tokens / sizeof *tokens; ++step) {
        if (model_step(&state, tokens[step], logits))
            return 1;
        memcpy(words, logits, sizeof words);
        for (i = 0; i < MODEL_VOCABULARY; ++i)
            digest = (digest ^ words[i]) * 16777619u;
        if (step % @BLOCK@ == @BLOCK@ - 1) {
            board_word(digest);
            board_text("\\n");
        }
    }
    return 0;
}
"""

_FRAMES: Final = """
#include <string.h>
#include "board.h"
#include "model.h"

static model_state state;
static float frame[MODEL_INPUT_SIZE], made[MODEL_OUTPUT_SIZE];
static uint32_t words[MODEL_OUTPUT_SIZE];

int main(void) {
    uint32_t digest = 2166136261u, seed = 1;
    size_t step, i;
    board_begin();
    model_reset(&state);
    for (step = 0; step < @STEPS@; ++step) {
        for (i = 0; i < MODEL_INPUT_SIZE; ++i) {
            seed = seed * 1664525u + 1013904223u;
            frame[i] = (float)(seed >> 8) * 1.1920928955078125e-7f - 1.0f;
        }
        if (model_step(&state, frame, made))
            return 1;
        memcpy(words, made, sizeof words);
        for (i = 0; i < MODEL_OUTPUT_SIZE; ++i)
            digest = (digest ^ words[i]) * 16777619u;
        if (step % @BLOCK@ == @BLOCK@ - 1) {
            board_word(digest);
            board_text("\\n");
        }
    }
    return 0;
}
"""

_BOARD: Final = """
#include <stdio.h>
#include "board.h"
void board_begin(void) {}
void board_text(const char *text) { fputs(text, stdout); }
void board_word(uint32_t word) { printf("%08lx", (unsigned long)word); }
"""

_SCRIPT: Final = """
const [file, taken, given, feed] = [process.argv[1], +process.argv[2], +process.argv[3], process.argv[4]];
const tokens = taken ? Array(+feed).fill(0) : feed.split(',');
const code = new WebAssembly.Instance(new WebAssembly.Module(require('fs').readFileSync(file))).exports;
let end = (code.__heap_base.value + 63) & ~63;
const take = bytes => { const at = end; end = (end + bytes + 63) & ~63; return at; };
const [state, input, output] = [take(code.edgernn_state_bytes()), take(4 * taken + 8), take(4 * given)];
const [inputs, outputs, call] = [take(4), take(4), take(32)];
if (end > code.memory.buffer.byteLength) code.memory.grow((end - code.memory.buffer.byteLength + 65535) >> 16);
const words = new Uint32Array(code.memory.buffer);
const frame = new Float32Array(code.memory.buffer, input, taken);
words[inputs >> 2] = input;
words[outputs >> 2] = output;
words.set([state, inputs, outputs, 1, 0, 0, 0x3f800000, 0], call >> 2);
words[(input >> 2) + 1] = 0;
code.edgernn_reset(state);
let [digest, seed] = [2166136261, 1];
for (let step = 0; step < tokens.length; ++step) {
    if (!taken) words[input >> 2] = +tokens[step];
    for (let i = 0; i < taken; ++i) {
        seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
        frame[i] = (seed >>> 8) / 8388608 - 1;
    }
    if (code.edgernn_run(call)) process.exit(1);
    for (let i = 0; i < given; ++i) digest = Math.imul(digest ^ words[(output >> 2) + i], 16777619);
    if (step % @BLOCK@ === @BLOCK@ - 1) console.log((digest >>> 0).toString(16).padStart(8, '0'));
}
"""

Digests = list[str]
Feed = Sequence[int] | int
"""Tokens, or how many frames of noise between -1 and 1, which every program makes of the same integers."""


def linux_digests(
    model: Path, feed: Feed, folder: Path, *, target: str = "host", emulator: Sequence[str] = ()
) -> Digests:
    """Return a digest of all logits so far after each `BLOCK` steps, by a program for a machine with Linux.

    Args:
        model: The model file.
        feed: What it is fed.
        folder: Where to build; what is there is replaced.
        target: What to compile for.
        emulator: The command that runs the program; empty for this machine.
    """
    source = compile_model(model, folder, name="model", overwrite=True).source
    machine = find_target(target)
    compiler = find_compiler(machine)
    build_object(source, machine, folder / "model.o", compiler=compiler, overwrite=True)
    (folder / "board.c").write_text(_BOARD)
    (folder / "digest.c").write_text(_program(feed))
    options = [*compiler.options(machine), f"-I{_FIRMWARE}"]
    if emulator:
        options.append("-static")
        if compiler.family == "zig":  # which has no static library of the other C library
            options[options.index(machine.triple)] = machine.triple.replace("gnu", "musl")
    compiler.run([*options, "model.o", "digest.c", "board.c", "-lm", "-o", "digest"], folder=folder)
    return _printed([*emulator, str(folder / "digest")])


def cortex_m4_digests(model: Path, feed: Feed, folder: Path) -> Digests:
    """Return the digests as an emulated Cortex-M4 computes them; arguments as in `linux_digests`."""
    compile_model(model, folder, name="model", overwrite=True)
    firmware = shutil.copytree(_FIRMWARE, folder / "firmware", dirs_exist_ok=True)
    (firmware / "digest.c").write_text(_program(feed))
    settings = (f"MODEL={folder}", f"BUILD={folder / 'build'}", "CORE=m4", "PROGRAM=digest")
    return _printed(["make", "-s", "-f", str(firmware / "Makefile"), *settings, "run"])


def wasm_digests(model: Path, feed: Feed, folder: Path) -> Digests:
    """Return the digests as WebAssembly computes them in Node; arguments as in `linux_digests`."""
    compiled = compile_model(model, folder, name="model", overwrite=True)
    described = {"model_id": compiled.model_id, "spec": compiled.spec}
    target = find_target("wasm32")
    build_library(compiled.source, target, folder / "model.wasm", overwrite=True, **described)  # type: ignore[arg-type]
    spec = compiled.spec
    taken = prod(spec.main_input.sized(1)) if isinstance(feed, int) else 0
    sizes = map(str, (taken, prod(spec.main_output.sized(1))))
    listed = str(feed) if isinstance(feed, int) else ",".join(map(str, feed))
    return _printed(["node", "-e", _filled(_SCRIPT), str(folder / "model.wasm"), *sizes, listed])


def _x86(model: Path, feed: Feed, folder: Path) -> Digests:
    return linux_digests(model, feed, folder, target="x86_64-linux")


def _arm64(model: Path, feed: Feed, folder: Path) -> Digests:
    return linux_digests(model, feed, folder, target="aarch64-linux", emulator=_QEMU_ARM64)


def _arm64_dotprod(model: Path, feed: Feed, folder: Path) -> Digests:
    return linux_digests(model, feed, folder, target="aarch64-linux-dotprod", emulator=_QEMU_ARM64)


MACHINES: Final[dict[str, Callable[[Path, Feed, Path], Digests]]] = {
    "x86-64 with AVX2": _x86,
    "aarch64": _arm64,
    "aarch64 with dot products": _arm64_dotprod,
    "Cortex-M4F": cortex_m4_digests,
    "WebAssembly": wasm_digests,
}
"""Who else computes a model, by the name in the table."""


def agreement(expected: Digests, found: Digests) -> str:
    """Return up to which step the bits of all logits are the same."""
    same = next((i for i, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b), len(expected))
    return "all" if same == len(expected) else f"{same * BLOCK:,}"


def _program(feed: Feed) -> str:
    if isinstance(feed, int):
        return _filled(_FRAMES).replace("@STEPS@", str(feed))
    return _filled(_PROGRAM).replace("@TOKENS@", ",".join(map(str, feed)))


def _filled(program: str) -> str:
    return program.replace("@BLOCK@", str(BLOCK))


def _printed(command: Sequence[str]) -> Digests:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)  # noqa: S603, our own
    if done.returncode or not done.stdout:
        raise SystemExit(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout.split()
