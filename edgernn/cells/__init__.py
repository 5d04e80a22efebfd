"""Recurrent cells: one cell per file, one contract, `init`, `step` and `scan`."""

from edgernn.cells.cell import Cell as Cell
from edgernn.cells.cell import State as State
from edgernn.cells.cell import TorchCell as TorchCell
from edgernn.cells.elman import Elman as Elman
from edgernn.cells.gru import GRU as GRU
from edgernn.cells.lowering import lower as lower
from edgernn.cells.lstm import LSTM as LSTM
from edgernn.cells.stack import Lowering as Lowering
from edgernn.cells.stack import Stack as Stack
from edgernn.cells.stack import from_torch as from_torch
from edgernn.cells.stack import make_cell as make_cell
from edgernn.cells.stack import make_stack as make_stack
from edgernn.cells.stack import to_torch as to_torch
