"""The seq2seq task: pairs of every kind, whole words and single steps agree, and words go through the bundle."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgernn.models.seq2seq import Seq2Seq, stages
from edgernn.tasks import MODEL, find_task
from edgernn.tasks.seq2seq.data import NO_TARGET, Seq2SeqData
from edgernn.tasks.seq2seq.error_rates import edit_distance, error_rates
from edgernn.tasks.seq2seq.objective import batch_logits, evaluate, nats, write_greedily
from edgernn.tasks.seq2seq.pairs import HELD_OUT, Pairs, cmu_pairs, is_held_out, make_pairs, read_file
from edgernn.tasks.seq2seq.settings import Seq2SeqSettings
from edgernn.tasks.share import Share
from edgernn_export import Recording, StepModule, TorchEngine, export_bundle
from edgernn_export.likelihood import mean_nats
from edgernn_export.linked_recording import linked_recording
from edgernn_runtime import Bundle, Spec, Transducer, load_bundle
from edgernn_runtime.engines.staged import StagedEngine
from edgernn_runtime.errors import DataError, InputError

TASK: Any = find_task("seq2seq")


def settings(**values: Any) -> Seq2SeqSettings:
    common = {"hidden": 12, "embedding": 6, "features": 5, "places": 12, "batch": 16, "max_steps": 10}
    return Seq2SeqSettings(**common | values)


def some_pairs(count: int = 400) -> Pairs:
    """Words of two to nine letters, and a symbol for each, but none for an h."""
    rng = np.random.default_rng(2)
    words = ["".join(rng.choice(list("abch'"), rng.integers(2, 10))) for _ in range(count)]
    return make_pairs((word, tuple(letter.upper() for letter in word if letter != "h") or ("H",)) for word in words)


def model_of(data: Seq2SeqData, told: Seq2SeqSettings) -> Seq2Seq:
    torch.manual_seed(0)
    model: Seq2Seq = TASK.model(told, data.facts)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.8)
    nn.init.constant_(model.head.bias[data.target.end], 1.0)
    return model.eval()


@pytest.fixture(scope="module", params=["gru", "lstm, no attention"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Seq2Seq, Seq2SeqData, Path]:
    """A model with random weights, its data, and its bundle."""
    told = settings() if request.param == "gru" else settings(cell="lstm", places=0, order="forward", layers=2)
    data = Seq2SeqData(some_pairs(), told)
    model = model_of(data, told)
    folder = tmp_path_factory.mktemp("seq2seq") / "bundle"
    export_bundle(stages(model), folder)
    return model, data, folder


@torch.inference_mode()
def test_letters_and_symbols_step_by_step_give_what_whole_words_do(made: tuple[Seq2Seq, Seq2SeqData, Path]) -> None:
    model, data, _ = made
    batch = data.held_out_batches(1000)[0]
    whole = batch_logits(model, batch)
    for row in range(0, batch.source.shape[1], 3):
        state, kept = model.encoder.init(1), []
        for letter in batch.source[: batch.lengths[row], row]:
            y, state = model.encode_step(letter[None], state)
            kept += [model.noted(y)] if model.config.places else []
        memory = torch.stack(kept, dim=1) if kept else torch.zeros(1, 0, 0)
        state = model.initial(y)
        for step, symbol in enumerate(batch.fed[:, row]):
            logits, state = model.decode_step(symbol[None], memory, state)
            if batch.targets[step, row] != NO_TARGET:
                torch.testing.assert_close(logits[0], whole[row, step], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_a_bundle_writes_what_the_model_does(made: tuple[Seq2Seq, Seq2SeqData, Path]) -> None:
    model, data, folder = made
    words = [word for word in data.held_out.spellings if len(word) > 1]
    written = write_greedily(model, data, words)
    transducer = Transducer(load_bundle(folder), max_tokens=3 * (max(map(len, words)) + 1))
    assert written == [list(transducer.transduce(word).symbols) for word in words]
    assert len({len(each) for each in written}) > 2


@torch.inference_mode()
def test_recordings_of_words_are_as_probable_on_a_device_as_in_training(
    made: tuple[Seq2Seq, Seq2SeqData, Path],
) -> None:
    model, data, folder = made
    recordings = dict(data.recordings("valid"))
    bundle = load_bundle(folder)
    modules = stages(model)
    engines = {name: TorchEngine(step) for name, step in modules.steps.items()}
    recording = linked_recording(recordings.pop(MODEL), bundle.spec, engines, recordings)
    engine = StagedEngine(modules.spec, engines)
    recording.check(engine.spec)
    every = [nats(model, batch) * (batch.targets != NO_TARGET).sum() for batch in data.held_out_batches(1)]
    assert len(recording) == sum(len(row) + 1 for _, row in data.held_out.rows)
    assert np.isclose(mean_nats(engine, recording), float(sum(every)) / len(recording), atol=1e-4)


def test_an_encoder_with_fewer_words_than_there_are_rows_of_symbols_is_an_error(
    made: tuple[Seq2Seq, Seq2SeqData, Path],
) -> None:
    model, data, _ = made
    recordings = data.recordings("valid")
    modules = stages(model)
    engines = {name: TorchEngine(step) for name, step in modules.steps.items()}
    few = recordings["encode"].head(10)
    with pytest.raises(InputError, match=r"\d+ sequences of an encoder are needed, and its recording has \d"):
        linked_recording(recordings[MODEL], modules.spec, engines, {"encode": few})


def test_both_parts_record_words_that_are_not_in_the_other() -> None:
    data = Seq2SeqData(some_pairs(3000), settings())
    train, valid = data.recordings("train"), data.recordings("valid")
    assert len(train[MODEL]) <= 4096
    assert len(train["encode"]) > 3000
    words = [_words(data, each["encode"]) for each in (train, valid)]
    assert set(words[0]) <= set(data.train.spellings)
    assert set(words[1]) == set(data.held_out.spellings)
    assert train["encode"].starts.sum() == train[MODEL].starts.sum()


def _words(data: Seq2SeqData, recording: Recording) -> list[str]:
    tokens = recording.inputs["symbol"]
    cut = np.split(tokens, np.flatnonzero(recording.starts)[1:])
    return ["".join(data.source.symbols[i] for i in reversed(word.tolist())) for word in cut]


def test_an_epoch_has_each_pair_once_in_batches_of_about_as_long_words() -> None:
    data = Seq2SeqData(some_pairs(4000), settings(batch=20))
    epoch = len(data.train.rows) // 20
    batches = [data.batch(step) for step in range(epoch)]
    seen = [tuple(row) for batch in batches for row in batch.fed.T.tolist()]
    assert len(seen) == 20 * epoch
    empty = sum(float((batch.targets == NO_TARGET).sum()) for batch in batches)
    assert empty / sum(batch.targets.numel() for batch in batches) < 0.1
    first, again, later = (Seq2SeqData(some_pairs(4000), settings(batch=20)).batch(step) for step in (7, 7, 7 + epoch))
    assert torch.equal(first.fed, again.fed)
    assert first.fed.shape != later.fed.shape or not torch.equal(first.fed, later.fed)
    words = [
        tuple(batch.source[:length, row].tolist())
        for batch in batches
        for row, length in enumerate(batch.lengths.tolist())
    ]
    assert len(set(words)) == len(words)


def test_batches_begin_and_end_each_row_of_symbols() -> None:
    data = Seq2SeqData(some_pairs(), settings())
    batch = data.collated(data.encoded([("ab", ("A", "B")), ("bac'", ("B", "A", "C", "'"))]))
    names = data.target.symbols
    assert [["<s>", "A", "B", "<s>", "<s>"], ["<s>", "B", "A", "C", "'"]] == [
        [names[token] for token in row] for row in batch.fed.T.tolist()
    ]
    assert [["A", "B", "</s>", None, None], ["B", "A", "C", "'", "</s>"]] == [
        [None if token == NO_TARGET else names[token] for token in row] for row in batch.targets.T.tolist()
    ]
    assert [2, 4] == batch.lengths.tolist()
    assert [["b", "a"], ["'", "c", "a", "b"]] == [
        [data.source.symbols[token] for token in row[:length]]
        for row, length in zip(batch.source.T.tolist(), batch.lengths.tolist(), strict=True)
    ]


@torch.inference_mode()
def test_the_losses_of_two_processes_mean_that_of_the_whole_batch(made: tuple[Seq2Seq, Seq2SeqData, Path]) -> None:
    model, data, _ = made
    batch = data.batch(3)
    parts = [batch.part(Share(rank, 2)) for rank in range(2)]
    assert len({int((part.targets != NO_TARGET).sum()) for part in parts}) == 2
    torch.testing.assert_close(nats(model, batch), sum(nats(model, part) for part in parts) / 2)
    assert data.rows == batch.fed.shape[1]


def test_padding_is_not_seen(made: tuple[Seq2Seq, Seq2SeqData, Path]) -> None:
    model, data, _ = made
    rows = data.encoded([("ab", ("A", "B")), ("abcabcab", ("A",) * 8)])
    with torch.inference_mode():
        alone, together = batch_logits(model, data.collated(rows[:1])), batch_logits(model, data.collated(rows))
    torch.testing.assert_close(together[0, :3], alone[0], atol=1e-5, rtol=1e-4)


def test_a_model_learns_to_spell(tmp_path: Path) -> None:
    told = settings(hidden=48, features=16, batch=32)
    data = Seq2SeqData(some_pairs(2000), told)
    torch.manual_seed(0)
    model: Seq2Seq = TASK.model(told, data.facts)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(300):
        loss, _ = TASK.loss(model, data, step=step, state=(), spent=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        found = evaluate(model.eval(), data)
    assert found.metrics["symbol_error_rate"] < 0.1
    assert found.metrics["accuracy"] > 0.9
    export_bundle(stages(model), tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    rates = [
        error_rates((transducer.transduce(word).symbols, listed) for word, listed in data.held_out.spellings.items())
        for transducer in (Transducer(bundle, width=width) for width in (1, 4))
    ]
    assert rates[0].symbol < 0.1
    assert rates[1].word <= rates[0].word


def test_error_rates_count_the_nearest_of_the_pronunciations_that_are_listed() -> None:
    assert 2 == edit_distance(["A", "B", "C"], ["B", "C", "D"])
    assert 3 == edit_distance([], ["A"] * 3)
    rates = error_rates([(["A", "B"], [["A", "C", "C"], ["A", "C"]]), (["Z"], [["Y"], ["Z"]]), ([], [["Q"]])])
    assert (rates.symbol, rates.word, rates.words) == (2 / 4, 2 / 3, 3)


def test_words_are_held_out_by_their_spelling_alone() -> None:
    words = [f"{a}{b}{c}" for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz"]
    share = np.mean([is_held_out(word) for word in words])
    assert abs(share - HELD_OUT) < 0.03
    pairs = make_pairs((word, ("A",)) for word in words)
    train, held = pairs.split()
    fewer = make_pairs((word, ("B",)) for word in words[:300]).split()[1]
    assert set(fewer.spellings) == {word for word in held.spellings if word in words[:300]}
    assert not set(train.spellings) & set(held.spellings)
    assert len(train.spellings) + len(held.spellings) == len(words)


def test_the_cmu_pronunciations_have_several_for_a_word_and_no_digits() -> None:
    pairs = cmu_pairs()
    assert len(pairs.spellings) > 120_000
    assert (("T", "AH0", "M", "EY1", "T", "OW2"), ("T", "AH0", "M", "AA1", "T", "OW2")) == pairs.spellings["tomato"]
    assert all(letter.isalpha() or letter == "'" for word in pairs.spellings for letter in word)
    assert pairs.dropped > 1000


def lines(*more: str) -> str:
    many = [f"{word}\t{' '.join(row)}" for word, row in some_pairs(300).rows]
    return "\n".join([*many, *more, ""])


def test_pairs_come_from_a_file_in_lower_case_and_what_else_than_letters_they_have_is_said(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text(lines("Tomato\tt ə m eə t oʊ", "tomato\tt ə m œ t oʊ", "b52\tB", "", "tomato\tt ə m œ t oʊ"))
    pairs = read_file(path)
    assert ["t ə m eə t oʊ", "t ə m œ t oʊ"] == [" ".join(row) for row in pairs.spellings["tomato"]]
    data = Seq2SeqData(pairs, settings(places=9))
    assert ("1 entries were left out, as they have more than letters and apostrophes",) == data.warnings
    shorter = Seq2SeqData(pairs, settings(places=5))
    assert "words were left out, as they have more than 5 letters (--places)" in shorter.warnings[1]
    assert max(map(len, shorter.train.spellings)) == 5
    assert len(Seq2SeqData(pairs, settings(places=0)).train.spellings) == len(data.train.spellings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines("word"), r"line 290 of .* must be a word, a tab, and symbols with blanks, got 'word'"),
        (lines("word\t "), r"must be a word, a tab, and symbols with blanks, got 'word\\t '"),
        (lines("\tA B"), r"must be a word, a tab, and symbols with blanks"),
        ("word\tW ER D\n", "1 words of letters are too few; 20 at least are needed"),
        ("", "0 words of letters are too few"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message.replace("290", str(text.count("\n")))):
        read_file(path)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be read as UTF-8 text"):
        read_file(tmp_path / "none.tsv")
    (tmp_path / "binary").write_bytes(bytes(range(200, 256)))
    with pytest.raises(DataError, match="could not be read as UTF-8 text"):
        read_file(tmp_path / "binary")


def test_symbols_that_mark_begin_and_end_and_too_few_words_to_hold_any_out_are_refused() -> None:
    with pytest.raises(DataError, match="the symbol </s> is what begins or ends a row"):
        Seq2SeqData(make_pairs((*some_pairs().rows, ("end", ("</s>",)))), settings())
    trained_on = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh" if not is_held_out(f"{a}{b}")]
    with pytest.raises(DataError, match="none of 25 words is held out"):
        Seq2SeqData(make_pairs((word, ("A",)) for word in trained_on[:25]), settings())


def test_words_are_read_in_their_case_or_in_lower_case_and_those_that_cannot_be_are_refused(
    made: tuple[Seq2Seq, Seq2SeqData, Path],
) -> None:
    model, _, folder = made
    transducer = Transducer(load_bundle(folder))
    assert transducer.transduce("cab") == transducer.transduce(" CaB ")
    for text in ("", "   "):
        with pytest.raises(InputError, match="there is nothing to read: the text is empty"):
            transducer.transduce(text)
    with pytest.raises(InputError, match="the model was trained without 'é', '4'"):
        transducer.transduce("cabé44")
    if model.config.places:
        assert transducer.transduce("a" * 12).symbols == transducer.transduce("a" * 12).symbols
        with pytest.raises(InputError, match=r"'a+' has 13 symbols; the model reads 12 at most"):
            transducer.transduce("a" * 13)
    else:
        transducer.transduce("a" * 40)


def test_what_was_cut_off_is_said(made: tuple[Seq2Seq, Seq2SeqData, Path]) -> None:
    _, data, folder = made
    bundle = load_bundle(folder)
    words = list(data.held_out.spellings)
    whole = [Transducer(bundle, max_tokens=40).transduce(word) for word in words]
    word, found = next(each for each in zip(words, whole, strict=True) if len(each[1].symbols) > 1)
    cut = Transducer(bundle, max_tokens=1).transduce(word)
    assert (found.symbols[:1], False) == (cut.symbols, cut.finished)
    assert found.text.startswith(cut.text)


def test_alternatives_are_all_that_the_search_found_the_most_probable_first(
    made: tuple[Seq2Seq, Seq2SeqData, Path],
) -> None:
    transducer = Transducer(load_bundle(made[2]), width=3, max_tokens=40)
    found = transducer.alternatives("cabba")
    assert len(found) == 3
    assert sorted(-each.log_probability for each in found if each.finished) == [
        -each.log_probability for each in found if each.finished
    ]
    assert found[0] == transducer.transduce("cabba")


def test_a_bundle_whose_encoder_reads_no_symbols_is_no_transducer(made: tuple[Seq2Seq, Seq2SeqData, Path]) -> None:
    modules = stages(made[0])
    engines = {name: TorchEngine(step) for name, step in modules.steps.items()}
    assert isinstance(Transducer(Bundle(modules.spec, engines)), Transducer)
    engines["encode"] = TorchEngine(_WithoutCodec(modules.steps["encode"]))
    with pytest.raises(InputError, match="the bundle does not turn text into text"):
        Transducer(Bundle(modules.spec, engines))


class _WithoutCodec(nn.Module):
    """A step whose Spec does not say what its tokens mean."""

    def __init__(self, step: StepModule) -> None:
        super().__init__()
        self.step = step

    @property
    def spec(self) -> Spec:
        return replace(self.step.spec, codec=None)

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.step(*values)
