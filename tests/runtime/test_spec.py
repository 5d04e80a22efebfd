"""The Spec travels as JSON, and a Spec that does not fit itself never comes to be."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_runtime import ByteCodec, CharacterCodec, Codec, LabelCodec, SeriesCodec, Spec, SymbolCodec
from edgernn_runtime.errors import SpecError
from edgernn_runtime.spec import (
    BATCH,
    Axis,
    BatchMode,
    Distribution,
    Dtype,
    Feedback,
    Parity,
    Producer,
    Role,
    StateSpec,
    TensorSpec,
)
from edgernn_runtime.spec_json import SPEC_VERSION, identity_json, spec_from_json, spec_to_json

DTYPES: st.SearchStrategy[Dtype] = st.sampled_from(
    ["float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"]
)
STATE_DTYPES: st.SearchStrategy[Dtype] = st.sampled_from(["float32", "int64", "int32", "int8", "uint8", "bool"])
BATCHES: st.SearchStrategy[BatchMode] = st.sampled_from(["dynamic", 1])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
AXES = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    batch = draw(BATCHES)
    first = BATCH if batch == "dynamic" else 1
    names = iter([f"t{i}" for i in range(20)])

    def tensors(count: int, roles: list[Role]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(next(names), draw(DTYPES), (first, *draw(AXES)), draw(st.sampled_from(roles)))
            for _ in range(count)
        )

    def noise() -> tuple[TensorSpec, ...]:
        sizes = draw(st.lists(st.integers(1, 9), max_size=2))
        return tuple(TensorSpec(next(names), "float32", (first, size), "noise") for size in sizes)

    def state() -> StateSpec:
        axes = draw(AXES)
        size = int(np.prod(axes))
        initial = draw(st.none() | st.lists(NUMBERS, min_size=size, max_size=size).map(tuple))
        return StateSpec(next(names), next(names), draw(STATE_DTYPES), (first, *axes), initial)

    token = TensorSpec("token", "int64", (first,), "token")
    codec = draw(st.sampled_from([None, ByteCodec(), CharacterCodec.from_text("aé☃"), CharacterCodec.from_text("")]))
    vocabulary = draw(st.integers(1, 300)) if codec is None else codec.size
    logits = TensorSpec("logits", "float32", (first, vocabulary), "logits")
    generative = draw(st.booleans())
    start = draw(st.none() | st.integers(0, vocabulary - 1))
    return Spec(
        inputs=(token, *tensors(draw(st.integers(0, 2)), ["frame", "condition", "control"]), *noise()),
        outputs=(logits, *tensors(draw(st.integers(0, 2)), ["params", "logits"])),
        states=tuple(state() for _ in range(draw(st.integers(0, 3)))),
        producer=Producer(draw(TEXTS), draw(TEXTS), draw(st.integers(0, 30))),
        source_sha256=draw(TEXTS),
        distribution="categorical" if generative else draw(st.sampled_from(["none", "gaussian", "bernoulli"])),
        feedback=Feedback("logits", "token", start) if generative else None,
        codec=codec,
        batch=batch,
        rate_hz=draw(st.none() | st.integers(1, 10**6) | st.floats(0.1, 1e6)),
        frames_per_step=draw(st.integers(1, 8)),
        delay_steps=draw(st.integers(0, 8)),
        precision=draw(st.sampled_from(["float32", "int8", "int4"])),
        lowering=draw(TEXTS),
        weight_bytes=draw(st.integers(0, 2**40)),
        parity=draw(st.none() | st.builds(Parity, st.integers(0, 1000), NUMBERS)),
    )


def small_spec() -> Spec:
    return Spec(
        inputs=(TensorSpec("token", "int64", (BATCH,), "token"),),
        outputs=(TensorSpec("logits", "float32", (BATCH, 4), "logits"),),
        states=(StateSpec("state.h", "next_state.h", "float32", (BATCH, 2), (0.5, -1.0)),),
        producer=Producer("0.1.0", "2.13.0", 20),
        distribution="categorical",
        feedback=Feedback("logits", "token", 1),
        codec=CharacterCodec.from_text("abc"),
        rate_hz=16000.0,
        parity=Parity(256, 1e-6),
    )


def frame_spec(value: tuple[Axis, ...], parameters: tuple[Axis, ...]) -> Spec:
    return Spec(
        (TensorSpec("x", "float32", value, "frame"),), (TensorSpec("params", "float32", parameters, "params"),), ()
    )


def every_place(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every field and list item in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from every_place(item, (*path, key))


def edited(change: Callable[[dict[str, Any]], object]) -> str:
    source = json.loads(spec_to_json(small_spec()))
    change(source)
    return json.dumps(source)


def at(source: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        source = source[key]
    return source


PLACES = [place for place in every_place(json.loads(spec_to_json(small_spec()))) if place[0] != "version"]
FIELDS = [place for place in PLACES if isinstance(place[-1], str) and (place[0] != "codec" or len(place) == 1)]


def dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))


@given(specs())
def test_a_spec_comes_back_from_its_json(spec: Spec) -> None:
    assert spec == spec_from_json(spec_to_json(spec))


@given(specs())
def test_equal_specs_have_equal_json(spec: Spec) -> None:
    text = spec_to_json(spec)
    assert text == spec_to_json(spec_from_json(text))
    assert text == spec_to_json(replace(spec))


@given(specs(), st.none() | st.builds(Parity, st.integers(0, 1000), NUMBERS))
def test_a_model_s_identity_does_not_depend_on_its_parity_figures(spec: Spec, parity: Parity | None) -> None:
    assert identity_json(spec) == identity_json(replace(spec, parity=parity))


def test_a_model_s_identity_depends_on_everything_else() -> None:
    spec = small_spec()
    others = [
        replace(spec, codec=None),
        replace(spec, rate_hz=8000.0),
        replace(spec, precision="int8"),
        replace(spec, feedback=Feedback("logits", "token", 2)),
        replace(spec, states=(replace(spec.states[0], initial=None),)),
    ]
    assert len({identity_json(each) for each in [spec, *others]}) == 6


@pytest.mark.parametrize("place", FIELDS, ids=dotted)
def test_a_missing_field_is_named(place: tuple[str | int, ...]) -> None:
    text = edited(lambda source: at(source, place[:-1]).pop(place[-1]))
    with pytest.raises(SpecError) as caught:
        spec_from_json(text)
    assert str(caught.value) == f"edgernn.spec.{dotted(place)} is missing"


@pytest.mark.parametrize(
    "place", [(), ("inputs", 0), ("states", 0), ("producer",), ("feedback",), ("parity",)], ids=str
)
def test_an_unknown_field_is_named(place: tuple[str | int, ...]) -> None:
    text = edited(lambda source: at(source, place).update(colour="red"))
    with pytest.raises(SpecError) as caught:
        spec_from_json(text)
    expected = dotted(("edgernn.spec", *place, "colour"))
    assert str(caught.value) == f"{expected} is a field that this version does not know"


@pytest.mark.parametrize("wrong", [True, {"a": 1}, [[1]], "strange\n"], ids=str)
@pytest.mark.parametrize("place", PLACES, ids=dotted)
def test_a_value_of_another_type_is_a_spec_error_that_names_its_field(
    place: tuple[str | int, ...], wrong: object
) -> None:
    accepts_text = {"torch", "edgernn", "source_sha256", "lowering", "precision", "name", "input", "output", "symbols"}
    if isinstance(wrong, str) and {place[-1], place[-2] if len(place) > 1 else ""} & accepts_text:
        return
    with pytest.raises(SpecError) as caught:
        spec_from_json(edited(lambda source: at(source, place[:-1]).__setitem__(place[-1], wrong)))
    assert next(str(key) for key in reversed(place) if isinstance(key, str)) in str(caught.value)


def test_a_newer_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(SpecError, match=rf"version is 99, this edgernn reads {SPEC_VERSION}; upgrade edgernn"):
        spec_from_json(edited(lambda source: source.update(version=99, colour="red")))


def test_an_older_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(SpecError, match=r"version is 1, of an earlier edgernn.*export the model again"):
        spec_from_json(edited(lambda source: source.update(version=1)))


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None])
def test_a_version_that_is_none_is_refused(version: object) -> None:
    with pytest.raises(SpecError, match=r"edgernn\.spec\.version must be a positive integer"):
        spec_from_json(edited(lambda source: source.update(version=version)))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"spec"', "\x00"])
def test_text_that_is_no_json_object_is_no_spec(text: str) -> None:
    with pytest.raises(SpecError, match=r"edgernn\.spec (is not JSON|must be a JSON object)"):
        spec_from_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frames_per_step", 0),
        ("delay_steps", -1),
        ("weight_bytes", -1),
        ("rate_hz", 0.0),
        ("rate_hz", -1.0),
        ("rate_hz", float("nan")),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(SpecError, match=field):
        spec_from_json(edited(lambda source: source.update({field: value})))


@pytest.mark.parametrize("shape", [(), (1, 2), ("batch", 0), ("batch", -1), ("batch", "time"), (2, "batch")], ids=str)
def test_a_shape_without_the_batch_in_front_is_refused_by_name(shape: tuple[int | str, ...]) -> None:
    with pytest.raises(SpecError, match=r"state\.h\.shape must be 'batch' and then positive integers"):
        replace(small_spec(), states=(StateSpec("state.h", "next_state.h", "float32", shape),))


def test_a_model_of_one_row_has_a_batch_axis_of_one() -> None:
    with pytest.raises(SpecError, match=r"token\.shape must be 1 and then positive integers, got \['batch'\]"):
        replace(small_spec(), batch=1)


def test_an_initial_state_of_the_wrong_size_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"state\.h\.initial must hold 2 numbers, got 3"):
        replace(small_spec(), states=(StateSpec("state.h", "next_state.h", "float32", (BATCH, 2), (1.0, 2.0, 3.0)),))


@pytest.mark.parametrize(
    ("given_name", "next_name"), [("token", "next_state.h"), ("state.h", "logits")], ids=["inputs", "outputs"]
)
def test_two_tensors_of_one_name_are_refused(given_name: str, next_name: str) -> None:
    with pytest.raises(SpecError, match="two tensors share a name: "):
        replace(small_spec(), states=(StateSpec(given_name, next_name, "float32", (BATCH, 2)),))


@pytest.mark.parametrize(
    ("feedback", "message"),
    [
        (Feedback("sound", "token"), r"feedback\.output names sound, which is no output"),
        (Feedback("logits", "frame"), r"feedback\.input names frame, which is no input"),
        (Feedback("logits", "token", 4), r"feedback\.start must lie in 0\.\.3, got 4"),
        (Feedback("logits", "token", -1), r"feedback\.start must lie in 0\.\.3, got -1"),
    ],
)
def test_a_feedback_that_does_not_fit_is_refused(feedback: Feedback, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(small_spec(), feedback=feedback)


def test_a_feedback_output_without_an_axis_of_tokens_is_refused() -> None:
    with pytest.raises(SpecError, match="logits"):
        replace(small_spec(), outputs=(TensorSpec("logits", "float32", (BATCH,), "logits"),), codec=None)


def test_a_codec_of_another_size_than_the_logits_is_refused() -> None:
    with pytest.raises(SpecError, match="codec has 256 tokens, but logits has 4"):
        replace(small_spec(), codec=ByteCodec())


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (LabelCodec(("yes", "no")), "codec has 2 labels, but params has 4"),
        (SeriesCodec(("a", "b"), "last", (0.0, 0.0)), "codec has 2 columns, but x has 3"),
    ],
)
def test_a_codec_of_other_labels_or_columns_than_the_model_is_refused(codec: Codec, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(frame_spec((BATCH, 3), (BATCH, 4)), codec=codec)


def test_a_number_a_step_is_one_column_or_one_label() -> None:
    spec = frame_spec((BATCH,), (BATCH,))
    for codec in (LabelCodec(("yes",)), SeriesCodec(("a",), "last", (0.0,))):
        assert codec == spec_from_json(spec_to_json(replace(spec, codec=codec))).codec
    with pytest.raises(SpecError, match="codec has 2 labels, but params has 1"):
        replace(spec, codec=LabelCodec(("yes", "no")))


@pytest.mark.parametrize(
    ("distribution", "value", "parameters"),
    [
        ("none", (BATCH, 3), (BATCH, 3)),
        ("bernoulli", (BATCH, 3), (BATCH, 3)),
        ("gaussian", (BATCH, 3), (BATCH, 3, 2)),
        ("gaussian", (BATCH,), (BATCH, 2)),
        ("logistic_mixture", (BATCH, 4, 3), (BATCH, 4, 3, 7, 3)),
    ],
)
def test_a_feedback_of_frames_takes_the_parameters_of_its_distribution(
    distribution: Distribution, value: tuple[Axis, ...], parameters: tuple[Axis, ...]
) -> None:
    spec = replace(frame_spec(value, parameters), distribution=distribution, feedback=Feedback("params", "x"))
    assert (spec, 0) == (spec_from_json(spec_to_json(spec)), spec.vocabulary)


@pytest.mark.parametrize(
    ("distribution", "value", "parameters"),
    [
        ("none", (BATCH, 3), (BATCH, 2)),
        ("bernoulli", (BATCH, 3), (BATCH, 3, 1)),
        ("gaussian", (BATCH, 3), (BATCH, 3)),
        ("gaussian", (BATCH, 3), (BATCH, 3, 3)),
        ("gaussian", (BATCH, 3), (BATCH, 2)),
        ("gaussian", (BATCH,), (BATCH,)),
        ("logistic_mixture", (BATCH, 3), (BATCH, 3, 3)),
        ("logistic_mixture", (BATCH, 3), (BATCH, 3, 5, 2)),
        ("logistic_mixture", (BATCH,), (BATCH,)),
    ],
)
def test_a_feedback_of_frames_with_other_parameters_is_refused(
    distribution: Distribution, value: tuple[Axis, ...], parameters: tuple[Axis, ...]
) -> None:
    with pytest.raises(SpecError, match=rf"params\.shape must hold {distribution} parameters of x \["):
        replace(frame_spec(value, parameters), distribution=distribution, feedback=Feedback("params", "x"))


def test_a_feedback_of_frames_of_integers_is_refused() -> None:
    spec = frame_spec((BATCH, 3), (BATCH, 3))
    with pytest.raises(SpecError, match="x and params must be float32, got int64, float32"):
        replace(spec, inputs=(replace(spec.inputs[0], dtype="int64"),), feedback=Feedback("params", "x"))


def test_a_codec_of_symbols_begins_as_the_feedback_does_and_says_what_ends() -> None:
    spec = replace(
        small_spec(), feedback=Feedback("logits", "token", start=0), codec=SymbolCodec.of("ab", separator="")
    )
    assert (1, spec.codec) == (spec.end, spec.text_codec)
    assert small_spec().end is None
    with pytest.raises(SpecError, match=r"feedback\.start is 2, but codec\.begin is 0"):
        replace(spec, feedback=Feedback("logits", "token", start=2))


def test_the_codec_of_a_model_that_only_reads_tokens_describes_what_it_reads() -> None:
    letters = SymbolCodec(("a", "b", "c"), "", "reverse")
    reads = TensorSpec("symbol", "int64", (BATCH,), "token", size=3)
    spec = Spec(
        inputs=(reads,), outputs=(TensorSpec("last", "float32", (BATCH, 7), "params"),), states=(), codec=letters
    )
    assert spec == spec_from_json(spec_to_json(spec))
    assert spec.end is None
    with pytest.raises(SpecError, match="codec has 3 tokens, but symbol has 4"):
        replace(spec, inputs=(replace(reads, size=4),))
    with pytest.raises(SpecError, match="codec has 3 tokens, but last has 7"):
        replace(spec, inputs=(replace(reads, size=None),))


def test_only_a_codec_of_text_is_one_of_text() -> None:
    assert small_spec().text_codec == small_spec().codec
    assert replace(frame_spec((BATCH, 2), (BATCH, 2)), codec=LabelCodec(("yes", "no"))).text_codec is None


def test_only_a_categorical_feedback_has_a_vocabulary() -> None:
    assert small_spec().vocabulary == 4
    assert replace(small_spec(), feedback=None, codec=None).vocabulary == 0


@given(specs(), st.integers(1, 5))
def test_initial_arrays_have_the_state_s_dtype_and_shape_and_the_same_rows(spec: Spec, batch: int) -> None:
    rows = 1 if spec.batch == 1 else batch
    for state in spec.states:
        with np.errstate(all="ignore"):
            if state.initial is not None and np.dtype(state.dtype).kind in "iu":
                continue  # a constant beyond an integer's range is the exporter's mistake
            array, alone = state.initial_array(rows), state.initial_array(1)
        assert state.dtype == array.dtype.name
        assert state.sized(rows) == array.shape
        assert [alone.tobytes()] * rows == [row.tobytes() for row in array]


def test_an_initial_array_is_the_constant_of_the_spec_and_a_copy_of_it() -> None:
    (state,) = small_spec().states
    array = state.initial_array(2)
    assert [[0.5, -1.0], [0.5, -1.0]] == array.tolist()
    array[...] = 7
    assert [[0.5, -1.0]] == state.initial_array(1).tolist()
