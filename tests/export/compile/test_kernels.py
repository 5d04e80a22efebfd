"""The products and the functions of the compiled C, built for all targets that can run here, against numpy."""

import importlib.util
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgernn_export.compile.kernels import kernel_text
from edgernn_export.compile.packing import NARROW, pack_float, pack_int4, pack_int8

Floats = NDArray[np.float32]
Run = Callable[[int, "Sequence[Case]"], bytes]

KERNELS = (
    "product_f32",
    "product_rows_f32",
    "quantize_blocks",
    "product_int8",
    "product_rows_int8",
    "product_int4",
    "product_rows_int4",
    "exp_f32",
    "tanh_f32",
    "sigmoid_f32",
)
FUNCTIONS = KERNELS.index("exp_f32")
JUDGE = FUNCTIONS + 1
PROGRAM = """
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif
%s
static void *take(void) {
    int32_t bytes;
    if (fread(&bytes, 4, 1, stdin) != 1)
        exit(1);
    void *array = bytes ? malloc((size_t)bytes) : NULL;
    if (bytes && fread(array, (size_t)bytes, 1, stdin) != 1)
        exit(1);
    return array;
}

static double worse(double worst, double error) { return error <= worst ? worst : error; }

/* The largest errors of exp, tanh and sigmoid over every stride-th float, and the count of broken promises. */
static void judge(uint32_t stride, double y[4]) {
    for (uint64_t bits = 0; bits < 1ull << 32; bits += (uint64_t)stride * 1024) {
        float x[1024], exps[1024], tanhs[1024], opposite[1024], sigmoids[1024];
        for (int i = 0; i < 1024; i++) {
            uint32_t each = (uint32_t)(bits + (uint64_t)stride * (uint64_t)i);
            memcpy(&x[i], &each, 4);
        }
        for (int i = 0; i < 1024; i++)
            exps[i] = exp_f32(x[i]);
        for (int i = 0; i < 1024; i++)
            tanhs[i] = tanh_f32(x[i]);
        for (int i = 0; i < 1024; i++)
            opposite[i] = tanh_f32(-x[i]);
        for (int i = 0; i < 1024; i++)
            sigmoids[i] = sigmoid_f32(x[i]);
        for (int i = 0; i < 1024; i++) {
            if (isnan(x[i])) {
                y[3] += !isnan(exps[i]) || !isnan(tanhs[i]) || !isnan(sigmoids[i]);
                continue;
            }
            double size = fabs((double)x[i]);
            y[3] += !(tanhs[i] >= -1 && tanhs[i] <= 1) || tanhs[i] != -opposite[i];
            y[3] += !(sigmoids[i] >= 0 && sigmoids[i] <= 1);
            y[3] += x[i] < -87.0f ? exps[i] != 0 : x[i] > 88.72283f && exps[i] != INFINITY;
            if (size < 1e-9) {
                y[3] += exps[i] != 1 || tanhs[i] != x[i] || sigmoids[i] != 0.5f;
            } else if (size > 100) {
                y[3] += tanhs[i] != (x[i] > 0 ? 1 : -1) || sigmoids[i] > (x[i] > 0) + 2e-38;
            } else {
                double power = exp((double)x[i]);
                if (x[i] > -86.98f && x[i] <= 88.72283f)
                    y[0] = worse(y[0], fabs(exps[i] - power) / power);
                double sigmoid = power / (1 + power);
                y[2] = worse(y[2], fabs(sigmoids[i] - sigmoid));
                double less = expm1(2 * size);
                double value = size > 50 ? 1 : less / (less + 2);
                y[1] = worse(y[1], fabs(fabs((double)tanhs[i]) - value) / value);
            }
        }
    }
}

int main(void) {
    int32_t kernel, n[3], bytes;
    while (fread(&kernel, 4, 1, stdin) == 1) {
        if (fread(n, 12, 1, stdin) != 1 || fread(&bytes, 4, 1, stdin) != 1)
            return 1;
        void *a[7];
        for (int i = 0; i < 7; i++)
            a[i] = take();
        char *y = calloc((size_t)bytes, 1);
        int count = n[1] ? (n[0] + n[1] - 1) / n[1] : 0;
        switch (kernel) {
        case 0:
            product_f32(a[0], a[1], a[2], (float *)y, n[0], n[2]);
            break;
        case 1:
            product_rows_f32(a[0], a[1], a[2], (float *)y, n[0], n[2]);
            break;
        case 2:
            quantize_blocks(a[0], (int8_t *)y + 8 * count, (float *)y, (int32_t *)y + count, n[0], n[1]);
            break;
        case 3:
            product_int8(a[0], a[1], a[2], a[3], a[4], a[5], a[6], (float *)y, n[0], n[1], n[2]);
            break;
        case 4:
            product_rows_int8(a[0], a[1], a[2], a[3], a[4], a[5], a[6], (float *)y, n[0], n[1], n[2]);
            break;
        case 5:
            product_int4(a[0], a[1], a[2], a[3], a[4], a[5], a[6], (float *)y, n[0], n[1], n[2]);
            break;
        case 6:
            product_rows_int4(a[0], a[1], a[2], a[3], a[4], a[5], a[6], (float *)y, n[0], n[1], n[2]);
            break;
        case 7: {
            const float *x = a[0];
            float *out = (float *)y;
            for (int i = 0; i < n[0]; i++)
                out[i] = exp_f32(x[i]);
            for (int i = 0; i < n[0]; i++)
                out[n[0] + i] = tanh_f32(x[i]);
            for (int i = 0; i < n[0]; i++)
                out[2 * n[0] + i] = sigmoid_f32(x[i]);
            break;
        }
        default:
            judge((uint32_t)n[0], (double *)y);
        }
        fwrite(y, (size_t)bytes, 1, stdout);
        free(y);
        for (int i = 0; i < 7; i++)
            free(a[i]);
    }
    return 0;
}
"""
NODE = ("node", "--no-warnings", "runner.mjs")
ZIG = (sys.executable, "-m", "ziglang", "cc")
WASI = """
import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";
const wasi = new WASI({ version: "preview1" });
const module = await WebAssembly.compile(await readFile(process.argv[2]));
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
"""


