"""Loading: a file that is whole and says what its graph is, or an error that names what is wrong."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn_export.metadata import read_model, write_spec
from edgernn_runtime import Model, Sampler, load
from edgernn_runtime.engines.ort import OrtEngine
from edgernn_runtime.errors import EdgeRNNError, InputError, ModelFileError, SpecError
from edgernn_runtime.spec_json import MODEL_ID_KEY, SPEC_KEY


@pytest.fixture
def edited(tiny_path: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Writes the GRU with its Spec's JSON or its graph changed."""

    def edit(
        spec: Callable[[dict[str, Any]], object] | None = None, graph: Callable[[onnx.GraphProto], object] | None = None
    ) -> Path:
        model = onnx.load(tiny_path("gru"))
        entry = next(each for each in model.metadata_props if each.key == SPEC_KEY)
        if spec is not None:
            source = json.loads(entry.value)
            spec(source)
            entry.value = json.dumps(source)
        if graph is not None:
            graph(model.graph)
        target = tmp_path / "edited.onnx"
        onnx.save(model, target)
        return target

    return edit


def test_a_model_says_what_it_is(tiny_model: Callable[..., Model], tiny_path: Callable[..., Path]) -> None:
    model = tiny_model("lstm")
    assert [state.input for state in model.spec.states] == ["state.0.h", "state.0.c", "state.1.h", "state.1.c"]
    assert model.providers == ("CPUExecutionProvider",)
    assert len(model.model_id) == 64
    assert load(str(tiny_path("lstm"))).model_id == model.model_id
    assert OrtEngine(tiny_path("lstm").read_bytes()).model_id == model.model_id


def test_a_model_cannot_be_changed(tiny_model: Callable[..., Model]) -> None:
    model = tiny_model("lstm")
    for name in ("spec", "model_id", "anything"):
        with pytest.raises(AttributeError):
            setattr(model, name, None)


def test_models_of_other_weights_or_precision_have_other_ids(tiny_model: Callable[..., Model]) -> None:
    models = [tiny_model(cell, precision) for cell in ("gru", "lstm") for precision in ("float32", "int8", "int4")]
    assert len({model.model_id for model in models}) == 6


def test_threads_share_a_model(tiny_model: Callable[..., Model]) -> None:
    model = tiny_model("lstm", "int8")

    def generate(seed: int) -> list[int]:
        return list(model.stream(seed=seed, sampler=Sampler()).generate(300))

    with ThreadPoolExecutor(4) as threads:
        assert [generate(seed) for seed in range(8)] == list(threads.map(generate, range(8)))


@pytest.mark.parametrize("threads", [0, -1])
def test_a_number_of_threads_that_is_not_positive_is_refused(tiny_path: Callable[..., Path], threads: int) -> None:
    with pytest.raises(InputError, match=rf"threads must lie in 1\.\.256, got {threads}"):
        load(tiny_path("gru"), threads=threads)


