"""Objective: the loss of a training step as a module, so that several processes can share its gradients."""

from torch import Tensor, nn

from edgernn.tasks.task import AnyTask, Data


class Objective(nn.Module):
    """The loss of a task's model; its weights are the model's."""

    def __init__(self, task: AnyTask, model: nn.Module, data: Data) -> None:
        """Join a model, what it is trained for, and what it is trained on."""
        super().__init__()
        self.model = model
        self._task, self._data = task, data

    def forward(self, *, step: int, state: tuple[Tensor, ...], spent: float) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the loss of a step and what is carried to the next; arguments as in `Task.loss`."""
        return self._task.loss(self.model, self._data, step=step, state=state, spent=spent)
