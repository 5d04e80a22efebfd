"""A check for a device: stream text from a model, or step it and say how long a step takes.

python -m edgernn_runtime model.onnx --prompt "Once"
python -m edgernn_runtime model.onnx
python -m edgernn_runtime model.so
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from edgernn_runtime import __version__
from edgernn_runtime.engines.opening import ENGINES
from edgernn_runtime.errors import EdgeRNNError
from edgernn_runtime.model import Model, load
from edgernn_runtime.profiling import Latency, interleave, peak_rss_bytes, stepper
from edgernn_runtime.providers import short_name
from edgernn_runtime.sampling import Sampler
from edgernn_runtime.text_output import generate_to

_CHECK_STEPS = 1000


def main(arguments: list[str]) -> int:
    """Run the check and return the exit code: 0, 1 after an error, 130 if interrupted."""
    options = _parser().parse_args(arguments)
    try:
        model = load(
            options.model, engine=options.engine, providers=options.provider or ["cpu"], threads=options.threads
        )
        if options.prompt is None:
            _check(model, options.model)
        else:
            _stream_text(model, options)
    except EdgeRNNError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edgernn_runtime", description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a .onnx file that edgernn exported, or a compiled library")
    parser.add_argument("--prompt", help="stream text that follows this; without it, the step is timed")
    parser.add_argument("--max-tokens", type=int, default=200, help="tokens to generate (default 200)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default 0.8)")
    parser.add_argument("--top-k", type=int, default=0, help="keep the k most probable tokens; 0 keeps all")
    parser.add_argument("--top-p", type=float, default=1.0, help="keep this much probability; 1 keeps all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampling noise (default 0)")
    parser.add_argument("--engine", choices=ENGINES, help="what computes the step (default: what the file holds)")
    parser.add_argument("--provider", action="append", help="execution provider, may be repeated (default cpu)")
    parser.add_argument("--threads", type=int, default=1, help="threads inside one operator (default 1)")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _stream_text(model: Model, options: argparse.Namespace) -> None:
    sampler = Sampler(options.temperature, options.top_k, options.top_p)
    stream = model.stream(seed=options.seed, sampler=sampler)

    def write(_: int, text: str) -> None:
        sys.stdout.buffer.write(text.encode("utf-8"))
        sys.stdout.buffer.flush()

    summary = generate_to(stream, write, prompt=options.prompt, max_tokens=options.max_tokens)
    write(0, "\n")
    if summary.tokens_per_s is not None:
        print(f"{summary.tokens} tokens, {summary.tokens_per_s:,.0f} tokens/s", file=sys.stderr)


def _check(model: Model, path: Path) -> None:
    spec = model.spec
    (taken,) = interleave([stepper(model)], _CHECK_STEPS)
    latency = Latency.of(taken)
    states = sum(int(np.prod(state.sized(1))) for state in spec.states)
    print(f"{path}: {spec.precision}, state of {states} numbers")
    print(f"provider {short_name(model.providers[0])}, {_CHECK_STEPS} steps")
    print(f"step p50 {latency.p50:.1f} us, p99 {latency.p99:.1f} us, peak memory {peak_rss_bytes() / 1e6:.0f} MB")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