@dataclass(frozen=True)
class Build:
    """A way to build the program, and what runs it here; `cpu` is a feature that it needs."""

    name: str
    compiler: tuple[str, ...]
    flags: tuple[str, ...]
    runner: tuple[str, ...] = ()
    cpu: str = ""
    slow: bool = False

    def marks(self) -> list[pytest.MarkDecorator]:
        """Return the marks of its tests."""
        return [pytest.mark.slow] if self.slow else []

    def missing(self) -> str:
        """Return what this machine lacks for it; empty for nothing."""
        if self.compiler == ZIG and importlib.util.find_spec("ziglang") is None:
            return "ziglang"
        for command in (self.compiler[0], *self.runner[:1]):
            if shutil.which(command) is None:
                return command
        if not self.runner and self.flags[0].startswith("-march=x86") and platform.machine() != "x86_64":
            return "x86_64"
        if self.cpu and self.cpu not in _cpu_features():
            return self.cpu
        return ""


def _cpu_features() -> set[str]:
    information = Path("/proc/cpuinfo")
    return set(information.read_text().split()) if information.exists() else set()


def _for_arm(name: str, *flags: str) -> Build:
    return Build(name, ZIG, ("-target", "arm-linux-musleabihf", *flags), ("qemu-arm",), slow=True)


