"""Each construct lifts, with or without a delay, or is refused, as the table in the docs says."""

import re
import sys
from pathlib import Path

import pytest
import torch

from edgernn_export import LiftOptions, export, lift
from edgernn_runtime import load
from edgernn_runtime.errors import LiftError

sys.path.insert(0, str(Path(__file__).parent))
from constructs import CONSTRUCTS, Construct, table

REPOSITORY = Path(__file__).parents[3]
LIFTED = [each for each in CONSTRUCTS if each.refused is None]
REFUSED = [each for each in CONSTRUCTS if each.refused is not None]


def _name(construct: Construct) -> str:
    return re.sub(r"\W+", "-", construct.title)


def _options(construct: Construct) -> LiftOptions:
    single = construct.batch == 1 and "B" in construct.example
    return LiftOptions(
        frames_per_step=construct.frames, allow_delay=construct.delay > 0, batch=1 if single else "dynamic"
    )


@pytest.mark.parametrize("construct", LIFTED, ids=_name)
def test_a_lifted_construct_computes_in_onnxruntime_what_the_original_computes(
    construct: Construct, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    step = lift(construct.make(), construct.example, _options(construct))
    report = export(step, tmp_path / "model.onnx", tolerance=1e-5)

    spec = load(report.path).spec
    assert construct.delay == spec.delay_steps
    assert construct.batch == spec.batch
    assert construct.frames == spec.frames_per_step
    if construct.states is not None:
        assert construct.states == tuple(state.input for state in spec.states)


@pytest.mark.parametrize("construct", REFUSED, ids=_name)
def test_a_construct_without_a_step_form_is_refused_with_the_reason(construct: Construct) -> None:
    torch.manual_seed(0)
    with pytest.raises(LiftError, match=re.escape(construct.refused or "")):
        lift(construct.make(), construct.example, _options(construct))


def test_the_table_in_the_docs_is_what_the_tests_show() -> None:
    assert table() in (REPOSITORY / "docs" / "lifting.md").read_text(encoding="utf-8")
