"""Say a text on a device: `python -m edgernn_runtime.voice VOICE TEXT > speech.pcm`, or `-o speech.wav`.

Without `-o`, raw 16-bit samples go to stdout as they are made, for a player such as
`aplay -t raw -f S16_LE -r 16000 -c 1`.
"""

import argparse
import os
import sys
from pathlib import Path

from edgernn_runtime.engines.opening import ENGINES
from edgernn_runtime.errors import EdgeRNNError
from edgernn_runtime.voice.clock import Clock
from edgernn_runtime.voice.voice import load_voice
from edgernn_runtime.voice.wav import pcm, write_wav


def main() -> int:
    """Run, and return the exit status: 0 done, 1 an expected error."""
    parser = argparse.ArgumentParser(prog="python -m edgernn_runtime.voice", description=__doc__.splitlines()[0])
    parser.add_argument("voice", type=Path, help="the folder of a voice")
    parser.add_argument("text", help="what is said")
    parser.add_argument("-o", "--output", type=Path, help="a .wav file; without it, raw samples go to stdout")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise")
    parser.add_argument("--engine", choices=ENGINES, help="what computes the steps; native code comes from the cache")
    parser.add_argument("--force", action="store_true", help="replace an existing output file")
    options = parser.parse_args()
    try:
        voice = load_voice(options.voice, engine=options.engine)
        clock = Clock(voice.rate_hz)
        sound = clock.pass_on(voice.speak(options.text, seed=options.seed))
        if options.output is not None:
            write_wav(options.output, sound, rate_hz=voice.rate_hz, overwrite=options.force)
        else:
            for piece in sound:
                sys.stdout.buffer.write(pcm(piece))
                sys.stdout.buffer.flush()
    except EdgeRNNError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except BrokenPipeError:  # the player has quit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    timing = clock.timing
    sys.stderr.write(
        f"{timing.seconds:.2f} s at {voice.rate_hz} Hz, the first after {timing.first_sound_ms:.1f} ms, "
        f"{timing.rtf:.2f} of real time\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
