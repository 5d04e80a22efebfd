"""A model runs on emulated microcontrollers: the text and the bits are those of other machines."""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from edgernn_export.compile import compile_model
from edgernn_export.compile.targets import find_target
from edgernn_export.compile.toolchain import build_object
from edgernn_runtime import Model, Sampler

sys.path.insert(0, str(Path(__file__).parent))
from machines import FIRMWARE, bits_of, found_compiler, plain_logits

TOKENS = (3, 1, 4, 1, 5, 9, 2, 6)
ZIG_CPU: Final = {"m4": "cortex_m4+vfp4d16sp", "m7": "cortex_m7+fp_armv8d16sp"}
STACK = """
#include "board.h"
#include "model.h"
#define PAINT 0xA5A5A5A5u
extern uint32_t bss_end[];
static model_stream stream;
int main(void) {
    const model_sampler sampler = {0.8f, 0, 1.0f, 1.0f};
    volatile uint32_t *place;
    uint32_t *top;
    __asm__ volatile("mov %0, sp" : "=r"(top));
    board_begin();
    model_begin(&stream, 1, sampler);
    for (place = bss_end; place < top - 16; ++place)
        *place = PAINT;
    model_next(&stream);
    for (place = bss_end; *place == PAINT;)
        ++place;
    board_number((uint32_t)((char *)top - (char *)place));
    return 0;
}
"""
"""Prints how deep the stack went while a token was made."""
Firmware = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def firmware(tmp_path: Path) -> Firmware:
    """Builds firmware around a model, runs it in QEMU, and returns what it printed and how it ended."""
    if shutil.which("make") is None or shutil.which("qemu-system-arm") is None:
        pytest.skip("make and qemu-system-arm (Debian: qemu-system-arm) are not installed")

    def run(
        model: Path,
        *,
        core: str = "m4",
        program: str = "generate",
        defines: str = "",
        zig: bool = False,
        tick: str | None = None,
        folder: Path = FIRMWARE,
    ) -> object:
        compile_model(model, tmp_path, name="model", overwrite=True)
        settings = {
            "MODEL": tmp_path,
            "BUILD": tmp_path / "build",
            "CORE": core,
            "PROGRAM": program,
            "DEFINES": defines,
        }
        if tick is not None:
            settings["TICK"] = tick
        if zig or shutil.which("arm-none-eabi-gcc") is None:
            if importlib.util.find_spec("ziglang") is None:
                pytest.skip("neither arm-none-eabi-gcc nor edgernn[compile] is installed")
            settings["CC"] = f"{sys.executable} -m ziglang cc -target thumb-linux-musleabihf"
            settings |= {"LDFLAGS": ""}
            if core in ZIG_CPU:
                settings["CPU"] = f"-mcpu={ZIG_CPU[core]}"
        words = [f"{name}={value}" for name, value in settings.items()]
        command = ["make", "-s", "-f", str(folder / "Makefile"), *words, "run"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=250)

    return run  # type: ignore[return-value]


@pytest.mark.parametrize("core", ["m4", "m7"])
@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
def test_a_microcontroller_computes_the_bits_of_this_machine(
    core: str, precision: str, firmware: Firmware, tiny_path: Callable[..., Path], tmp_path: Path
) -> None:
    model = tiny_path("gru", precision)
    told = firmware(model, core=core, program="logits", defines=f"-DTOKENS={','.join(map(str, TOKENS))}")
    assert told.returncode == 0
    expected = plain_logits(tmp_path / "model.c", TOKENS, tmp_path)
    assert expected.tolist() == bits_of(told.stdout).tolist()


@pytest.mark.parametrize("core", ["m4", "m7"])
def test_firmware_writes_what_the_model_learned(core: str, firmware: Firmware, byte_path: Path, memorised: str) -> None:
    told = firmware(byte_path, core=core, defines=r"-DPROMPT=\"a\" -DTOKENS=32")
    text, cost = told.stdout.splitlines()
    assert told.returncode == 0
    assert (memorised * 4).startswith(text)
    assert len(text.encode()) == 33
    assert re.fullmatch(r"[1-9]\d{4,5} cycles a token, one for each instruction", cost)


def test_a_prompt_with_a_blank_and_the_costs_of_a_board_are_told_to_make(firmware: Firmware, byte_path: Path) -> None:
    readme = (FIRMWARE / "README.md").read_text()
    [defines] = re.findall(r"DEFINES='(-DPROMPT[^']*)'", readme)
    text, cost = firmware(byte_path, defines=defines, tick="").stdout.rsplit("\n", 2)[:2]
    assert text.startswith("Once upon")
    assert re.fullmatch(r"[1-9]\d* cycles a token", cost)


def test_the_cycles_of_many_tokens_are_more_than_32_bits_hold(
    firmware: Firmware, tiny_path: Callable[..., Path]
) -> None:
    costs = [
        int(firmware(tiny_path("gru"), defines="-DTOKENS=64", tick=tick).stdout.split()[-8])
        for tick in ("-DCYCLES_PER_TICK=40u", "-DCYCLES_PER_TICK=1000000u")
    ]
    assert 64 * costs[1] > 2**32
    assert costs[1] == pytest.approx(25_000 * costs[0], rel=0.01)


def test_another_core_is_refused_by_name(firmware: Firmware, tiny_path: Callable[..., Path]) -> None:
    told = firmware(tiny_path("gru"), core="m3")
    assert "CORE is m4 or m7, got m3" in told.stderr
    assert told.returncode != 0


def test_firmware_draws_the_tokens_that_the_runtime_draws(
    firmware: Firmware, tiny_path: Callable[..., Path], tiny_model: Callable[..., Model]
) -> None:
    told = firmware(tiny_path("lstm"), defines="-DTOKENS=60 -DSEED=7")
    stream = tiny_model("lstm").stream(seed=7, sampler=Sampler(temperature=0.8))
    expected = "".join(stream.generate_text(60))
    assert told.stdout.rsplit("\n", 2)[0] == expected


def test_firmware_that_zig_built_writes_the_same(firmware: Firmware, tiny_path: Callable[..., Path]) -> None:
    texts = [firmware(tiny_path("gru"), zig=zig).stdout.rsplit("\n", 2)[0] for zig in (False, True)]
    assert texts[0]
    assert texts[0] == texts[1]


def test_firmware_says_that_a_prompt_is_not_in_the_vocabulary(
    firmware: Firmware, tiny_path: Callable[..., Path]
) -> None:
    told = firmware(tiny_path("gru"), defines=r"-DPROMPT=\"Z\"")
    assert told.stdout == "the model has no token for a part of the prompt\n"
    assert told.returncode != 0


def test_variables_begin_with_what_the_source_says(
    firmware: Firmware, tiny_path: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(FIRMWARE, tmp_path / "firmware")
    (folder / "variables.c").write_text("""
        #include "board.h"
        static volatile uint32_t set = 41, zero;
        int main(void) { board_begin(); board_number(++set); board_word(zero); return 0; }""")
    assert firmware(tiny_path("gru"), program="variables", folder=folder).stdout == "4200000000"


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_stack_that_is_reported_is_the_one_that_is_used(
    precision: str, firmware: Firmware, tiny_path: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(FIRMWARE, tmp_path / "firmware")
    (folder / "stack.c").write_text(STACK)
    told = firmware(tiny_path("lstm", precision), program="stack", folder=folder)
    target = find_target("thumbv7em")
    compiler = found_compiler(target, None)
    built = build_object(tmp_path / "model.c", target, tmp_path / "model.o", compiler=compiler)
    assert built.stack_bytes == pytest.approx(int(told.stdout), abs=128)
