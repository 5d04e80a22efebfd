"""A requested provider is there and used, or it is an error that says what to do."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgernn_runtime import Model, Sampler, load
from edgernn_runtime.errors import ProviderError
from edgernn_runtime.providers import (
    CPU,
    PACKAGES,
    SHORT_NAMES,
    Provider,
    available,
    installed_distributions,
    packaging_conflict,
    report,
    resolve,
    short_name,
)

OFFERED = onnxruntime.get_available_providers()
ABSENT = next(short for short, name in SHORT_NAMES.items() if name in PACKAGES and name not in OFFERED)

needs_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" not in OFFERED, reason="this ONNX Runtime has no CUDAExecutionProvider"
)
needs_azure = pytest.mark.skipif(
    "AzureExecutionProvider" not in OFFERED, reason="this ONNX Runtime has no provider that takes no node"
)


@pytest.mark.parametrize("request_", ["cpu", "CPU", "CPUExecutionProvider", ("cpu", {})], ids=str)
def test_the_cpu_has_a_short_and_a_full_name(request_: str | tuple[str, Mapping[str, str]]) -> None:
    assert resolve([request_]) == (CPU,)


def test_options_travel_with_a_provider_as_strings() -> None:
    (provider,) = resolve([("cpu", {"use_arena": "0"})])
    assert Provider("CPUExecutionProvider", (("use_arena", "0"),)) == provider


@pytest.mark.parametrize("name", ["quantum", "", "cpu ", "c"])
def test_an_unknown_provider_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ProviderError) as caught:
        resolve([name])
    assert str(caught.value) == f"no provider is called {name}; known are {', '.join(SHORT_NAMES)}"


def test_no_provider_at_all_is_refused() -> None:
    with pytest.raises(ProviderError, match=r"name at least one provider: .*cpu"):
        resolve([])


def test_an_absent_provider_is_refused_with_what_is_there_and_what_to_install() -> None:
    with pytest.raises(ProviderError) as caught:
        resolve(["cpu", ABSENT])
    message = str(caught.value)
    assert f"provider {ABSENT} is not in this ONNX Runtime {onnxruntime.__version__}" in message
    assert f"which has {', '.join(available())}; run: pip" in message


def test_a_model_is_not_loaded_on_another_provider_than_the_one_asked_for(tiny_path: Callable[..., Path]) -> None:
    with pytest.raises(ProviderError, match=ABSENT):
        load(tiny_path("gru"), providers=[ABSENT, "cpu"])


def test_one_name_in_place_of_a_list_is_not_taken_for_its_letters(tiny_path: Callable[..., Path]) -> None:
    try:
        model = load(tiny_path("gru"), providers="cpu")
    except ProviderError as error:
        assert "no provider is called c;" not in str(error)  # noqa: PT017, both outcomes are fine
    else:
        assert model.providers == ("CPUExecutionProvider",)


def test_every_node_of_a_cpu_model_runs_on_the_cpu(tiny_model: Callable[..., Model]) -> None:
    placement = tiny_model("gru").placement()
    assert {node.provider for node in placement} == {"CPUExecutionProvider"}
    assert {"Gather", "Sigmoid", "Tanh"} <= {node.operator for node in placement}


def test_strict_passes_where_every_node_runs_on_the_first_provider(tiny_path: Callable[..., Path]) -> None:
    assert load(tiny_path("gru"), strict=True).providers == ("CPUExecutionProvider",)


@needs_azure
def test_strict_lists_the_nodes_that_fell_back(tiny_path: Callable[..., Path]) -> None:
    path = tiny_path("gru")
    count = len(load(path).placement())
    with pytest.raises(ProviderError, match=rf"{count} nodes do not run on AzureExecutionProvider: .*Gather on cpu"):
        load(path, providers=["AzureExecutionProvider", "cpu"], strict=True)


@needs_azure
def test_without_strict_nodes_may_fall_back(tiny_path: Callable[..., Path], tiny_model: Callable[..., Model]) -> None:
    model = load(tiny_path("gru"), providers=["AzureExecutionProvider", "cpu"])
    assert model.providers[0] == "AzureExecutionProvider"
    assert tiny_model("gru").stream().step(1).tobytes() == model.stream().step(1).tobytes()


@pytest.mark.parametrize("distributions", [[], ["onnxruntime"], ["onnxruntime-gpu"]], ids=str)
def test_one_distribution_of_onnx_runtime_is_no_conflict(distributions: list[str]) -> None:
    assert packaging_conflict(distributions) is None


@pytest.mark.parametrize(
    "distributions", [["onnxruntime", "onnxruntime-gpu"], ["onnxruntime-gpu", "onnxruntime"]], ids=str
)
def test_two_distributions_of_onnx_runtime_overwrite_each_other(distributions: list[str]) -> None:
    message = packaging_conflict(distributions)
    assert message is not None
    assert f"{' and '.join(distributions)} overwrite each other; run: pip uninstall -y" in message
    assert message.endswith("&& pip install onnxruntime-gpu")


def test_this_environment_has_one_distribution() -> None:
    assert len(installed_distributions()) == 1


def test_the_report_lists_what_is_available_first_and_a_remedy_for_the_rest() -> None:
    found = report()
    assert [short_name(name) for name in OFFERED] == [each.name for each in found if each.available]
    assert [each.available for each in found] == sorted((each.available for each in found), reverse=True)
    assert set(SHORT_NAMES) <= {each.name for each in found}
    assert all(each.fix for each in found if not each.available)
    assert all(each.fix is None for each in found if each.available)
    assert {onnxruntime.__version__} == {each.version for each in found}


def test_a_name_without_a_short_one_is_its_own() -> None:
    assert short_name("SomeExecutionProvider") == "SomeExecutionProvider"


@needs_cuda
def test_a_model_on_cuda_computes_what_it_computes_on_the_cpu(
    tiny_path: Callable[..., Path], tiny_model: Callable[..., Model], tiny_tokens: NDArray[np.int64], cell: str
) -> None:
    on_cpu, on_cuda = tiny_model(cell), load(tiny_path(cell), providers=["cuda", "cpu"])
    expected, actual = (np.asarray(model.stream().run(tiny_tokens[:300]), "f4") for model in (on_cpu, on_cuda))
    np.testing.assert_allclose(actual, expected, atol=1e-3)


@needs_cuda
def test_a_stream_on_cuda_cut_and_restored_equals_the_uncut_one(tiny_path: Callable[..., Path]) -> None:
    model = load(tiny_path("lstm"), providers=["cuda", "cpu"])
    whole = list(model.stream(seed=4, sampler=Sampler()).generate(100))
    first = model.stream(seed=4, sampler=Sampler())
    before = list(first.generate(37))
    assert whole == before + list(model.stream(state=first.snapshot()).generate(63))


@needs_cuda
def test_rows_on_cuda_are_reset_and_moved_alone(tiny_path: Callable[..., Path]) -> None:
    executor = load(tiny_path("lstm"), providers=["cuda", "cpu"]).executor(3)
    executor.inputs["token"][...] = [1, 2, 3]
    executor.run()
    before = executor.read_state()
    executor.reset_row(0)
    executor.move_row(2, 1)
    for old, new in zip(before, executor.read_state(), strict=True):
        assert not new[0].any()
        assert old[2].tobytes() == new[1].tobytes() == new[2].tobytes()
