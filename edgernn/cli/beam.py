"""The most probable text for `edgernn generate --beam`, found by beam search."""

from collections.abc import Sequence
from pathlib import Path

from edgernn.cli.console import print_json, print_message, print_text
from edgernn_runtime import Hypothesis, Model, State, Stream, beam_search
from edgernn_runtime.files import check_target


def write_best(
    model: Model,
    *,
    prompt: str,
    width: int,
    max_tokens: int,
    stop: Sequence[str],
    state: Path | None,
    save_state: Path | None,
    force: bool,
    json: bool,
) -> None:
    """Print the most probable text that follows a prompt or a saved state; with `json`, objects and a summary.

    Raises:
        InputError: If the model cannot do what is asked for.
        StateError: If the state does not fit the model.
        OutputError: If the state cannot be written.
    """
    if save_state is not None:
        check_target(save_state, overwrite=force)
    stream = model.stream(state=None if state is None else State.load(state))
    stops = [stream.token_of(text) for text in stop] or None
    stream.prefill(prompt)
    found = beam_search(model, stream.snapshot(), width=width, max_tokens=max_tokens, stop=stops)
    if json:
        for each in found:
            print_json(_record(stream, each))
        print_json({"found": len(found), "width": width, "tokens": len(found[0].tokens)})
    else:
        print_text("".join(map(stream.fork().decode, found[0].tokens)))
        print_message(f"{len(found[0].tokens)} tokens, log-probability {found[0].log_probability:.2f} nats")
    if save_state is not None:
        begun = stream.step_index > 0 or stream.snapshot().pending is not None
        feedback = model.spec.feedback
        start = [] if begun or feedback is None or feedback.start is None else [feedback.start]
        stream.prefill([*start, *found[0].tokens])
        stream.snapshot().save(save_state, overwrite=force)


def _record(stream: Stream, found: Hypothesis) -> dict[str, object]:
    return {
        "text": "".join(map(stream.fork().decode, found.tokens)),
        "tokens": found.tokens,
        "log_probability": found.log_probability,
        "score": found.score,
        "finished": found.finished,
    }
