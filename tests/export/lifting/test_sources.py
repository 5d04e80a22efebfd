"""What lifting reads: modules by name, weights, programs; and what it refuses, with nothing run and nothing written."""

import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, fx, nn
from torch.export import Dim

from edgernn.factory import make_module
from edgernn_export import LiftOptions, export, lift, lift_program
from edgernn_export.lifting import rules
from edgernn_export.lifting.step_graph import aten
from edgernn_export.lifting.walk import Walk
from edgernn_runtime import load
from edgernn_runtime.errors import InputError, LiftError, ModelFileError, ParityError


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    batch = {"x": {0: Dim("b")}}
    torch.export.save(
        torch.export.export(Model().eval(), (torch.zeros(2, 13, 8),), dynamic_shapes=batch), folder / "dynamic.pt2"
    )
    torch.export.save(torch.export.export(Model().eval(), (torch.zeros(1, 13, 8),)), folder / "single.pt2")
    return folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that writes a module called `user_model` into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text: str) -> None:
        (tmp_path / "user_model.py").write_text(text)

    yield write
    sys.modules.pop("user_model", None)


# Programs


def test_a_program_of_one_length_lifts_with_its_dynamic_batch(programs: Path, tmp_path: Path) -> None:
    step = lift_program(programs / "dynamic.pt2", ["x=float32[B,T,8]"])
    spec = load(export(step, tmp_path / "model.onnx").path).spec
    assert spec.batch == "dynamic"
    assert [state.shape for state in spec.states] == [("batch", 6), ("batch", 6)]


def test_a_program_of_one_row_lifts_as_such(programs: Path) -> None:
    assert lift_program(programs / "single.pt2", ["x=float32[B,T,8]"], LiftOptions(batch=1)).spec.batch == 1


@pytest.mark.parametrize(
    ("file", "example", "message"),
    [
        ("single.pt2", "x=float32[B,T,8]", "fixed batch of 1 in the file; take it with --batch 1"),
        ("dynamic.pt2", "x=float32[B,T,9]", "not as the example says"),
        ("dynamic.pt2", "x=float32[B,8]", "not as the example says"),
    ],
)
def test_an_example_that_is_not_the_programs_is_refused(programs: Path, file: str, example: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lift_program(programs / file, [example])


class _Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return (os.system, (self.command,))


def _saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _changed(source: Path, target: Path, change: Callable[[dict[str, bytes]], Mapping[str, bytes]]) -> Path:
    with zipfile.ZipFile(source) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in {**records, **change(records)}.items():
            archive.writestr(name, content)
    return target


@pytest.mark.parametrize("place", ["sample inputs", "custom object", "pickled weight", "torch.save record of any name"])
def test_a_pickle_planted_in_a_program_is_refused_and_does_not_run(programs: Path, tmp_path: Path, place: str) -> None:
    witness = tmp_path / "witness"
    payload = _Payload(f"touch {witness}")

    def change(records: dict[str, bytes]) -> Mapping[str, bytes]:
        root = next(iter(records)).split("/")[0]
        if place == "sample inputs":
            return {f"{root}/data/sample_inputs/model.pt": _saved(payload)}
        if place == "custom object":
            return {f"{root}/data/constants/custom_obj_0": pickle.dumps(payload)}
        if place == "pickled weight":
            name = f"{root}/data/weights/model_weights_config.json"
            config = json.loads(records[name])
            first = next(iter(config["config"].values()))
            first["use_pickle"] = True
            return {name: json.dumps(config).encode(), f"{root}/data/weights/{first['path_name']}": _saved(payload)}
        return {f"{root}/data/extra/anything": _saved(payload)}

    path = _changed(programs / "dynamic.pt2", tmp_path / "planted.pt2", change)
    with pytest.raises(ModelFileError, match="holds more than tensors"):
        lift_program(path, ["x=float32[B,T,8]"])
    assert not witness.exists()


def test_the_planted_pickle_would_have_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    torch.load(io.BytesIO(_saved(_Payload(f"touch {witness}"))), weights_only=False)
    assert witness.exists()


def test_a_program_that_calls_another_function_than_torchs_operators_is_refused(programs: Path, tmp_path: Path) -> None:
    def change(records: dict[str, bytes]) -> Mapping[str, bytes]:
        (name,) = (each for each in records if each.endswith("models/model.json"))
        return {name: records[name].replace(b"torch.ops.aten.lstm.input", b"torch.hub.load")}

    path = _changed(programs / "dynamic.pt2", tmp_path / "calls.pt2", change)
    with pytest.raises(ModelFileError, match=r"calls torch\.hub\.load"):
        lift_program(path, ["x=float32[B,T,8]"])


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"no archive", None])
def test_a_file_that_is_no_program_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.pt2"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"broken\.pt2"):
        lift_program(path, ["x=float32[B,T,8]"])