def test_threads_change_nothing_in_the_result(tiny_path: Callable[..., Path], tiny_model: Callable[..., Model]) -> None:
    two = load(tiny_path("gru"), threads=2, spinning=True)
    assert list(tiny_model("gru").stream().generate(50)) == list(two.stream().generate(50))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.onnx does not exist"):
        load(tmp_path / "gone.onnx")
    with pytest.raises(OSError, match=r"is a folder without a bundle\.json, not a model"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00", b"not a model", b"{}", b"\xff" * 300], ids=repr)
def test_a_file_of_something_else_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}")
    assert "\n" not in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_no_model(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("random") / "random.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        load(path)


def test_a_file_cut_anywhere_is_no_model(tiny_path: Callable[..., Path], tmp_path: Path) -> None:
    whole = tiny_path("gru").read_bytes()
    path = tmp_path / "cut.onnx"
    for length in (*range(0, len(whole), len(whole) // 40), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError):
            load(path)


def test_a_damaged_file_loads_or_is_refused_in_one_line(tiny_path: Callable[..., Path], tmp_path: Path) -> None:
    whole = tiny_path("gru").read_bytes()
    path = tmp_path / "damaged.onnx"
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load(path)
        except ModelFileError as error:
            assert "\n" not in str(error)  # noqa: PT017, most damage lies in weights and is no error


def test_a_model_that_edgernn_did_not_export_is_refused_with_what_to_do(tmp_path: Path) -> None:
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "foreign", [x], [y])
    path = tmp_path / "foreign.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    with pytest.raises(SpecError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: the model has no edgernn.spec in its metadata, so it is no step model; export it with edgernn"
    )


@pytest.mark.parametrize("key", [SPEC_KEY, MODEL_ID_KEY])
def test_missing_metadata_is_named(tiny_path: Callable[..., Path], tmp_path: Path, key: str) -> None:
    model = onnx.load(tiny_path("gru"))
    kept = [entry for entry in model.metadata_props if entry.key != key]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(SpecError, match=f"the model has no {key} in its metadata"):
        load(tmp_path / "bare.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: spec.update(version=4), r"edgernn\.spec\.version is 4, this edgernn reads 3"),
        (lambda spec: spec.update(tempo=3), r"edgernn\.spec\.tempo is a field that this version does not know"),
        (lambda spec: spec.pop("lowering"), r"edgernn\.spec\.lowering is missing"),
        (lambda spec: spec["states"][1].pop("dtype"), r"edgernn\.spec\.states\.1\.dtype is missing"),
        (lambda spec: spec.update(batch=2), r"edgernn\.spec\.batch must be one of dynamic, 1, got 2"),
        (
            lambda spec: spec["states"][0].update(dtype="int32"),
            r"the Spec says state\.0\.h is int32\['batch', 24\], but the graph's is float32\['batch', 24\]",
        ),
        (
            lambda spec: spec["states"][1].update(shape=["batch", 12]),
            r"the Spec says state\.1\.h is float32\['batch', 12\], but the graph's is float32\['batch', 24\]",
        ),
        (
            lambda spec: spec["states"][1].update(shape=["batch", 24, 1]),
            r"the Spec says state\.1\.h is float32\['batch', 24, 1\]",
        ),
        (
            lambda spec: spec["states"][0].update(input="state.9.h"),
            r"the Spec names the input state\.9\.h, which the graph does not have",
        ),
        (
            lambda spec: spec["states"][0].update(output="next_state.9.h"),
            r"the Spec names the output next_state\.9\.h, which the graph does not have",
        ),
        (lambda spec: spec["states"].pop(), r"the graph has the input state\.1\.h, which the Spec does not name"),
        (
            lambda spec: spec["inputs"][0].update(dtype="int32"),
            r"the Spec says token is int32\['batch'\], but the graph's is int64\['batch'\]",
        ),
        (
            lambda spec: (spec["outputs"][0].update(shape=["batch", 12]), spec.update(codec=None, feedback=None)),
            r"the Spec says logits is float32\['batch', 12\]",
        ),
    ],
)
def test_a_spec_that_disagrees_is_refused_with_the_file_and_the_field(
    edited: Callable[..., Path], change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = edited(change)
    with pytest.raises(SpecError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_spec_of_another_batch_than_the_graph_s_is_refused(edited: Callable[..., Path]) -> None:
    def of_one_row(spec: dict[str, Any]) -> None:
        spec["batch"] = 1
        for part in (*spec["inputs"], *spec["outputs"], *spec["states"]):
            part["shape"][0] = 1

    with pytest.raises(SpecError, match=r"the Spec says token is int64\[1\], but the graph's is int64\['batch'\]"):
        load(edited(of_one_row))


def test_states_that_swapped_their_outputs_are_a_valid_spec_that_computes_something_else(
    edited: Callable[..., Path], tiny_model: Callable[..., Model]
) -> None:
    """States are paired through the Spec, never by order or name."""

    def swap(spec: dict[str, Any]) -> None:
        first, second = spec["states"]
        first["output"], second["output"] = second["output"], first["output"]

    swapped = load(edited(swap)).stream()
    expected = tiny_model("gru").stream()
    assert expected.step(1).tobytes() == swapped.step(1).tobytes()
    assert expected.snapshot().arrays[0].tobytes() == swapped.snapshot().arrays[1].tobytes()
    assert expected.step(2).tobytes() != swapped.step(2).tobytes()


def test_a_graph_without_an_output_of_the_spec_is_refused(edited: Callable[..., Path]) -> None:
    def drop(graph: onnx.GraphProto) -> None:
        del graph.output[-1]

    with pytest.raises(SpecError, match=r"the Spec names the output next_state\.1\.h, which the graph does not have"):
        load(edited(graph=drop))


@pytest.fixture
def one_row(tiny_path: Callable[..., Path], tmp_path: Path) -> Model:
    """The GRU with a batch of 1 in its graph and its Spec."""
    proto, spec, _ = read_model(tiny_path("gru"))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del proto.graph.value_info[:]
    one = replace(
        spec,
        batch=1,
        inputs=tuple(replace(each, shape=(1, *each.shape[1:])) for each in spec.inputs),
        outputs=tuple(replace(each, shape=(1, *each.shape[1:])) for each in spec.outputs),
        states=tuple(replace(each, shape=(1, *each.shape[1:])) for each in spec.states),
    )
    write_spec(proto, one)
    onnx.save(proto, tmp_path / "one.onnx")
    return load(tmp_path / "one.onnx")


def test_a_model_of_one_row_takes_no_more(tiny_model: Callable[..., Model], one_row: Model) -> None:
    assert list(tiny_model("gru").stream().generate(20)) == list(one_row.stream().generate(20))
    with pytest.raises(InputError, match="batch must be 1, got 2"):
        one_row.executor(2)


def test_a_model_of_one_row_has_no_initial_state_of_more(one_row: Model) -> None:
    with pytest.raises(InputError, match="batch must be 1, got 2"):
        one_row.initial_state(batch=2)


@pytest.mark.parametrize("batch", [0, -1])
def test_an_initial_state_without_rows_is_refused(frame_model: Model, batch: int) -> None:
    with pytest.raises(InputError, match=f"batch must be positive, got {batch}"):
        frame_model.initial_state(batch=batch)


def test_a_refused_spec_is_also_the_built_in_errors_that_a_caller_would_expect(edited: Callable[..., Path]) -> None:
    path = edited(lambda spec: spec.update(tempo=3))
    for kind in (OSError, ValueError, ModelFileError, EdgeRNNError):
        with pytest.raises(kind):
            load(path)