BUILDS = (
    Build("gcc native", ("gcc",), ("-march=native",)),
    Build("clang native", ("clang",), ("-march=native",)),
    Build("zig native", ZIG, ("-mcpu=native",)),
    Build("gcc sanitizers", ("gcc",), ("-march=native", "-fsanitize=address,undefined", "-fno-sanitize-recover")),
    Build("gcc x86-64", ("gcc",), ("-march=x86-64",)),
    Build("clang x86-64", ("clang",), ("-march=x86-64",)),
    Build("gcc AVX", ("gcc",), ("-march=x86-64-v2", "-mavx"), cpu="avx"),
    Build("gcc AVX2", ("gcc",), ("-march=x86-64-v3",), cpu="avx2"),
    Build("clang AVX2", ("clang",), ("-march=x86-64-v3",), cpu="avx2"),
    Build("gcc AVX-VNNI", ("gcc",), ("-march=x86-64-v3", "-mavxvnni"), cpu="avx_vnni"),
    Build("gcc AVX-512", ("gcc",), ("-march=x86-64-v4",), cpu="avx512bw"),
    Build("gcc AVX-512 VNNI", ("gcc",), ("-march=x86-64-v4", "-mavx512vnni"), cpu="avx512_vnni"),
    Build("gcc scalar", ("gcc",), ("-march=x86-64", "-U__SSE2__")),
    Build("gcc aarch64", ("aarch64-linux-gnu-gcc",), ("-march=armv8-a", "-static"), ("qemu-aarch64",)),
    Build("gcc dotprod", ("aarch64-linux-gnu-gcc",), ("-march=armv8.2-a+dotprod", "-static"), ("qemu-aarch64",)),
    Build("zig aarch64", ZIG, ("-target", "aarch64-linux-musl"), ("qemu-aarch64",), slow=True),
    _for_arm("zig armv7 NEON", "-mcpu=generic+v7a+neon"),
    _for_arm("zig armv7 DSP", "-mcpu=generic+v7a+vfp3d16-neon"),
    Build("zig wasm", ZIG, ("-target", "wasm32-wasi", "-mcpu=generic+simd128"), NODE, slow=True),
    Build("zig wasm scalar", ZIG, ("-target", "wasm32-wasi"), NODE, slow=True),
)
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


@dataclass(frozen=True)
class Case:
    """A call of a kernel: its sizes (inputs, block, outputs), its arrays, and what it must write."""

    sizes: tuple[int, int, int]
    arrays: tuple[NDArray[Any], ...]
    expected: tuple[NDArray[Any], ...]


