"""Speech from the command line: three runs, exported, quantized and verified, become a voice that says a text."""

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import call, files, one_line

Edgernn = Callable[..., Any]

TINY = ("--hidden", 12, "--max-steps", 4, "--valid-every", 2, "--batch", 4, "--threads", 1)
LITTLE = ("--minutes", 0.7)
WORDS = "zoo z 'u:\nnine n 'aI n\nten t 'E n\nfour f 'o@\nsix s 'I k s\nold oU l d\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `acoustic`, `vocoder` and `phonemes`, exported, and the `voice` that they make."""
    folder = tmp_path_factory.mktemp("speech")
    call("train", "acoustic", *TINY, *LITTLE, "--layers", 1, "-o", folder / "acoustic")
    call("train", "vocoder", *TINY, *LITTLE, "--head", 8, "--block", 2, "--window", 3, "-o", folder / "vocoder")
    known = json.loads((folder / "acoustic" / "run.json").read_text(encoding="utf-8"))["facts"]["symbols"]["symbols"]
    pairs = [line.split(" ", 1) for line in WORDS.splitlines()]
    kept = [f"{word}\t{said}\n" for word, said in pairs if set(said.split()) <= set(known)]
    made = [f"{word}\t{known[1 + i % 20]}\n" for i, word in enumerate("abcdefghijklmnopqrstuvwxyz" * 2)]
    (folder / "pairs.tsv").write_text("".join([*kept, *made]), encoding="utf-8")
    call("train", "seq2seq", "--data", folder / "pairs.tsv", *TINY, "-o", folder / "phonemes")
    for name in ("acoustic", "vocoder", "phonemes"):
        call("export", folder / name)
    call("voice", *parts(folder), "-o", folder / "voice")
    return folder


def parts(folder: Path, **others: Path) -> list[object]:
    """Return the options of `edgernn voice` for the bundles of a folder."""
    places = {name: folder / name / "bundle" for name in ("phonemes", "acoustic", "vocoder")} | others
    return [each for name, place in places.items() for each in (f"--{name}", place)]


def test_a_voice_says_a_text_to_a_file(runs: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    target = tmp_path / "a.wav"
    found = edgernn("speak", runs / "voice", "zoo, nine zoos", "-o", target, "--seed", 3, "--json").json
    with wave.open(str(target), "rb") as file:
        assert found["seconds"] == file.getnframes() / 16_000
    assert found["seed"] == 3
    assert 0 < found["first_sound_ms"]
    assert 0 < found["rtf"]
    again = edgernn("speak", runs / "voice", "zoo, nine zoos", "-o", tmp_path / "b.wav", "--seed", 3)
    assert (0, f"{tmp_path / 'b.wav'}\n") == (again.code, again.out)
    assert "of real time" in again.err
    assert target.read_bytes() == (tmp_path / "b.wav").read_bytes()
    plain = edgernn("speak", runs / "voice", "zoo, nine zoos", "-o", tmp_path / "c.wav", "--griffin-lim", "--json").json
    assert plain["seconds"] == found["seconds"]
    assert target.read_bytes() != (tmp_path / "c.wav").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "there is nothing to say in ''"),
        (("naïve",), "the voice cannot pronounce 'naïve': the model was trained without 'ï'"),
        (("5 €",), "'€' (U+20AC) cannot be pronounced"),
        (("zoo", "--language", "de"), "speaks en-us, and not de"),
    ],
)
def test_what_cannot_be_said_leaves_no_file(
    runs: Path, tmp_path: Path, edgernn: Edgernn, arguments: tuple[str, ...], message: str
) -> None:
    found = edgernn("speak", runs / "voice", *arguments, "-o", tmp_path / "a.wav")
    assert (1, "") == (found.code, found.out)
    assert message in one_line(found.err)
    assert files(tmp_path) == set()


def test_sound_goes_to_one_place(runs: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    for arguments in ((), ("-o", tmp_path / "a.wav", "--live")):
        assert "either -o FILE.wav or --live" in one_line(edgernn("speak", runs / "voice", "zoo", *arguments).err)
    assert "must end in .wav" in one_line(edgernn("speak", runs / "voice", "zoo", "-o", tmp_path / "a.mp3").err)
    (tmp_path / "a.wav").write_bytes(b"mine")
    assert "--force" in one_line(edgernn("speak", runs / "voice", "zoo", "-o", tmp_path / "a.wav").err)
    assert (tmp_path / "a.wav").read_bytes() == b"mine"


def test_a_voice_of_parts_that_do_not_fit_is_not_written(runs: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    swapped = parts(runs, vocoder=runs / "acoustic" / "bundle")
    found = edgernn("voice", *swapped, "-o", tmp_path / "voice")
    assert found.code == 1
    assert "the vocoder takes None" in one_line(found.err)
    found = edgernn("voice", *parts(runs, acoustic=runs / "acoustic"), "-o", tmp_path / "voice")
    assert "is a folder without a bundle.json" in one_line(found.err)
    found = edgernn("voice", *parts(runs), "-o", runs / "voice")
    assert "--force" in one_line(found.err)
    assert files(tmp_path) == set()


def test_recordings_at_another_rate_train_nothing(tmp_path: Path, edgernn: Edgernn) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(bytes(88_200))
    for task in ("vocoder", "acoustic"):
        found = edgernn("train", task, "--data", tmp_path, "-o", tmp_path / "run")
        assert found.code == 1
        assert "it must have 16000 Hz" in one_line(found.err)
    assert files(tmp_path) == {"a.wav"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["acoustic", "vocoder"])
def test_a_part_of_a_voice_goes_the_whole_road(runs: Path, tmp_path: Path, edgernn: Edgernn, name: str) -> None:
    model, target = runs / name / "bundle", tmp_path / "bundle"
    quantized = edgernn("quantize", model, "--precision", "int8", "-o", target, "--max-tokens", 500, "--json").json
    assert quantized["quality"]["metric"] == "snr_db"
    assert quantized["bytes_after"] < quantized["bytes_before"]
    loud = ("--max-drift", 0.02)  # a vocoder that has learned nothing makes samples of up to 7
    exact = edgernn("verify", model, "--against", runs / name, "--steps", 500, *loud, "--json").json
    assert exact["passed"]
    assert exact["teacher_forced"]["redrawn"] == (0 if name == "vocoder" else None)
    profiled = edgernn("profile", model, target, "--steps", 20, "--json").json["models"]
    assert [str(model), str(target)] == [each["path"] for each in profiled]
    call("voice", *parts(runs, **{name: target}), "--language", "en-us", "-o", tmp_path / "voice")
    assert edgernn("speak", tmp_path / "voice", "zoo", "-o", tmp_path / "a.wav").code == 0
