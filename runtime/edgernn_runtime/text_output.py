"""Writing generated text as it is made."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from edgernn_runtime.errors import InputError
from edgernn_runtime.stream import Stream


@dataclass(frozen=True, slots=True)
class Summary:
    """What a generation took.

    Attributes:
        tokens: Tokens generated.
        seed: The seed of the noise.
        first_token_ms: From the prompt handed over to the first token out; None without tokens.
        tokens_per_s: Generated tokens over the time from the first to the last; None below two.
    """

    tokens: int
    seed: int
    first_token_ms: float | None
    tokens_per_s: float | None


def generate_to(
    stream: Stream,
    write: Callable[[int, str], None],
    *,
    prompt: str,
    max_tokens: int,
    stop: Collection[int] | None = None,
) -> Summary:
    """Prefill a prompt, and hand each generated token with the text that it completes to `write`.

    The text is empty while a character is unfinished, so what is written never breaks one.

    Args:
        stream: The stream to continue.
        write: Called with the token and its text.
        prompt: Text to feed first; empty to go on from where the stream is.
        max_tokens: How many tokens to generate at most.
        stop: Tokens that end the generation; None for the one that the model's codec says ends it, if it has one.

    Raises:
        InputError: If the prompt has characters that the model does not know, or nothing can be
            generated.
    """
    if max_tokens < 0:
        raise InputError(f"max_tokens must not be negative, got {max_tokens}")
    started = time.perf_counter()
    stream.prefill(prompt)
    count, first, last = 0, started, started
    for token in stream.generate(max_tokens, stop=stop):
        write(token, stream.decode(token))
        last = time.perf_counter()
        first = last if count == 0 else first
        count += 1
    return Summary(
        tokens=count,
        seed=stream.seed,
        first_token_ms=1e3 * (first - started) if count else None,
        tokens_per_s=(count - 1) / (last - first) if count > 1 else None,
    )