def _built(build: Build, folder: Path) -> Run:
    """Return what calls the kernels of a build."""
    (folder / "kernels.c").write_text(PROGRAM.replace("%s", kernel_text(set(KERNELS))))
    (folder / "runner.mjs").write_text(WASI)
    command = [*build.compiler, *FLAGS, *build.flags, "kernels.c", "-o", "kernels", "-lm"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (0, "") == (built.returncode, built.stderr)

    def run(kernel: int, cases: Sequence[Case]) -> bytes:
        asked = b""
        for case in cases:
            asked += struct.pack("<5i", kernel, *case.sizes, sum(array.nbytes for array in case.expected))
            for array in (*case.arrays, *[np.zeros(0)] * (7 - len(case.arrays))):
                asked += struct.pack("<i", array.nbytes) + array.tobytes()
        words = [*build.runner, "./kernels"]
        result = subprocess.run(words, cwd=folder, input=asked, capture_output=True, check=False)
        assert (0, b"") == (result.returncode, result.stderr)
        return result.stdout

    return run


@pytest.fixture(scope="module", params=[pytest.param(each, id=each.name, marks=each.marks()) for each in BUILDS])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what calls the kernels, for one build after another."""
    if request.param.missing():
        pytest.skip(f"needs {request.param.missing()}")
    return _built(request.param, tmp_path_factory.mktemp("kernels"))


def check(run: Run, kernel: str, cases: Sequence[Case]) -> None:
    """Assert that a kernel writes what every case expects, to the bit."""
    written = run(KERNELS.index(kernel), cases)
    for case in cases:
        for expected in case.expected:
            found = np.frombuffer(written[: expected.nbytes], expected.dtype)
            written = written[expected.nbytes :]
            bits = f"u{found.itemsize}"
            np.testing.assert_array_equal(found.view(bits), expected.reshape(-1).view(bits))
    assert b"" == written


def product(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """Return x times weight plus bias in the order of the kernels: blocks of 64 inputs, the blocks one by one."""
    total = bias
    for start in range(0, len(x), 64):
        part = np.zeros_like(bias)
        for each, row in zip(x[start : start + 64], weight[start : start + 64], strict=True):
            part = part + each * row
        total = total + part
    return total


def product_in_rows(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """Return x times weight plus bias in the order of the kernel of rows: 16 partial sums, and a tree of them."""
    parts = np.zeros((16, len(bias)), np.float32)
    for k, (each, row) in enumerate(zip(x, weight, strict=True)):
        parts[k % 16] = parts[k % 16] + each * row
    while len(parts) > 1:
        parts = parts[: len(parts) // 2] + parts[len(parts) // 2 :]
    total: Floats = bias + parts[0]
    return total


def product_of_blocks(
    codes: NDArray[np.int8], scales: Floats, values: NDArray[np.uint8], grid: Floats, points: NDArray[np.uint8]
) -> Iterator[Floats]:
    """Return what every block adds: codes `[blocks, block]` times values `[outputs, blocks, block]`."""
    wide = codes.astype(np.int64)
    for b in range(len(scales)):
        dots = (values[:, b].astype(np.int64) - points[:, b, None]) @ wide[b]
        yield (scales[b] * grid[:, b]) * dots.astype(np.int32).astype(np.float32)


def rounded(x: Floats, block: int) -> tuple[Floats, NDArray[np.int32], NDArray[np.int8]]:
    """Return scales, sums and codes of activations, as `quantize_blocks` must."""
    count = -(-len(x) // block)
    padded = np.zeros((count, block), np.float32)
    padded.reshape(-1)[: len(x)] = x
    largest = np.abs(padded).max(axis=1)
    scales = largest / np.float32(127)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(scales), where=scales != 0)
    codes = np.zeros((count, -(-block // 8) * 8), np.int8)
    codes[:, :block] = np.rint(padded * inverse[:, None])
    return scales, codes.sum(axis=1, dtype=np.int32), codes


SIZES = ((1, 16), (5, 40), (64, 64), (65, 48), (130, 100), (200, 191), (256, 256))
FEW_OUTPUTS = ((1, 1), (5, 3), (16, 15), (130, 2), (200, 8))


def float_cases(sizes: Sequence[tuple[int, int]], order: Callable[[Floats, Floats, Floats], Floats]) -> list[Case]:
    """Return products with and without a bias."""
    rng = np.random.default_rng(1)
    cases = []
    for inputs, outputs in sizes:
        x = rng.standard_normal(inputs).astype(np.float32)
        weight = rng.standard_normal((inputs, outputs)).astype(np.float32)
        packed, bias = pack_float(weight), rng.standard_normal(outputs).astype(np.float32)
        cases += [
            Case((inputs, 0, outputs), (x, packed, bias), (order(x, weight, bias),)),
            Case((inputs, 0, outputs), (x, packed), (order(x, weight, np.zeros_like(bias)),)),
        ]
    return cases


def quantized_cases(sizes: Sequence[tuple[int, int]], bits: int) -> list[Case]:
    """Return products by blocks; the largest and smallest codes, and one block of all inputs on a grid of its own."""
    rng = np.random.default_rng(2)
    cases = []
    for inputs, outputs in sizes:
        for block, extreme in ((16, False), (20, False), (32, True), (128, False), (inputs, True)):
            count = -(-inputs // block)
            values = rng.integers(0, 1 << bits, (outputs, count, block), dtype=np.uint8)
            points = rng.integers(0, 1 << bits, (outputs, count), dtype=np.uint8)
            codes = np.zeros((count, -(-block // 8) * 8), np.int8)
            codes[:, :block] = rng.integers(-128, 128, (count, block))
            if extreme:
                values[:], points[:], codes[:, :block] = (1 << bits) - 1, 0, -128
            codes.reshape(-1)[(count - 1) * codes.shape[1] + inputs - (count - 1) * block :] = 0
            grid = rng.uniform(0.5, 1, (outputs, count)).astype(np.float32)
            scales, bias = (rng.uniform(0.5, 1, n).astype(np.float32) for n in (count, outputs))
            packed = (pack_int8 if bits == 8 else pack_int4)(values, grid, points, inputs)
            sums = codes.sum(axis=1, dtype=np.int32)
            arrays = (codes, scales, sums, packed.codes, packed.scales, packed.zero_points)
            for given in ((bias,), ()):
                expected = bias if given else np.zeros_like(bias)
                for part in product_of_blocks(codes[:, :block], scales, values, grid, points):
                    expected = expected + part
                cases.append(Case((inputs, block, outputs), (*arrays, *given), (expected,)))
    return cases


def test_a_product_adds_up_in_one_order_on_every_target(kernels: Run) -> None:
    check(kernels, "product_f32", float_cases(SIZES, product))


def test_a_product_with_few_outputs_adds_up_in_one_order_on_every_target(kernels: Run) -> None:
    check(kernels, "product_rows_f32", float_cases(FEW_OUTPUTS, product_in_rows))


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantized_product_is_exact_in_every_block_on_every_target(kernels: Run, bits: int) -> None:
    check(kernels, f"product_int{bits}", quantized_cases(SIZES, bits))


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantized_product_with_few_outputs_is_exact_in_every_block_on_every_target(kernels: Run, bits: int) -> None:
    check(kernels, f"product_rows_int{bits}", quantized_cases(FEW_OUTPUTS, bits))


def test_activations_are_rounded_alike_on_every_target(kernels: Run) -> None:
    rng = np.random.default_rng(3)
    cases = []
    for inputs, block in ((1, 16), (16, 16), (37, 37), (50, 20), (100, 32), (256, 128)):
        for x in (rng.standard_normal(inputs), np.zeros(inputs), np.full(inputs, -3.5), np.arange(inputs) - 63.5):
            each = x.astype(np.float32)
            cases.append(Case((inputs, block, 0), (each,), rounded(each, block)))
    check(kernels, "quantize_blocks", cases)


def test_an_activation_that_is_not_finite_makes_the_scale_of_its_block_not_finite(kernels: Run) -> None:
    for odd in (np.nan, np.inf, -np.inf):
        x = np.ones(48, np.float32)
        x[20] = odd
        case = Case((48, 16, 0), (x,), (np.zeros(3, np.float32), np.zeros(3, np.int32), np.zeros((3, 16), np.int8)))
        scales = np.frombuffer(kernels(KERNELS.index("quantize_blocks"), [case])[:12], np.float32)
        assert [True, False, True] == np.isfinite(scales).tolist()


_RANGES = (np.linspace(-12, 12, 4001), np.linspace(-95, 95, 4001), np.geomspace(1e-30, 1e30, 1000))
ARGUMENTS = np.concatenate([*_RANGES, [-0.0, np.inf, -np.inf]]).astype(np.float32)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what calls the kernels as the first compiler of this machine builds them."""
    build = next((each for each in BUILDS[:3] if not each.missing()), None)
    if build is None:
        pytest.skip("needs a C compiler")
    return _built(build, tmp_path_factory.mktemp("host"))


def values_of(run: Run) -> Floats:
    """Return exp, tanh and sigmoid of the arguments, `[3, arguments]`."""
    case = Case((len(ARGUMENTS), 0, 0), (ARGUMENTS,), (np.zeros((3, len(ARGUMENTS)), np.float32),))
    return np.frombuffer(run(FUNCTIONS, [case]), np.float32).reshape(3, -1)


def test_exp_tanh_and_sigmoid_are_the_same_on_every_target(kernels: Run, host: Run) -> None:
    np.testing.assert_array_equal(values_of(kernels).view(np.uint32), values_of(host).view(np.uint32))


@pytest.mark.parametrize("stride", [1009, pytest.param(1, marks=pytest.mark.slow)])
def test_exp_tanh_and_sigmoid_keep_their_bounds_over_all_floats(host: Run, stride: int) -> None:
    written = host(JUDGE, [Case((stride, 0, 0), (), (np.zeros(4),))])
    exp, tanh, sigmoid, broken = np.frombuffer(written, np.float64)
    assert 0 == broken
    assert exp < 8.2e-8
    assert tanh < 3.5e-7
    assert sigmoid < 9e-8


def operator(
    values: NDArray[np.uint8], grid: Floats, points: NDArray[np.uint8], bits: int
) -> Callable[[Floats], Floats]:
    """Return ONNX Runtime's MatMulNBits by values `[outputs, blocks, block]`, with activations rounded to int8."""
    outputs, count, block = values.shape
    packed = values if bits == 8 else values[..., 0::2] | values[..., 1::2] << 4
    zeros = points if bits == 8 else points[:, 0::2] | points[:, 1::2] << 4
    constants = {"b": packed, "s": grid.reshape(-1), "z": zeros.reshape(-1)}
    attributes = {"K": count * block, "N": outputs, "bits": bits, "block_size": block, "accuracy_level": 4}
    node = helper.make_node("MatMulNBits", ["x", *constants], ["y"], domain="com.microsoft", **attributes)
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", count * block), ("y", outputs))
    )
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "product", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run(None, {"x": x[None]})[0])[0]


