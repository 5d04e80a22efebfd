"""torch.compile: the step in Inductor's C++, its weights frozen and packed, its kernels tuned, its guards skipped."""

import shutil
from typing import ClassVar, Final

import torch
import torch._dynamo
import torch._inductor.config

from edgernn.bench.case import Case, Logits, Material, Precision, Tokens
from edgernn.bench.peer import Peer, Step
from edgernn.models import RecurrentLMStep

_COMPILERS: Final = ("g++", "clang++", "c++")


class TorchCompilePeer(Peer):
    """The model's step compiled whole, for one batch."""

    name: ClassVar[str] = "torch-compile"

    def missing(self, case: Case, precision: Precision) -> str | None:
        if not any(map(shutil.which, _COMPILERS)):
            return f"no C++ compiler ({', '.join(_COMPILERS)}) on the path"
        return super().missing(case, precision)

    def open(self, material: Material, precision: Precision) -> Step:  # noqa: ARG002, it has one
        batch = material.case.batch
        torch.compiler.set_stance("default")
        torch._dynamo.reset()
        step_model = RecurrentLMStep(material.model)
        state = [*material.model.init(batch)]
        settings = torch._inductor.config.patch(freezing=True, cpp_wrapper=True, max_autotune=True, compile_threads=1)
        with torch._dynamo.config.patch(allow_rnn=True), settings, torch.no_grad():
            compiled = torch.compile(step_model, fullgraph=True, dynamic=False)
            for _ in range(2):
                compiled(torch.zeros(batch, dtype=torch.int64), *state)
        torch.compiler.set_stance("default", skip_guard_eval_unsafe=True)

        @torch.no_grad()
        def step(tokens: Tokens) -> Logits:
            logits, *state[:] = compiled(torch.from_numpy(tokens), *state)
            return logits.numpy()  # type: ignore[no-any-return]

        return step
