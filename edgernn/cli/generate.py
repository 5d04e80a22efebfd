"""`edgernn generate`: a stream written as it is made: text, pictures, forecasts, decisions or plain numbers."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edgernn.cli.console import print_json, print_message
from edgernn.cli.options import Engine, Force, Json, Providers, RunnablePath, Threads, engine_name, given
from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from edgernn_runtime import Model, Sampler
    from edgernn_runtime.text_output import Summary

_SAMPLING: Final = ("temperature", "top_k", "top_p", "repetition_penalty", "seed")
_COMMON: Final = ("model", "engine", "provider", "threads", "json", "force")
_OWN: Final[Mapping[str, Sequence[str]]] = {
    "text": (*_SAMPLING, "prompt", "max_tokens", "stop", "state", "save_state", "beam"),
    "symbols of words": ("prompt", "max_tokens", "beam"),
    "pictures": (*_SAMPLING, "count", "set_", "given_file", "keep", "encode", "output", "scale"),
    "forecasts": ("seed", "count", "given_file", "keep", "horizon", "output"),
    "decisions": ("given_file", "output"),
    "frames": ("temperature", "seed", "max_tokens", "set_", "output"),
}
"""The options that each kind of model has."""


def generate(
    context: typer.Context,
    model: RunnablePath,
    prompt: Annotated[str, typer.Option(help="Text that the generated text follows.")] = "",
    max_tokens: Annotated[int, typer.Option(min=0, help="Tokens or frames to generate.")] = 300,
    count: Annotated[int | None, typer.Option(min=1, help="Pictures to draw, or futures to sample.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Inputs beside the main one, as in class=3 or class=0,1,2; may be repeated."),
    ] = None,
    given_file: Annotated[
        Path | None,
        typer.Option("--given", help="A picture to draw around, a series to go on from, or frames to decide on."),
    ] = None,
    keep: Annotated[float, typer.Option(min=0, max=1, help="Share of what is given that is kept, from its start.")] = 1,
    encode: Annotated[
        list[Path] | None, typer.Option(help="A picture for the model's encoder; several are gone between.")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Steps to forecast (default: what --keep leaves, else 20).")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A .png, .csv or .npy to write.")] = None,
    scale: Annotated[int | None, typer.Option(min=1, help="Pixels of the PNG for each pixel.")] = None,
    temperature: Annotated[float, typer.Option(help="Divides the logits; 0 is greedy.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Keep the k most probable tokens; 0 keeps all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Keep the most probable tokens up to this mass; 1 keeps all.")] = 1.0,
    repetition_penalty: Annotated[
        float, typer.Option(help="Makes the last 64 tokens less probable, above 1; 1 leaves them.")
    ] = 1.0,
    beam: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Search for the most probable text, with so many in view; draws nothing."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling noise.")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="End before this token's text, may be repeated.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="Continue from this saved state, with its seed and sampler.")
    ] = None,
    save_state: Annotated[Path | None, typer.Option(help="Save the state after the last token here.")] = None,
    engine: Engine = None,
    provider: Providers = None,
    threads: Threads = 1,
    force: Force = False,
    json: Json = False,
) -> None:
    """Stream what a model makes, as it is made.

    What its file says decides: text, pictures, forecasts, decisions, symbols of words, or plain numbers. A prompt is
    not printed again. With --json, one object a token, word, picture or step, and a summary at the end.
    """
    from edgernn_runtime import Sampler, load, load_bundle

    fixed = [name for name in given(context) if name in _SAMPLING]
    if state is not None and fixed:
        raise InputError(f"a saved state brings its own seed and sampler; leave out --{fixed[0].replace('_', '-')}")
    loaded = load(model, engine=engine_name(engine), providers=provider or ["cpu"], threads=threads)
    kind = _kind(model, loaded)
    foreign = [name for name in given(context) if name not in (*_COMMON, *_OWN[kind])]
    if foreign:
        option = {"set_": "set", "given_file": "given"}.get(foreign[0], foreign[0]).replace("_", "-")
        raise InputError(f"--{option} means nothing to a model that makes {kind}")
    if beam is not None and fixed:
        raise InputError(f"--beam searches for the most probable text; leave out --{fixed[0].replace('_', '-')}")
    sampler = Sampler(temperature, top_k, top_p, repetition_penalty)
    if kind == "symbols of words":
        from edgernn.cli.transducing import MAX_SYMBOLS, write_transductions

        most = max_tokens if "max_tokens" in given(context) else MAX_SYMBOLS
        bundle = load_bundle(model, engine=engine_name(engine), providers=provider or ["cpu"], threads=threads)
        write_transductions(bundle, prompt, width=beam or 1, max_symbols=most, json=json)
    elif kind == "text" and beam is not None:
        from edgernn.cli.beam import write_best

        write_best(
            loaded, prompt=prompt, width=beam, max_tokens=max_tokens, stop=stop or [], state=state,
            save_state=save_state, force=force, json=json,
        )  # fmt: skip
    elif kind == "text":
        _text(
            loaded, sampler, prompt=prompt, max_tokens=max_tokens, seed=seed, stop=stop or [], state=state,
            save_state=save_state, force=force, json=json,
        )  # fmt: skip
    elif kind == "pictures":
        from edgernn.cli.drawing import Drawing, draw_pictures
        from edgernn.cli.values import read_lists

        drawing = Drawing(
            count, read_lists(set_ or []), given_file, keep, tuple(encode or ()), output, scale=scale, seed=seed
        )
        draw_pictures(model, loaded, drawing, sampler, force=force, json=json)
    elif kind == "forecasts":
        from edgernn.cli.forecasting import write_forecast

        write_forecast(
            model, loaded, given_file, keep=keep, horizon=horizon, samples=count or 100, seed=seed, output=output,
            force=force, json=json,
        )  # fmt: skip
    elif kind == "decisions":
        from edgernn.cli.deciding import write_decisions

        write_decisions(model, loaded, given_file, output=output, force=force, json=json)
    else:
        from edgernn.cli.frames import write_frames
        from edgernn.cli.values import read_lists

        stream = loaded.stream(seed=seed, sampler=sampler)
        write_frames(
            loaded, stream, read_lists(set_ or []), max_frames=max_tokens, output=output, force=force, json=json
        )


def _kind(path: Path, model: "Model") -> str:
    """Return what a model makes, by what its file says."""
    from edgernn.cli.transducing import transduces
    from edgernn_runtime.codecs import ImageCodec, LabelCodec, SeriesCodec

    codec, generative = model.spec.codec, model.spec.feedback is not None
    if isinstance(codec, ImageCodec) and generative:
        return "pictures"
    if isinstance(codec, SeriesCodec) and generative and model.spec.distribution != "none":
        return "forecasts"
    if isinstance(codec, LabelCodec):
        return "decisions"
    if transduces(path, model):
        return "symbols of words"
    return "text" if model.spec.vocabulary or not generative else "frames"


def _text(
    model: "Model",
    sampler: "Sampler",
    *,
    prompt: str,
    max_tokens: int,
    seed: int,
    stop: Sequence[str],
    state: Path | None,
    save_state: Path | None,
    force: bool,
    json: bool,
) -> None:
    """Stream text, or the tokens of a model without text."""
    from edgernn_runtime import State
    from edgernn_runtime.files import check_target
    from edgernn_runtime.text_output import generate_to

    if save_state is not None:
        check_target(save_state, overwrite=force)
    saved = None if state is None else State.load(state)
    stream = model.stream(seed=seed, sampler=sampler, state=saved)
    stops = [stream.token_of(text) for text in stop] or None
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
