"""Cells against their written equations in numpy, against torch, and step form against scan form."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.cells import Cell, Stack, State, from_torch, lower, make_cell, to_torch
from edgernn.cells.stack import CELLS
from edgernn_runtime.errors import InputError

NAMES = sorted(CELLS)
SHAPES = [(1, 1, 1), (1, 3, 7), (2, 1, 5), (3, 4, 20)]  # layers, batch, time

Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def written_step(name: str, cell: Cell, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the next state by the published equations; its first tensor is the output."""
    w, u, b, c = (parameter.detach().numpy() for parameter in cell.parameters())
    h = state[0]
    if name.startswith("elman"):
        total = x @ w.T + h @ u.T + (b + c)
        return (np.tanh(total) if name == "elman" else np.maximum(total, 0),)
    if name == "lstm":
        i, f, g, o = np.split(x @ w.T + b + h @ u.T + c, 4, axis=1)
        after = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(after), after
    (xr, xz, xn), (hr, hz, hn) = np.split(x @ w.T + b, 3, axis=1), np.split(h @ u.T + c, 3, axis=1)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = np.tanh(xn + r * hn)
    return ((1 - z) * n + z * h,)


def lively(stack: Stack) -> Stack:
    """Return the stack in float64 with weights large enough to saturate some gates."""
    torch.manual_seed(1)
    for parameter in stack.parameters():
        nn.init.normal_(parameter, std=0.7)
    return stack.double().eval()


def stack_of(name: str, layers: int) -> Stack:
    sizes = [6, *[9] * (layers - 1)]
    return lively(Stack([make_cell(name, size, 9) for size in sizes]))


@pytest.mark.parametrize(("layers", "batch", "time"), SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_cell_computes_its_written_equations(name: str, layers: int, batch: int, time: int) -> None:
    stack = stack_of(name, layers)
    inputs = torch.randn(time, batch, 6, dtype=torch.float64)
    written = [[np.zeros((batch, 9)) for _ in cell.state_names] for cell in stack.layers]
    state = stack.init(batch)
    for x in inputs:
        y, state = stack.step(x, state)
        value: Array = x.numpy()
        for i, cell in enumerate(stack.layers):
            written[i] = list(written_step(name, cell, value, tuple(written[i])))
            value = written[i][0]
        np.testing.assert_allclose(y.detach().numpy(), value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("layers", "batch", "time"), SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_scan_equals_steps_and_carries_the_state(name: str, layers: int, batch: int, time: int) -> None:
    stack = stack_of(name, layers)
    inputs = torch.randn(time, batch, 6, dtype=torch.float64)
    state = tuple(torch.randn_like(each) for each in stack.init(batch))
    scanned, after_scan = stack.scan(inputs, state)
    outputs = []
    for x in inputs:
        y, state = stack.step(x, state)
        outputs.append(y)
    torch.testing.assert_close(scanned, torch.stack(outputs), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after_scan, state, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_the_way_to_torch_and_back(name: str, layers: int) -> None:
    stack = stack_of(name, layers)
    rnn = to_torch(stack).double().eval()
    inputs = torch.randn(11, 2, 6, dtype=torch.float64)
    expected, _ = rnn(inputs)
    torch.testing.assert_close(stack.scan(inputs, stack.init(2))[0], expected, rtol=0, atol=0)
    back = from_torch(rnn).double().eval()
    assert [key for key, _ in stack.named_parameters()] == [key for key, _ in back.named_parameters()]
    for before, after in zip(stack.parameters(), back.parameters(), strict=True):
        assert torch.equal(before, after)


def test_a_torch_module_without_biases_becomes_a_stack_with_zero_biases() -> None:
    rnn = nn.GRU(4, 5, bias=False)
    inputs = torch.randn(7, 2, 4)
    torch.testing.assert_close(from_torch(rnn).scan(inputs, (torch.zeros(2, 5),))[0], rnn(inputs)[0])


@pytest.mark.parametrize("module", [nn.LSTM(3, 4, bidirectional=True), nn.LSTM(3, 4, proj_size=2)])
def test_a_torch_module_that_no_stack_equals_is_refused(module: nn.RNNBase) -> None:
    with pytest.raises(ValueError, match="one direction and no projection"):
        from_torch(module)


def test_layers_of_different_kinds_do_not_become_one_torch_module() -> None:
    with pytest.raises(ValueError, match="one kind"):
        to_torch(Stack([make_cell("lstm", 4, 4), make_cell("gru", 4, 4)]))


def test_dropout_acts_between_layers_in_training_only() -> None:
    stack = Stack([make_cell("gru", 4, 8), make_cell("gru", 8, 8)], dropout=0.5)
    inputs = torch.randn(5, 2, 4)
    torch.manual_seed(0)
    first, second = (stack.train().scan(inputs, stack.init(2))[0] for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (stack.eval().scan(inputs, stack.init(2))[0] for _ in range(2))
    assert torch.equal(first, second)


class Leak(Cell):
    """A cell that torch does not have: `h' = (h + x) / 2`."""

    state_names = ("h",)

    def init(self, batch: int) -> State:
        return (torch.zeros(batch, 9, dtype=torch.float64),)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = (state[0] + x) / 2
        return h, (h,)

    def scan(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        raise NotImplementedError


def kernel_calls(stack: Stack, x: Tensor) -> int:
    """Return how many of torch's kernels one step runs."""
    calls: list[nn.Module] = []
    hooks = [each.register_forward_hook(lambda module, *_: calls.append(module)) for each in stack.modules()]
    stack.step(x, stack.init(len(x)))
    for hook in hooks:
        hook.remove()
    return sum(isinstance(each, nn.RNNBase) for each in calls)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_fused_step_runs_on_the_kernels_and_equals_the_plain_one(name: str, layers: int) -> None:
    stack = stack_of(name, layers)
    x = torch.randn(3, 6, dtype=torch.float64)
    state = tuple(torch.randn_like(each) for each in stack.init(3))
    expected, after = stack.step(x, state)
    assert kernel_calls(stack, x) == 0
    lower(nn.Sequential(nn.Identity(), stack), "fused")
    assert kernel_calls(stack, x) == layers
    torch.testing.assert_close(stack.step(x, state), (expected, after), rtol=1e-12, atol=1e-12)
    lower(stack, "cell")
    assert kernel_calls(stack, x) == 0


def test_a_layer_that_torch_does_not_have_takes_its_own_step_in_both_lowerings() -> None:
    stack = lively(Stack([make_cell("gru", 6, 9), Leak(), make_cell("lstm", 9, 9)]))
    x = torch.randn(2, 6, dtype=torch.float64)
    expected, after = stack.step(x, stack.init(2))
    lower(stack, "fused")
    assert kernel_calls(stack, x) == 2
    torch.testing.assert_close(stack.step(x, stack.init(2)), (expected, after), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("module", [nn.LSTM(3, 4), Stack([Leak()])])
def test_a_module_without_layers_to_fuse_is_refused(module: nn.Module) -> None:
    with pytest.raises(InputError, match="needs LSTM, GRU or Elman layers, and the model has none"):
        lower(module, "fused")
    lower(module, "cell")