# Modules by name, and weights


SIMPLE = "from torch import nn\ndef make():\n    return nn.GRU(4, 3, batch_first=True)\nmade = make()\n"


@pytest.mark.parametrize("name", ["user_model:make", "user_model:made", "torch.nn:Identity"])
def test_a_module_a_class_or_a_function_that_makes_one_can_be_named(package: Callable[[str], None], name: str) -> None:
    package(SIMPLE)
    assert isinstance(make_module(name), nn.Module)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("user_model", SIMPLE, "must read package.module:attribute"),
        ("user_model:other", SIMPLE, "user_model has no other"),
        ("absent_package:make", SIMPLE, "absent_package cannot be imported: ModuleNotFoundError"),
        ("user_model:make", "import nothing_like_this\n", "user_model cannot be imported: ModuleNotFoundError"),
        (
            "user_model:make",
            "def make():\n    raise RuntimeError('no file')\n",
            r"make\(\) raised RuntimeError: no file",
        ),
        ("user_model:make", "def make():\n    return 3\n", r"returned int, and no torch module"),
        ("user_model:make", "make = 3\n", "neither a torch module nor something that makes one"),
        ("user_model:make", "def make(size):\n    return size\n", r"make\(\) raised TypeError"),
    ],
)
def test_a_factory_that_does_not_work_is_one_clear_error(
    package: Callable[[str], None], name: str, text: str, message: str
) -> None:
    package(text)
    with pytest.raises(LiftError, match=message):
        make_module(name)


@pytest.mark.parametrize("file", ["weights.safetensors", "weights.pt", "nested.pt"])
def test_weights_are_loaded_from_either_format(package: Callable[[str], None], tmp_path: Path, file: str) -> None:
    package(SIMPLE)
    state = {name: torch.randn_like(value) for name, value in make_module("user_model:make").state_dict().items()}
    path = tmp_path / file
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model_state": state, "epoch": 3} if file.startswith("nested") else state, path)
    loaded = make_module("user_model:make", path).state_dict()
    assert all(torch.equal(state[name], loaded[name]) for name in state)


def test_a_malicious_pickle_in_weights_is_refused_and_does_not_run(
    package: Callable[[str], None], tmp_path: Path
) -> None:
    package(SIMPLE)
    witness, path = tmp_path / "witness", tmp_path / "weights.pt"
    path.write_bytes(_saved(_Payload(f"touch {witness}")))
    with pytest.raises(ModelFileError, match="holds more than weights"):
        make_module("user_model:make", path)
    assert not witness.exists()


@pytest.mark.parametrize("file", ["other.safetensors", "broken.safetensors", "broken.pt", "absent.pt", "weights.txt"])
def test_weights_that_cannot_be_used_are_one_clear_error(
    package: Callable[[str], None], tmp_path: Path, file: str
) -> None:
    package(SIMPLE)
    path = tmp_path / file
    if file.startswith("other"):
        save_file({"weight": torch.zeros(2)}, path)
    elif file.startswith("broken"):
        path.write_bytes(b"nothing of use")
    elif file.endswith("txt"):
        path.write_text("weights")
    with pytest.raises((LiftError, ModelFileError), match=file):
        make_module("user_model:make", path)


