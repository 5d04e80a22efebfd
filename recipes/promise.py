"""The promise of `--max-loss`, put to the test: 20 models of other seeds, judged on text that the search never saw.

Each model is trained for some seconds, its precisions are searched on the first half of the validation text, and what
was written is measured on the second half. Prints a row for each seed, and how many kept the promise.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Final

from road import edgernn, print_table

from edgernn_export import Recording
from edgernn_export.quality import Judge
from edgernn_runtime.engines.ort import OrtEngine

BUDGET: Final = 0.005
CELLS: Final = ("lstm", "gru", "elman")


def main() -> None:
    """Run every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=25)
    parser.add_argument("--hidden", type=int, default=128)
    options = parser.parse_args()
    rows, kept = [], 0
    for seed in range(options.seeds):
        cell = CELLS[seed % len(CELLS)]
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            size = ("--cell", cell, "--hidden", options.hidden, "--seed", seed, "--threads", 1)
            edgernn("train", "text", *size, "--max-seconds", options.seconds, "-o", run)
            edgernn("export", run)
            whole = Recording.load(run / "valid.npz")
            seen, unseen = whole.split(len(whole) // 2)
            seen.save(Path(folder) / "seen.npz")
            form = ("--precision", "mixed", "--max-loss", BUDGET, "--data", Path(folder) / "seen.npz")
            found = edgernn("quantize", run / "model.onnx", *form)
            quality = Judge(OrtEngine(run / "model.onnx"), unseen).quality(OrtEngine(Path(found["path"])))
        good = quality.relative <= BUDGET
        kept += good
        chosen = next(point for point in found["frontier"] if point["chosen"])
        formats = " ".join(chosen["formats"].values())
        share = found["bytes_after"] / found["bytes_before"]
        losses = (f"{found['quality']['relative']:+.3%}", f"{quality.relative:+.3%}")
        rows.append([str(seed), cell, formats, f"{share:.3f}", *losses, "yes" if good else "no"])
    print_table(["seed", "cell", "formats", "bytes", "loss where searched", "loss on unseen text", "kept"], rows)
    print(f"{kept} of {options.seeds} within {BUDGET:.1%}")


if __name__ == "__main__":
    main()
