"""Words to symbols from the command line: trained, exported, verified, quantized, written; and what is refused."""

import json
from pathlib import Path
from typing import Any, Protocol

import pytest
from small_runs import call, one_line

WORDS = [f"{a}{b}{c}" for a in "abcdefg" for b in "hijklmn" for c in "opqrstu"]
TINY = ("--hidden", 12, "--embedding", 8, "--features", 6, "--places", 8, "--batch", 16, "--threads", 1)
FEW = ("--max-steps", 20, "--valid-every", 10)


class Edgernn(Protocol):
    def __call__(self, *arguments: object) -> Any: ...


@pytest.fixture(scope="module")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on words whose symbols are their letters, exported."""
    folder = tmp_path_factory.mktemp("seq2seq")
    pairs = "".join(f"{word}\t{' '.join(word.upper())}\n" for word in WORDS)
    (folder / "pairs.tsv").write_text(pairs, encoding="utf-8")
    call("train", "seq2seq", "--data", folder / "pairs.tsv", *TINY, *FEW, "-o", folder / "run")
    call("export", folder / "run")
    return folder / "run"


def test_a_run_goes_the_whole_road(spelled: Path, tmp_path: Path, edgernn: Edgernn) -> None:
    bundle = spelled / "bundle"
    exact = edgernn("verify", bundle, "--against", spelled, "--steps", 120, "--json").json
    assert exact["passed"]
    assert exact["teacher_forced"]["kl_nats"] < 1e-9
    encoder = edgernn("verify", bundle / "encode.onnx", "--against", spelled, "--steps", 50, "--json").json
    assert encoder["passed"]
    for precision in ("int8", "int4"):
        target = tmp_path / precision
        done = edgernn("quantize", bundle, "--precision", precision, "-o", target, "--json").json
        assert done["quality"]["metric"] == "perplexity"
        assert done["bytes_after"] < done["bytes_before"]
        assert edgernn("generate", target, "--prompt", "aho").code == 0
    drifted = edgernn("verify", tmp_path / "int4", "--against", spelled, "--steps", 120, "--json").json
    assert drifted["teacher_forced"]["kl_nats"] > exact["teacher_forced"]["kl_nats"]


def test_what_an_encoder_makes_of_held_out_words_is_what_a_bundle_is_measured_on(
    spelled: Path, edgernn: Edgernn
) -> None:
    loss = edgernn("quantize", spelled / "bundle", "-o", spelled.parent / "measured", "--json").json["quality"]
    metrics = [json.loads(line) for line in (spelled / "metrics.jsonl").read_text().splitlines()]
    best = min(each["valid_loss"] for each in metrics)
    assert loss["before"] == pytest.approx(2.718281828**best, rel=1e-3)


def test_each_word_of_a_prompt_becomes_a_line(spelled: Path, edgernn: Edgernn) -> None:
    together = edgernn("generate", spelled / "bundle", "--prompt", "aho Bip  gnu", "--beam", 3)
    alone = [
        edgernn("generate", spelled / "bundle", "--prompt", word, "--beam", 3).out for word in ("aho", "bip", "gnu")
    ]
    assert together.code == 0
    assert "".join(alone) == together.out
    assert together.out.count("\n") == 3
    assert "3 words, " in together.err


def test_words_as_json_have_all_that_was_found(spelled: Path, edgernn: Edgernn) -> None:
    done = edgernn("generate", spelled / "bundle", "--prompt", "aho bip", "--beam", 2, "--max-tokens", 5, "--json")
    first, second, summary = map(json.loads, done.out.splitlines())
    assert ["aho", "bip"] == [first["word"], second["word"]]
    assert " ".join(first["symbols"]) == first["text"]
    assert 1 == len(first["alternatives"])
    assert first["alternatives"][0]["log_probability"] <= first["log_probability"] or not first["finished"]
    assert 2 == summary["words"]


def test_what_is_cut_off_is_a_warning(spelled: Path, edgernn: Edgernn) -> None:
    done = edgernn("generate", spelled / "bundle", "--prompt", "aho", "--max-tokens", 1)
    assert done.code == 0
    assert "aho was cut off after 1 symbols (--max-tokens)" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "error: give the words to read, as in --prompt"),
        (("--prompt", "  "), "error: give the words to read, as in --prompt"),
        (("--prompt", "aho 42"), "error: the model was trained without '4', '2'"),
        (("--prompt", "ahoahoaho"), "error: 'ahoahoaho' has 9 symbols; the model reads 8 at most"),
        (("--prompt", "aho", "--max-tokens", 0), "error: max_tokens must be positive, got 0"),
        (("--prompt", "aho", "--temperature", 1), "error: --temperature means nothing to a model that makes symbols"),
        (("--prompt", "aho", "--state", "x.npz"), "error: --state means nothing to a model that makes symbols"),
    ],
)
def test_what_cannot_be_written_is_one_line(
    spelled: Path, edgernn: Edgernn, arguments: tuple[object, ...], message: str
) -> None:
    done = edgernn("generate", spelled / "bundle", *arguments)
    assert done.code == 1
    assert one_line(done.err).startswith(message)
    assert done.out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("aho A H O\n", "error: line 1 of "),
        ("aho\tA\n", "error: 1 words of letters are too few"),
        ("", "error: 0 words of letters are too few"),
    ],
)
def test_pairs_that_are_none_are_one_line_and_leave_no_run(
    tmp_path: Path, edgernn: Edgernn, content: str, message: str
) -> None:
    (tmp_path / "pairs.tsv").write_text(content)
    done = edgernn("train", "seq2seq", "--data", tmp_path / "pairs.tsv", *TINY, *FEW, "-o", tmp_path / "run")
    assert done.code == 1
    assert one_line(done.err).startswith(message)
    assert not (tmp_path / "run").exists()


def test_text_is_searched_too(alone: Path, edgernn: Edgernn) -> None:
    found = edgernn("generate", alone, "--prompt", "pack", "--beam", 4, "--max-tokens", 12, "--json")
    *records, summary = [json.loads(line) for line in found.out.splitlines()]
    assert (4, {"found": 4, "width": 4, "tokens": 12}) == (len(records), summary)
    assert [12] * 4 == [len(each["text"]) for each in records]
    assert sorted((each["score"] for each in records), reverse=True) == [each["score"] for each in records]
    plain = edgernn("generate", alone, "--prompt", "pack", "--beam", 4, "--max-tokens", 12)
    assert records[0]["text"] + "\n" == plain.out
    greedy = edgernn("generate", alone, "--prompt", "pack", "--temperature", 0, "--max-tokens", 12)
    assert greedy.out == edgernn("generate", alone, "--prompt", "pack", "--beam", 1, "--max-tokens", 12).out


def test_a_search_goes_on_from_a_saved_state_and_saves_one(alone: Path, edgernn: Edgernn, tmp_path: Path) -> None:
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    begun = edgernn("generate", alone, "--prompt", "pack", "--beam", 2, "--max-tokens", 6, "--save-state", first)
    went_on = edgernn("generate", alone, "--state", first, "--beam", 1, "--max-tokens", 6, "--save-state", second)
    prompt = "pack" + begun.out.removesuffix("\n")
    assert went_on.out == edgernn("generate", alone, "--prompt", prompt, "--beam", 1, "--max-tokens", 6).out
    assert second.is_file()
    refused = edgernn("generate", alone, "--beam", 2, "--temperature", 1)
    assert one_line(refused.err) == ("error: --beam searches for the most probable text; leave out --temperature")