def near_ties(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return activations `[blocks, block]` whose quotients by the scale lie next to halves, where roundings differ."""
    largest = rng.uniform(0.5, 2, (shape[0], 1)).astype(np.float32)
    halves = rng.integers(-126, 126, shape) + 0.5
    halves[:, :1] = 127
    return (halves * (largest / np.float32(127)).astype(np.float64)).astype(np.float32)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere ONNX Runtime has other kernels")
@pytest.mark.parametrize("block", [16, 32, 128])
def test_activations_are_rounded_as_onnx_runtime_does(host: Run, block: int) -> None:
    rng = np.random.default_rng(4)
    identity = np.eye(128, dtype=np.uint8).reshape(128, -1, block)
    multiply = operator(identity, np.ones((128, 128 // block), np.float32), np.zeros((128, 128 // block), np.uint8), 8)
    for _ in range(50):
        normal = (rng.standard_normal(128) * rng.uniform(0.01, 10)).astype(np.float32)
        for x in (normal, near_ties(rng, (128 // block, block)).reshape(-1)):
            scales, sums, codes = rounded(x, block)
            check(host, "quantize_blocks", [Case((128, block, 0), (x,), (scales, sums, codes))])
            assert multiply(x).tolist() == (codes * scales[:, None]).reshape(-1).tolist()


@pytest.mark.parametrize("outputs", [8, 100])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantized_product_is_that_of_onnx_runtime(host: Run, bits: int, outputs: int) -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(0, 1 << bits, (outputs, 4, 32), dtype=np.uint8)
    points = rng.integers(0, 1 << bits, (outputs, 4), dtype=np.uint8)
    grid = rng.uniform(0.01, 0.02, (outputs, 4)).astype(np.float32)
    x = rng.standard_normal(128).astype(np.float32)
    scales, sums, codes = rounded(x, 32)
    packed = (pack_int8 if bits == 8 else pack_int4)(values, grid, points, 128)
    kernel = f"product_{'rows_' if outputs < NARROW else ''}int{bits}"
    arrays = (codes, scales, sums, packed.codes, packed.scales, packed.zero_points)
    case = Case((128, 32, outputs), arrays, (np.zeros(outputs, np.float32),))
    found = np.frombuffer(host(KERNELS.index(kernel), [case]), np.float32)
    np.testing.assert_allclose(found, operator(values, grid, points, bits)(x), rtol=1e-5, atol=1e-3)
