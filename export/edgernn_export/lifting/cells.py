"""Torch's recurrent cells in plain operators, in the form that makes the fewest nodes."""

import operator
from collections.abc import Callable
from typing import Final, cast

from torch import fx

from edgernn_export.lifting.step_graph import aten

Call = Callable[..., fx.Node]


def lower_cells(graph: fx.Graph) -> None:
    """Replace the recurrent cells in a graph by the operators that compute them."""
    for node in list(graph.nodes):
        lowering = _LOWERINGS.get(node.target)
        if lowering is None:
            continue
        with graph.inserting_before(node):
            results = lowering(graph.call_function, *cast("tuple[fx.Node, ...]", node.args))
        if isinstance(results, fx.Node):
            node.replace_all_uses_with(results)
        else:
            for user in list(node.users):
                user.replace_all_uses_with(results[cast("int", user.args[1])])
                graph.erase_node(user)
        graph.erase_node(node)


def _lstm(
    call: Call, x: fx.Node, state: list[fx.Node], w_ih: fx.Node, w_hh: fx.Node, *biases: fx.Node
) -> tuple[fx.Node, fx.Node]:
    """Hochreiter and Schmidhuber (1997) with forget gates; gates in the order i, f, g, o."""
    h, c = state
    gates = _sum(call, _linear(call, x, w_ih, *biases[:1]), _linear(call, h, w_hh, *biases[1:]))
    i, f, g, o = _parts(call, call(aten.chunk.default, (gates, 4, 1)), 4)
    kept = call(aten.mul.Tensor, (call(aten.sigmoid.default, (f,)), c))
    added = call(aten.mul.Tensor, (call(aten.sigmoid.default, (i,)), call(aten.tanh.default, (g,))))
    c = _sum(call, kept, added)
    return call(aten.mul.Tensor, (call(aten.sigmoid.default, (o,)), call(aten.tanh.default, (c,)))), c


def _gru(call: Call, x: fx.Node, h: fx.Node, w_ih: fx.Node, w_hh: fx.Node, *biases: fx.Node) -> fx.Node:
    """Cho et al. (2014), reset after the product; gates in the order r, z, n."""
    size = w_hh.meta["shape"][0] // 3
    sizes = [2 * size, size]
    x_gates, x_n = _parts(call, call(aten.split_with_sizes.default, (_linear(call, x, w_ih, *biases[:1]), sizes, 1)), 2)
    h_gates, h_n = _parts(call, call(aten.split_with_sizes.default, (_linear(call, h, w_hh, *biases[1:]), sizes, 1)), 2)
    gates = call(aten.sigmoid.default, (_sum(call, x_gates, h_gates),))
    r, z = _parts(call, call(aten.chunk.default, (gates, 2, 1)), 2)
    n = call(aten.tanh.default, (_sum(call, x_n, call(aten.mul.Tensor, (r, h_n))),))
    return _sum(call, n, call(aten.mul.Tensor, (z, call(aten.sub.Tensor, (h, n)))))


def _rnn_tanh(call: Call, *args: fx.Node) -> fx.Node:
    """Elman (1990)."""
    return call(aten.tanh.default, (_rnn(call, *args),))


def _rnn_relu(call: Call, *args: fx.Node) -> fx.Node:
    """Elman (1990), rectified."""
    return call(aten.relu.default, (_rnn(call, *args),))


def _rnn(call: Call, x: fx.Node, h: fx.Node, w_ih: fx.Node, w_hh: fx.Node, *biases: fx.Node) -> fx.Node:
    return _sum(call, _linear(call, x, w_ih, *biases[:1]), _linear(call, h, w_hh, *biases[1:]))


def _linear(call: Call, x: fx.Node, *weights: fx.Node) -> fx.Node:
    return call(aten.linear.default, (x, *weights))


def _sum(call: Call, left: fx.Node, right: fx.Node) -> fx.Node:
    return call(aten.add.Tensor, (left, right))


def _parts(call: Call, whole: fx.Node, count: int) -> list[fx.Node]:
    return [call(operator.getitem, (whole, i)) for i in range(count)]


_LOWERINGS: Final[dict[object, Callable[..., fx.Node | tuple[fx.Node, fx.Node]]]] = {
    aten.lstm_cell.default: _lstm,
    aten.gru_cell.default: _gru,
    aten.rnn_tanh_cell.default: _rnn_tanh,
    aten.rnn_relu_cell.default: _rnn_relu,
}
