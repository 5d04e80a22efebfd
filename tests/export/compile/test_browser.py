"""Compiled models as WebAssembly: the ES module in Node, and the example page in Chromium."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgernn.models import RecurrentLM, RecurrentLMStep
from edgernn.models.picture import PictureConfig
from edgernn.models.pixels import PixelModel, PixelStep
from edgernn_export import export
from edgernn_export.compile import compile_model, wasm
from edgernn_export.compile.targets import find_target
from edgernn_export.compile.toolchain import build_library
from edgernn_export.metadata import write_spec
from edgernn_runtime import CharacterCodec, Sampler, load
from edgernn_runtime.codecs import SymbolCodec
from edgernn_runtime.drawing import draw
from edgernn_runtime.noise import Noise
from edgernn_runtime.sampling import GRAIN
from edgernn_runtime.spec import BATCH, Feedback, Spec, StateSpec, TensorSpec

sys.path.insert(0, str(Path(__file__).parent))
from chromium import Page, page, site
from machines import found_compiler

BROWSER = Path(__file__).parents[3] / "examples" / "browser"
PAGE_FILES = ("index.html", "style.css", "edgernn.js", "page.js", "text.js", "picture.js")
MISSING = "!document.getElementById('missing').hidden && document.getElementById('missing').innerText"
STEPS = 2000
SEED = 2**40 + 5
TIE = 0.02
"""Logits, and shares of the total, that engines which round int8 activations differently may disagree on."""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], Path]:
    """Compiles a model file to a library for a target: `built(path, "wasm32")`."""

    @cache
    def make(model: Path, target_name: str) -> Path:
        target = find_target(target_name)
        compiler = found_compiler(target, None)
        folder = tmp_path_factory.mktemp(target_name)
        made = compile_model(model, folder, name="model")
        output = folder / f"model{target.library_suffix}"
        return build_library(
            made.source, target, output, model_id=made.model_id, spec=made.spec, compiler=compiler
        ).path

    return make


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., Any]:
    """Runs a program with `Model` in Node and returns what it prints as JSON; `run(program, path, ...)`."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")

    def run(program: str, *arguments: object, flags: tuple[str, ...] = ()) -> Any:
        file = tmp_path / "program.mjs"
        file.write_text(
            f'import * as edgernn from "{(BROWSER / "edgernn.js").as_uri()}";\n'
            'import { readFileSync, writeFileSync } from "node:fs";\n'
            "const { Model } = edgernn;\n"
            "const given = process.argv.slice(2);\n"
            "const message = async (work) => { try { await work(); } catch (error) "
            "{ return `${error.name}: ${error.message}`; } return 'no error'; };\n"
            "const print = (value) => console.log(JSON.stringify(value));\n" + program
        )
        command = ["node", *flags, file, *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.fixture(scope="session")
def symbol_path(tiny_lm: Callable[[str], RecurrentLM], characters: CharacterCodec, models_dir: Path) -> Path:
    """A model of phonemes, written with blanks between them and read from the end."""
    codec = SymbolCodec.of([f"P{i}" for i in range(characters.size - 2)], separator=" ")
    step = RecurrentLMStep(tiny_lm("gru"), codec=replace(codec, order="reverse"), start=0)
    return export(step, models_dir / "symbols.onnx").path


@pytest.fixture(scope="session")
def picture_path(models_dir: Path) -> Path:
    """A model of pictures of 4 x 3 pixels, in 8 greys and 3 classes."""
    config = PictureConfig("gru", width=4, height=3, levels=8, classes=3, hidden=16, layers=1)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = PixelModel(config).eval()
    with torch.no_grad():
        model.classes.weight.mul_(2)
        model.head[-1].weight.mul_(8)
    return export(PixelStep(model), models_dir / "picture.onnx").path


@pytest.fixture(scope="session")
def conditioned_path(models_dir: Path) -> Path:
    """A model of 8 tokens, with one of 3 classes, whose number its Spec does not say, and two small integers."""
    rng = np.random.default_rng(0)
    inputs = (
        TensorSpec("token", "int64", (BATCH,), "token", size=8),
        TensorSpec("class", "int64", (BATCH,), "control"),
        TensorSpec("level", "int8", (BATCH, 2), "control"),
    )
    outputs = (TensorSpec("logits", "float32", (BATCH, 8), "logits"),)
    spec = Spec(
        inputs,
        outputs,
        (StateSpec("before", "after", "float32", (BATCH, 8)),),
        distribution="categorical",
        feedback=Feedback("logits", "token", 0),
    )
    nodes = [
        helper.make_node("Gather", ["tokens", "token"], ["of_token"]),
        helper.make_node("Gather", ["classes", "class"], ["of_class"]),
        helper.make_node("Cast", ["level"], ["levels"], to=onnx.TensorProto.FLOAT),
        helper.make_node("MatMul", ["levels", "mixed"], ["of_level"]),
        helper.make_node("Sum", ["of_token", "of_class", "of_level", "before"], ["all"]),
        helper.make_node("Tanh", ["all"], ["logits"]),
        helper.make_node("Identity", ["logits"], ["after"]),
    ]
    types = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64, "int8": onnx.TensorProto.INT8}
    graph = helper.make_graph(
        nodes,
        "step",
        [helper.make_tensor_value_info(each.name, types[each.dtype], list(each.shape)) for each in inputs]
        + [helper.make_tensor_value_info("before", types["float32"], [BATCH, 8])],
        [helper.make_tensor_value_info(name, types["float32"], [BATCH, 8]) for name in ("logits", "after")],
        [
            numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
            for name, shape in (("tokens", (8, 8)), ("classes", (3, 8)), ("mixed", (2, 8)))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    write_spec(model, spec)
    path = models_dir / "conditioned.onnx"
    path.write_bytes(model.SerializeToString())
    return path


SAMPLERS = {
    "greedy": Sampler(0),
    "temperature": Sampler(0.8),
    "top-k": Sampler(1.1, top_k=5),
    "top-p": Sampler(1.2, top_p=0.8),
    "penalty": Sampler(0.9, repetition_penalty=1.3),
}
TOKENS = """
    const [path, seed, count, sampling] = given;
    const stream = (await Model.load(path)).stream({ seed: BigInt(seed), ...JSON.parse(sampling) });
    print([...stream.generate(Number(count))]);
"""


def in_javascript(sampler: Sampler) -> str:
    """Return a sampler's settings as a stream in JavaScript takes them."""
    return json.dumps(
        {
            "temperature": sampler.temperature,
            "topK": sampler.top_k,
            "topP": sampler.top_p,
            "repetitionPenalty": sampler.repetition_penalty,
        }
    )


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
def test_tokens_are_those_of_onnxruntime(
    sampler: Sampler, built: Callable[..., Path], node: Callable[..., Any], tiny_path: Callable[..., Path]
) -> None:
    tokens = node(TOKENS, built(tiny_path("lstm"), "wasm32"), SEED, STEPS, in_javascript(sampler))
    expected = load(tiny_path("lstm")).stream(seed=SEED, sampler=sampler)
    assert list(expected.generate(STEPS)) == tokens


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_tokens_of_int8_are_those_of_onnxruntime_but_for_near_ties(
    temperature: float,
    built: Callable[..., Path],
    node: Callable[..., Any],
    tiny_path: Callable[..., Path],
    start_token: int,
) -> None:
    path, sampler, noise = tiny_path("lstm", "int8"), Sampler(temperature), Noise(SEED)
    tokens = node(TOKENS, built(path, "wasm32"), SEED, STEPS, in_javascript(sampler))
    rows = np.asarray(load(path).stream().run([start_token, *tokens[:-1]]), np.float32)
    equal = 0
    for step, (logits, token) in enumerate(zip(rows, tokens, strict=True)):
        uniform = noise.uniform(step)
        equal += sampler.sample(logits, uniform) == token
        near = {sampler.sample(logits, float(np.clip(uniform + shift, 0, 1 - GRAIN))) for shift in (-TIE, 0, TIE)}
        assert token in near or (temperature == 0 and logits.max() - logits[token] < TIE), step
    assert equal > 0.98 * STEPS


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
def test_tokens_of_int8_are_those_of_native_code(
    sampler: Sampler, built: Callable[..., Path], node: Callable[..., Any], tiny_path: Callable[..., Path]
) -> None:
    path, seed = tiny_path("lstm", "int8"), 2**64 - 1
    tokens = node(TOKENS, built(path, "wasm32"), seed, STEPS, in_javascript(sampler))
    expected = load(built(path, "host")).stream(seed=seed, sampler=sampler)
    assert list(expected.generate(STEPS)) == tokens


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_logits_are_those_of_native_code_to_the_bit(
    cell: str,
    precision: str,
    built: Callable[..., Path],
    node: Callable[..., Any],
    tiny_path: Callable[..., Path],
    tiny_tokens: NDArray[np.int64],
    tmp_path: Path,
) -> None:
    tokens = tiny_tokens[:200]
    path = tiny_path(cell, precision)
    (tmp_path / "tokens").write_bytes(tokens.tobytes())
    program = """
        const [path, tokens, output] = given;
        const executor = (await Model.load(path)).executor();
        const logits = [];
        for (const token of new BigInt64Array(new Uint8Array(readFileSync(tokens)).buffer)) {
            executor.inputs.token[0] = token;
            executor.run();
            logits.push(...executor.outputs.logits);
        }
        writeFileSync(output, new Uint8Array(Float32Array.from(logits).buffer));
        print(logits.length);
    """
    count = node(program, built(path, "wasm32"), tmp_path / "tokens", tmp_path / "logits")
    expected = np.asarray(load(built(path, "host")).stream().run(tokens), np.float32)
    assert count == expected.size
    assert (np.fromfile(tmp_path / "logits", np.uint32) == expected.ravel().view(np.uint32)).all()


def test_text_comes_in_whole_characters(
    built: Callable[..., Path], node: Callable[..., Any], byte_path: Path, memorised: str
) -> None:
    program = """
        const stream = (await Model.load(given[0])).stream({ temperature: 0 });
        stream.prefill(given[1]);
        print([...stream.generate(60)].map((token) => stream.text(token)));
    """
    pieces = node(program, built(byte_path, "wasm32"), memorised)
    expected = load(byte_path).stream(sampler=Sampler(0))
    expected.prefill(memorised)
    assert [expected.decode(token) for token in expected.generate(60)] == pieces
    assert "𝄞" in pieces


def test_bytes_that_are_no_text_are_shown_as_in_the_runtime(
    built: Callable[..., Path], node: Callable[..., Any], byte_path: Path
) -> None:
    cut = b"\xef\xbb\xbfa\xf0\x9d\x84b\xe0\x80\xf4\x90\xc3\xc3\xa9\x00\xff\xed\xa0\x80\xf0\x9f\x98\x80\xe2\xe2\xe2"
    tokens = [*cut, *np.random.default_rng(7).integers(0, 256, 2000).tolist(), *b"end"]
    program = """
        const stream = (await Model.load(given[0])).stream();
        print(JSON.parse(given[1]).map((token) => stream.text(token)));
    """
    pieces = node(program, built(byte_path, "wasm32"), json.dumps(tokens))
    expected = load(byte_path).stream()
    assert "".join(map(expected.decode, tokens)) == "".join(pieces)


def test_symbols_are_read_and_written_as_in_the_runtime(
    built: Callable[..., Path], node: Callable[..., Any], symbol_path: Path
) -> None:
    program = """
        const model = await Model.load(given[0]);
        const stream = model.stream({ seed: 3, temperature: 2 });
        const tokens = [...stream.generate(500)];
        print({
            encoded: model.encode(" P3  P1 P2 "),
            unknown: await message(() => model.encode("P3 XX P1")),
            tokens,
            text: tokens.map((token) => stream.text(token)),
            stopped: stream.pending,
            end: model.end,
        });
    """
    said = node(program, built(symbol_path, "wasm32"))
    model = load(symbol_path)
    stream = model.stream(seed=3, sampler=Sampler(2))
    tokens = list(stream.generate(500))
    assert said["tokens"] == tokens
    assert len(tokens) < 500
    assert said["stopped"] == said["end"] == model.spec.end
    assert said["text"] == [stream.decode(token) for token in tokens]
    assert said["encoded"] == [4, 3, 5]
    assert "trained without 'XX'" in said["unknown"]


def test_a_picture_is_drawn_of_the_class_that_is_asked_for(
    built: Callable[..., Path], node: Callable[..., Any], picture_path: Path
) -> None:
    program = """
        const stream = (await Model.load(given[0])).stream({ seed: 5, temperature: 0.9 });
        const pictures = [0, 1, 2].map((kind) => {
            stream.reset();
            stream.setInput("class", kind);
            return [...stream.generate(12)];
        });
        print({ pictures, wrong: await message(() => stream.setInput("class", 3)),
            missing: await message(() => stream.setInput("token", 1)) });
    """
    said = node(program, built(picture_path, "wasm32"))
    for kind, tokens in enumerate(said["pictures"]):
        stream = load(picture_path).stream(seed=5, sampler=Sampler(0.9))
        stream.set_input("class", np.array(kind))
        assert list(stream.generate(12)) == tokens
    assert len({tuple(each) for each in said["pictures"]}) == 3
    assert said["wrong"] == "InputError: class must be an integer in 0..2, got 3"
    assert said["missing"] == "InputError: the model has no input token beside its token; there are: class"


def test_a_step_that_an_input_forbids_is_an_error_and_changes_nothing(
    built: Callable[..., Path], node: Callable[..., Any], conditioned_path: Path
) -> None:
    program = """
        const model = await Model.load(given[0]);
        const seen = [];
        for (const begun of [[], [4], [4, 6]]) {
            const stream = model.stream({ seed: 3, temperature: 1 });
            const attempt = async (work) => {
                const before = [...stream.snapshot()].join();
                stream.setInput("class", 3);
                const said = await message(work);
                stream.setInput("class", 0);
                seen.push([said, [...stream.snapshot()].join() === before]);
            };
            stream.prefill(begun);
            if (begun.length > 1) stream.next();
            await attempt(() => stream.prefill([1, 2, 3]));
            await attempt(() => stream.next());
            stream.prefill([1, 2, 3]);
            seen.push([...stream.generate(20)]);
        }
        print(seen);
    """
    seen = iter(node(program, built(conditioned_path, "wasm32")))
    said = "InputError: an integer input is out of range; look at what setInput gave class, level"
    for begun in ([], [4], [4, 6]):
        assert [[said, True], [said, True]] == [next(seen), next(seen)]
        stream = load(conditioned_path).stream(seed=3, sampler=Sampler(1))
        stream.prefill(begun)
        if len(begun) > 1:
            list(stream.generate(1))
        stream.prefill([1, 2, 3])
        assert list(stream.generate(20)) == next(seen)


def test_integers_that_their_dtype_cannot_hold_are_refused(
    built: Callable[..., Path], node: Callable[..., Any], conditioned_path: Path
) -> None:
    program = """
        const stream = (await Model.load(given[0])).stream();
        const said = [];
        for (const value of [[300, 0], [0, -129], [127, -128]]) {
            said.push(await message(() => stream.setInput("level", value)));
        }
        for (const value of [2n ** 63n, -(2n ** 63n)]) {
            said.push(await message(() => stream.setInput("class", value)));
        }
        print(said);
    """
    assert node(program, built(conditioned_path, "wasm32")) == [
        "InputError: level must be an integer in -128..127, got 300",
        "InputError: level must be an integer in -128..127, got -129",
        "no error",
        f"InputError: class must be an integer in {-(2**63)}..{2**63 - 1}, got {2**63}",
        "no error",
    ]


def test_output_that_is_not_finite_is_said_to_be(
    built: Callable[..., Path], node: Callable[..., Any], conditioned_path: Path
) -> None:
    program = """
        const stream = (await Model.load(given[0])).stream();
        stream.prefill([1]);
        const snapshot = stream.snapshot();
        new DataView(snapshot.buffer).setFloat32(48, NaN, true);
        stream.restore(snapshot);
        print([await message(() => stream.next()), stream.step, stream.pending, await message(() => stream.next())]);
    """
    said = "InputError: the model's output is not finite, so nothing can be chosen; reset the stream"
    assert node(program, built(conditioned_path, "wasm32")) == [said, 1, -1, said]


def test_the_arrays_of_an_executor_that_was_freed_are_refused(
    built: Callable[..., Path], node: Callable[..., Any], tiny_path: Callable[..., Path]
) -> None:
    program = """
        const model = await Model.load(given[0]);
        const freed = model.executor();
        freed.inputs.token[0] = 3n;
        freed.run();
        void freed.outputs.logits;
        freed.free();
        const next = model.executor();
        next.inputs.token[0] = 1n;
        const said = [await message(() => { freed.inputs.token[0] = 5n; }), await message(() => freed.outputs.logits),
            await message(() => freed.run()), await message(() => freed.reset()), await message(() => freed.free())];
        print({ said, token: Number(next.inputs.token[0]) });
    """
    said = node(program, built(tiny_path("lstm"), "wasm32"))
    assert said["said"] == ["StateError: the executor was freed; make another one"] * 5
    assert said["token"] == 1


def test_a_stream_continues_from_a_snapshot_and_refuses_another_models(
    built: Callable[..., Path], node: Callable[..., Any], byte_path: Path, tiny_path: Callable[..., Path]
) -> None:
    program = """
        const model = await Model.load(given[0]);
        const stream = model.stream({ seed: 9, temperature: 0.7, topK: 7 });
        stream.prefill("é");
        stream.text([...stream.generate(5)][4]);
        stream.text(0xc3);
        const snapshot = stream.snapshot();
        const more = (from) => [[...from.generate(50)], from.text(0xa9), from.step];
        const expected = more(stream);
        const other = model.stream();
        other.restore(snapshot);
        const again = more(other);
        stream.restore(snapshot);
        const fork = more(stream.fork());
        const stranger = (await Model.load(given[1])).stream();
        const cut = snapshot.slice(0, -1);
        const odd = snapshot.slice();
        odd.fill(255, 48);
        print({ equal: [again, fork].map((each) => JSON.stringify(each) === JSON.stringify(expected)), expected,
            sampling: other.sampling, seed: String(other.seed),
            refused: [await message(() => stranger.restore(snapshot)), await message(() => stream.restore(cut)),
                await message(() => stream.restore(odd)), await message(() => stream.restore(new Uint8Array(9)))] });
    """
    said = node(program, built(byte_path, "wasm32"), built(tiny_path("lstm"), "wasm32"))
    assert said["equal"] == [True, True]
    assert said["expected"][1:] == ["é", 56]
    assert said["sampling"]["topK"] == 7
    assert said["seed"] == "9"
    patterns = ("the snapshot is of model [0-9a-f]{12}, this is", "has [0-9]+ bytes, got", "is damaged", "no snapshot")
    for pattern, refusal in zip(patterns, said["refused"], strict=True):
        assert re.match(f"StateError: .*{pattern}", refusal), refusal


def test_memory_grows_with_streams_and_is_used_again(
    built: Callable[..., Path], node: Callable[..., Any], tiny_path: Callable[..., Path]
) -> None:
    program = """
        const model = await Model.load(given[0]);
        const first = model.stream({ seed: 1, temperature: 1 });
        const executor = model.executor({ rows: 3 });
        const before = [...first.generate(10)];
        executor.inputs.token.set([1n, 2n, 1n]);
        executor.run();
        const kept = executor.outputs.logits;
        const rows = [...kept];
        const begun = model.memoryBytes;
        const many = Array.from({ length: 400 }, (_, seed) => model.stream({ seed, temperature: 1 }));
        const full = model.memoryBytes;
        const twin = many[1];
        first.reset();
        const same = JSON.stringify([...first.generate(10)]) === JSON.stringify([...twin.generate(10)]);
        many.filter((_, i) => i % 2).forEach((each) => each.free());
        many.filter((_, i) => i % 2 === 0).forEach((each) => each.free());
        for (let i = 0; i < 2000; i++) {
            const stream = model.stream();
            stream.prefill([1, 2, 3]);
            stream.free();
        }
        const again = [...executor.outputs.logits];
        print({ begun, full, end: model.memoryBytes, same, detached: kept.length,
            rows: JSON.stringify(rows) === JSON.stringify(again), twins: rows[0] === rows[2 * rows.length / 3],
            freed: await message(() => twin.next()) });
    """
    said = node(program, built(tiny_path("lstm"), "wasm32"))
    assert said["begun"] < said["full"] == said["end"]
    assert said["same"]
    assert said["rows"]
    assert said["twins"]
    assert said["detached"] == 0
    assert said["freed"] == "StateError: the stream was freed; make another one"


def test_a_model_of_frames_runs_as_in_onnxruntime(
    built: Callable[..., Path], node: Callable[..., Any], frame_path: Path, frames: NDArray[np.float32], tmp_path: Path
) -> None:
    (tmp_path / "frames").write_bytes(frames.tobytes())
    program = """
        const [path, frames, output] = given;
        const model = await Model.load(path);
        const executor = model.executor();
        const all = new Float32Array(new Uint8Array(readFileSync(frames)).buffer);
        const found = [];
        for (let at = 0; at < all.length; at += 5) {
            executor.inputs.frame.set(all.subarray(at, at + 5));
            executor.run();
            found.push(...executor.outputs.params, executor.outputs.energy[0]);
        }
        const end = found.slice(-4);
        executor.reset();
        executor.inputs.frame.set(all.subarray(0, 5));
        executor.run();
        writeFileSync(output, new Uint8Array(Float32Array.from(found).buffer));
        print({ inputs: Object.keys(executor.inputs), first: executor.outputs.energy[0] === found[3],
            none: await message(() => model.stream()), rate: model.spec.rate_hz });
    """
    said = node(program, built(frame_path, "wasm32"), tmp_path / "frames", tmp_path / "found")
    found = np.fromfile(tmp_path / "found", np.float32).reshape(-1, 4)
    stream = load(frame_path).stream()
    expected = [np.concatenate([stream.step(frame), stream.output("energy")]) for frame in frames]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert said["inputs"] == ["frame"]
    assert said["first"]
    assert said["rate"] == 100
    assert said["none"] == ("InputError: the model generates no tokens by itself; use model.executor() and its run()")


def test_what_is_wrong_is_said(
    built: Callable[..., Path],
    node: Callable[..., Any],
    tiny_path: Callable[..., Path],
    byte_path: Path,
    tmp_path: Path,
) -> None:
    path = built(tiny_path("lstm"), "wasm32")
    content = path.read_bytes()
    body = wasm.custom_section(content, "edgernn")
    assert body is not None
    wrong = {
        "missing": tmp_path / "missing.wasm",
        "onnx": tiny_path("lstm"),
        "page": BROWSER / "index.html",
        "cut": tmp_path / "cut.wasm",
        "bare": tmp_path / "bare.wasm",
        "abi": tmp_path / "abi.wasm",
    }
    wrong["cut"].write_bytes(content[:1000])
    wrong["bare"].write_bytes(b"\0asm\1\0\0\0")
    wrong["abi"].write_bytes(wasm.with_section(b"\0asm\1\0\0\0", "edgernn", body.replace(b'"abi":1', b'"abi":9')))
    program = """
        const [path, bytes, ...wrong] = given;
        const stream = (await Model.load(path)).stream();
        const beginless = (await Model.load(bytes)).stream();
        const work = [
            ...wrong.map((each) => () => Model.load(each)),
            () => Model.load(7),
            () => stream.prefill("aQé☃𝄞"),
            () => stream.prefill([0, 99]),
            () => stream.text(-1),
            () => beginless.next(),
            () => stream.model.stream({ temperature: 2000 }),
            () => stream.model.stream({ topk: 3 }),
            () => stream.reset({ seed: -1 }),
            () => (stream.sampling = { topP: 0 }),
            () => stream.model.executor({ rows: 0 }),
            () => { const executor = stream.model.executor(); executor.inputs.token[0] = 99n; executor.run(); },
            () => stream.generate("x"),
            () => stream.generate(-3),
        ];
        const said = [];
        for (const each of work) said.push(await message(each));
        print({ said, step: stream.step, pending: stream.pending, seed: Number(stream.seed) });
    """
    result = node(program, path, built(byte_path, "wasm32"), *wrong.values())
    patterns = (
        "ModelFileError: .*missing.wasm could not be read: ENOENT",
        "ModelFileError: this is no WebAssembly module; a model is the .wasm file that edgernn compile",
        "ModelFileError: this is a web page; a model is",
        "ModelFileError: the module is damaged: ",
        "ModelFileError: the module has no section edgernn, so it is no model; edgernn compile makes one",
        "ModelFileError: the module has ABI 9, this edgernn.js runs ABI 1; compile the model again",
        "ModelFileError: a model is loaded from an address, a response, a file or bytes",
        r"InputError: the model was trained without 2 of the text's characters: 'Q' \(U\+0051\), '𝄞' \(U\+1D11E\)",
        "InputError: a token must lie in 0..[0-9]+, got 99",
        "InputError: a token must lie in 0..[0-9]+, got -1",
        "InputError: the model has no token that begins a stream; prefill a prompt first",
        r"InputError: temperature must be 0 \(greedy\) or 0.001 to 1000, got 2000",
        "InputError: a stream has no setting topk; there are temperature, topK, topP, repetitionPenalty",
        r"InputError: a seed must be an integer in 0..2 \*\* 64 - 1, got -1",
        r"InputError: topP must lie in \(0, 1\], got 0",
        "InputError: rows must be a positive integer, got 0",
        "InputError: an integer input is out of range",
        "InputError: a number of tokens must be an integer from 0 on, or Infinity, got x",
        "InputError: a number of tokens must be an integer from 0 on, or Infinity, got -3",
    )
    assert len(result["said"]) == len(patterns)
    for pattern, said in zip(patterns, result["said"], strict=True):
        assert re.match(pattern, said), said
    assert (result["step"], result["pending"], result["seed"]) == (0, -1, 0)


def test_a_machine_without_simd_is_told_so(
    built: Callable[..., Path], node: Callable[..., Any], tiny_path: Callable[..., Path]
) -> None:
    program = "print(await message(() => Model.load(given[0])));"
    said = node(program, built(tiny_path("lstm", "int8"), "wasm32"), flags=("--no-enable-sse4-1",))
    if said == "no error":
        pytest.skip("this machine's WebAssembly has SIMD whatever Node is told")
    assert said.startswith("ModelFileError: this machine's WebAssembly has no SIMD")


def test_a_model_is_loaded_from_bytes_a_response_a_blob_and_an_address(
    built: Callable[..., Path], node: Callable[..., Any], tiny_path: Callable[..., Path]
) -> None:
    program = """
        const bytes = readFileSync(given[0]);
        const sources = [given[0], bytes, new Uint8Array(bytes).buffer, new Response(bytes), new Blob([bytes]),
            new URL("file://" + given[0])];
        const ids = [];
        for (const source of sources) ids.push((await Model.load(source)).modelId);
        print({ ids, lost: await message(() => Model.load(new Response("no", { status: 404 }))) });
    """
    said = node(program, built(tiny_path("lstm"), "wasm32"))
    assert said["ids"] == [load(tiny_path("lstm")).model_id] * 6
    assert said["lost"].endswith("could not be read: status 404")


def test_the_script_writes_what_the_runtime_writes(built: Callable[..., Path], tiny_path: Callable[..., Path]) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    script, path = BROWSER / "generate.mjs", built(tiny_path("gru"), "wasm32")
    command = ["node", script, path, "--prompt", "abc", "--tokens", "80", "--temperature", "0.8", "--seed", "3"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    stream = load(tiny_path("gru")).stream(seed=3, sampler=Sampler(0.8))
    stream.prefill("abc")
    assert result.stdout == "abc" + "".join(stream.generate_text(80)) + "\n"
    assert re.search(r"80 tokens, [0-9.]+ us each", result.stderr)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--tokens x", "--tokens must be a number, got x\n"),
        ("--tokens=-3", "a number of tokens must be an integer from 0 on, or Infinity, got -3\n"),
        ("--seed abc", "--seed must be an integer, got abc\n"),
        ("--temperature=", "--temperature must be a number, got nothing\n"),
        ("--tokns 3", "Unknown option '--tokns'.*\nusage: node generate.mjs .*"),
        ("another.wasm", "one model at a time\nusage: node generate.mjs .*"),
    ],
)
def test_the_script_says_which_option_is_wrong(
    typed: str, said: str, built: Callable[..., Path], tiny_path: Callable[..., Path]
) -> None:
    told = _script(built(tiny_path("gru"), "wasm32"), *typed.split())
    assert (told.returncode, told.stdout) == (1, "")
    assert re.fullmatch(said, told.stderr, re.DOTALL), told.stderr
    assert " at " not in told.stderr.replace(" at a time", "").replace(" at the end", "")


def test_the_script_says_how_it_is_used_and_takes_no_time_for_no_tokens(
    built: Callable[..., Path], tiny_path: Callable[..., Path]
) -> None:
    assert _script("--help").stdout.startswith("usage: node generate.mjs [MODEL.wasm]")
    told = _script(built(tiny_path("gru"), "wasm32"), "--tokens", "0")
    assert re.fullmatch(r"0 tokens; the model has [\d,]+ bytes\n", told.stderr)


def _script(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run the script in Node, or skip the test if there is none."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    command = ["node", BROWSER / "generate.mjs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def served(tmp_path: Path, built: Callable[..., Path], tiny_path: Callable[..., Path]) -> Iterator[tuple[Path, str]]:
    """The page beside a text model, and its address."""
    for name in PAGE_FILES:
        shutil.copy(BROWSER / name, tmp_path)
    shutil.copy(built(tiny_path("lstm", "int8"), "wasm32"), tmp_path / "model.wasm")
    with site(tmp_path) as address:
        yield tmp_path, address


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    """A browser with one page."""
    with page() as opened:
        yield opened


def test_the_page_writes_shows_its_rate_and_goes_on_from_what_is_typed(
    browser: Page, served: tuple[Path, str], tiny_path: Callable[..., Path], characters: CharacterCodec
) -> None:
    browser.open(served[1])
    browser.wait("document.getElementById('written')?.textContent.length > 60")
    written = browser.value("document.getElementById('written').textContent")
    stream = load(tiny_path("lstm", "int8")).stream(seed=7, sampler=Sampler(0.7))
    assert written.startswith("".join(stream.generate_text(20)))
    assert re.fullmatch(r"[\d.]+ µs", browser.value("document.getElementById('each').textContent"))
    assert re.fullmatch(r"[\d,]+", browser.value("document.getElementById('rate').textContent"))
    assert browser.value("document.getElementById('size').textContent").endswith("kB")
    browser.value("document.getElementById('typed').focus()")
    browser.type("black lemon Q")
    assert "black lemon" in browser.value("document.querySelector('.yours').textContent")
    assert "Q" not in characters.symbols
    assert browser.value("document.getElementById('refused').textContent") == "The model was trained without Q"
    browser.wait("document.querySelector('.yours').nextSibling.textContent.length > 20")
    assert browser.value("document.getElementById('typed').value") == ""
    assert browser.complaints == []


def test_the_page_takes_back_what_is_deleted_before_the_model_goes_on(
    browser: Page, served: tuple[Path, str], built: Callable[..., Path], tiny_path: Callable[..., Path]
) -> None:
    browser.open(served[1])
    browser.wait("document.getElementById('written')?.textContent.length > 10")
    browser.value("document.getElementById('pause').click(); document.getElementById('typed').focus()")
    browser.type(" blank")
    browser.value("typed.value = ' bla'; typed.dispatchEvent(new InputEvent('input'))")
    assert browser.value("document.querySelector('.yours').textContent") == " bla"
    browser.wait("document.querySelector('.yours').nextSibling.textContent.length > 20")
    parts = browser.value("[...document.getElementById('written').children].map((each) => each.textContent)")
    stream = load(built(tiny_path("lstm", "int8"), "host")).stream(seed=7, sampler=Sampler(0.7))
    assert parts[0] == "".join(stream.generate_text(len(parts[0])))
    stream.prefill(" bla")
    assert parts[2] == "".join(stream.generate_text(len(parts[2])))
    assert browser.complaints == []


def test_a_model_runs_in_a_worker(
    browser: Page, served: tuple[Path, str], built: Callable[..., Path], tiny_path: Callable[..., Path]
) -> None:
    (served[0] / "worker.js").write_text(
        'import { Model } from "./edgernn.js";\n'
        'const stream = (await Model.load("model.wasm")).stream();\n'
        "postMessage([...stream.generate(300)]);\n"
    )
    browser.open(served[1])
    tokens = browser.value(
        "new Promise((done, fail) => { const worker = new Worker('worker.js', { type: 'module' });"
        " worker.onmessage = ({ data }) => done(data); worker.onerror = fail; })"
    )
    stream = load(built(tiny_path("lstm", "int8"), "host")).stream()
    assert tokens == list(stream.generate(300))


def test_the_page_draws_what_the_runtime_draws(
    browser: Page, served: tuple[Path, str], built: Callable[..., Path], picture_path: Path
) -> None:
    folder, address = served
    shutil.copy(built(picture_path, "wasm32"), folder / "picture.wasm")
    browser.open(f"{address}?model=picture.wasm")
    browser.wait("document.querySelectorAll('#classes button').length === 3")
    browser.wait("document.querySelectorAll('#drawn canvas').length > 1")
    for kind in (0, 1):
        pixels = browser.value(
            f"[...document.querySelectorAll('#drawn canvas')[{kind}].getContext('2d').getImageData(0, 0, 4, 3).data]"
        )
        model = load(picture_path)
        stream = model.stream(seed=700 + kind, sampler=Sampler(0.8))
        stream.set_input("class", np.array(kind))
        assert np.reshape(pixels, (3, 4, 4))[..., 0].tolist() == draw(stream, model.spec).tolist()
    assert browser.complaints == []


def test_the_page_says_how_to_get_a_model(browser: Page, served: tuple[Path, str]) -> None:
    browser.open(f"{served[1]}?model=none.wasm")
    said = browser.wait(MISSING)
    assert "none.wasm could not be read: status 404" in said
    assert "?model=" in said
    assert "edgernn compile" not in said
    (served[0] / "model.wasm").unlink()
    browser.open(served[1])
    said = browser.wait(MISSING)
    assert "model.wasm could not be read: status 404" in said
    assert "edgernn compile" in said
    assert "?model=" not in said


def test_the_page_refuses_a_model_with_an_input_that_it_cannot_give(
    browser: Page, served: tuple[Path, str], built: Callable[..., Path], conditioned_path: Path, tmp_path: Path
) -> None:
    model = onnx.load(conditioned_path)
    write_spec(model, replace(load(conditioned_path).spec, codec=CharacterCodec("\ufffdabcdefg")))
    onnx.save(model, tmp_path / "lettered.onnx")
    shutil.copy(built(tmp_path / "lettered.onnx", "wasm32"), served[0] / "lettered.wasm")
    browser.open(f"{served[1]}?model=lettered.wasm")
    assert browser.wait(MISSING).strip() == "This model needs class, which this page does not know."
    assert browser.value("document.getElementById('text').hidden")
    assert browser.complaints == []


def test_the_page_starts_over_only_with_a_seed(
    browser: Page, served: tuple[Path, str], tiny_path: Callable[..., Path]
) -> None:
    def beginning(seed: int) -> str:
        stream = load(tiny_path("lstm", "int8")).stream(seed=seed, sampler=Sampler(0.7))
        return "".join(stream.generate_text(12))

    def written_with(seed: str) -> str:
        browser.value(f"seed.value = '{seed}'; seed.dispatchEvent(new Event('change'))")
        browser.value("document.getElementById('again').click()")
        return str(browser.wait("written.textContent.length > 20 && written.textContent"))

    browser.open(served[1])
    browser.wait("document.getElementById('written')?.textContent.length > 20")
    for wrong in ("abc", "-1", "1.5"):
        assert written_with(wrong).startswith(beginning(7))
    assert written_with("9").startswith(beginning(9))
    assert browser.complaints == []


def test_the_page_shows_a_dash_where_the_clock_does_not_move(browser: Page, served: tuple[Path, str]) -> None:
    browser.open(served[1])
    browser.wait("document.getElementById('each')?.textContent.endsWith('µs')")
    browser.value("performance.now = () => 1000; 0")
    browser.wait("document.getElementById('each').textContent === '\u2013'")
    assert browser.value("document.getElementById('rate').textContent") == "\u2013"


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_lies_beside_the_page(width: int, browser: Page, served: tuple[Path, str]) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
    browser.open(served[1])
    browser.wait("document.getElementById('written')?.textContent.length > 10")
    assert browser.value("document.documentElement.scrollWidth") <= width