# Examples


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ("x", "must read NAME=DTYPE"),
        ("x=float32", "must read DTYPE"),
        ("x=float99[B,T,8]", "dtype float99"),
        ("x=float32[B,T,B]", "names B twice"),
        ("x=float32[B,T,0]", "positive number"),
        ("x=float32[B,T,N]", "axis is B, T or a positive number"),
        ("y=float32[B,T,8]", "cannot be called with y"),
        ("x=float32[B,T,8];x=float32[B,T,8]", "describes x twice"),
        ("", "must describe an argument"),
        ({"x": torch.zeros(2, 3, 8)}, "describe it instead, as in float32"),
    ],
)
def test_an_example_that_cannot_be_read_is_refused(example: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lift(Model(), example)


def test_an_example_of_the_wrong_shape_is_refused_with_what_the_module_says() -> None:
    with pytest.raises(LiftError, match=r"Model fails when it is called with x=float32\[B,T,9\]: .*9"):
        lift(Model(), "x=float32[B,T,9]")


def test_examples_may_nest_as_the_module_takes_them() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(8, 6, batch_first=True)

        def forward(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            y, (h, c) = self.rnn(x, (state["h"], state["c"]))
            return y, {"h": h, "c": c}

    one = "float32[1,B,6]"
    step = lift(Nested(), {"x": "float32[B,T,8]", "state": {"h": one, "c": one}})
    assert [state.input for state in step.spec.states] == ["state.state.h", "state.state.c"]


def test_given_sequences_are_part_of_the_proof() -> None:
    given = {"x": np.ones((2, 20, 8), np.float32)}
    step = lift(Model(), "x=float32[B,T,8]", LiftOptions(given=[given]))
    assert [tuple(each.shape) for each in step.proof.given[0]] == [(2, 20, 8)]
    with pytest.raises(InputError, match=r"x=float32\[B,T,8\] was given as float64"):
        lift(Model(), "x=float32[B,T,8]", LiftOptions(given=[{"x": np.ones((2, 20, 8))}]))


def test_a_generative_model_must_return_logits_of_its_tokens() -> None:
    with pytest.raises(LiftError, match="does not generate tokens"):
        lift(Model(), "x=float32[B,T,8]", LiftOptions(generative=True))


def test_a_module_that_decides_by_values_is_refused_with_the_remedy() -> None:
    class Decides(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(LiftError, match=r"torch\.where"):
        lift(Decides(), "x=float32[B,T,8]")


def test_a_mismatch_names_the_step_the_output_and_the_suspected_operator(monkeypatch: pytest.MonkeyPatch) -> None:

    def wrong(walk: Walk, node: fx.Node) -> object:
        value = walk.value(node.args[0])  # type: ignore[arg-type]
        made = walk.step.call(aten.mul.Tensor, value.node, 1.5)
        return walk.derived(node, made, value.where, value.count, value.shift)

    class Relu(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"mask": torch.relu(x).sigmoid()}

    monkeypatch.setattr("edgernn_export.lifting.lifter.RULES", {**rules.RULES, aten.relu.default: wrong})
    with pytest.raises(ParityError, match=r"first in mask at step 0 of 1.*suspected: relu in .*test_sources\.py"):
        lift(Relu(), "x=float32[B,T,4]")


class _Memory(NamedTuple):
    h: Tensor
    c: Tensor


@dataclass
class _Registered:
    memory: _Memory
    level: Tensor


torch.utils._pytree.register_dataclass(_Registered)


def test_states_may_lie_in_named_tuples_and_registered_dataclasses() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low = nn.LSTM(8, 6, batch_first=True)
            self.high = nn.GRU(6, 4, batch_first=True)

        def forward(self, x: Tensor, state: _Registered) -> tuple[Tensor, _Registered]:
            y, (h, c) = self.low(x, (state.memory.h, state.memory.c))
            y, level = self.high(y, state.level)
            return y, _Registered(_Memory(h, c), level)

    one: Any = "float32[1,B,6]"
    given = {"x": "float32[B,T,8]", "state": _Registered(_Memory(one, one), cast("Any", "float32[1,B,4]"))}
    names = [state.input for state in lift(Nested(), given).spec.states]
    assert names == ["state.state.memory.h", "state.state.memory.c", "state.state.level"]
