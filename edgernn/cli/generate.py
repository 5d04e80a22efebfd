"""`edgernn generate`: stream text from a step model."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edgernn.cli.console import print_json, print_message
from edgernn.cli.options import Force, Json, ModelPath, Providers, Threads, given
from edgernn_runtime.errors import InputError

_SAMPLING: Final = ("temperature", "top_k", "top_p", "seed")

if TYPE_CHECKING:
    from edgernn_runtime.text_output import Summary


def generate(
    context: typer.Context,
    model: ModelPath,
    prompt: Annotated[str, typer.Option(help="Text that the generated text follows.")] = "",
    max_tokens: Annotated[int, typer.Option(min=0, help="Tokens to generate.")] = 300,
    temperature: Annotated[float, typer.Option(help="Divides the logits; 0 is greedy.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Keep the k most probable tokens; 0 keeps all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Keep the most probable tokens up to this mass; 1 keeps all.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the sampling noise.")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="End before this token's text, may be repeated.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="Continue from this saved state, with its seed and sampler.")
    ] = None,
    save_state: Annotated[Path | None, typer.Option(help="Save the state after the last token here.")] = None,
    provider: Providers = None,
    threads: Threads = 1,
    force: Force = False,
    json: Json = False,
) -> None:
    """Stream text as it is made.

    The prompt is not printed again. With --json, one object a token and a summary at the end.
    """
    fixed = [name for name in given(context) if name in _SAMPLING]
    if state is not None and fixed:
        raise InputError(f"a saved state brings its own seed and sampler; leave out --{fixed[0].replace('_', '-')}")
    from edgernn_runtime import Sampler, State, load
    from edgernn_runtime.files import check_target
    from edgernn_runtime.text_output import generate_to

    if save_state is not None:
        check_target(save_state, overwrite=force)
    loaded = load(model, providers=provider or ["cpu"], threads=threads)
    saved = None if state is None else State.load(state)
    stream = loaded.stream(seed=seed, sampler=Sampler(temperature, top_k, top_p), state=saved)
    stops = [stream.token_of(text) for text in stop or []]
    write = _write_json if json else _write_text
    summary = generate_to(stream, write, prompt=prompt, max_tokens=max_tokens, stop=stops)
    if json:
        print_json(asdict(summary))
    else:
        _write_text(0, "\n")
    if save_state is not None:
        stream.snapshot().save(save_state, overwrite=force)
    if not json:
        print_message(_describe(summary))


def _write_text(_: int, text: str) -> None:
    sys.stdout.buffer.write(text.encode("utf-8"))
    sys.stdout.buffer.flush()


def _write_json(token: int, text: str) -> None:
    print_json({"token": token, "text": text})


def _describe(summary: "Summary") -> str:
    if summary.first_token_ms is None or summary.tokens_per_s is None:
        return f"{summary.tokens} tokens"
    return f"{summary.tokens} tokens, first after {summary.first_token_ms:.1f} ms, {summary.tokens_per_s:,.0f} tokens/s"
