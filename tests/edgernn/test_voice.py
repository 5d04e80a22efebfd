"""A voice: trained for moments, put together, and heard; the three models step as they were trained."""

import itertools
import json
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from edgernn.models.acoustic import AcousticModel, places
from edgernn.models.vocoder import PRUNED, BlockStep, Past, Vocoder, drawn_level, expand, share
from edgernn.speech.corpus import spoken_corpus
from edgernn.speech.voice_folder import write_voice
from edgernn.tasks import find_task
from edgernn.tasks.acoustic.data import AcousticData
from edgernn.tasks.acoustic.settings import AcousticSettings
from edgernn.tasks.vocoder.data import VocoderData
from edgernn.tasks.vocoder.objective import window_logits
from edgernn.tasks.vocoder.settings import VocoderSettings
from edgernn_export import export_bundle, quantize
from edgernn_runtime import load, load_bundle
from edgernn_runtime.errors import DataError, InputError, ModelFileError, OutputExistsError, SpecError
from edgernn_runtime.voice import Voice, load_voice
from edgernn_runtime.voice.clock import Clock
from edgernn_runtime.voice.pronunciation import PAUSE
from edgernn_runtime.voice.wav import write_wav

LITTLE = 0.25  # minutes of speech
SMALL = {"hidden": 16, "batch": 4, "max_steps": 30, "seed": 1}


@pytest.fixture(scope="module")
def acoustic() -> tuple[AcousticModel, AcousticData]:
    settings = AcousticSettings(minutes=LITTLE, layers=1, dropout=0.0, **SMALL)
    return trained("acoustic", settings)


@pytest.fixture(scope="module")
def vocoder() -> tuple[Vocoder, VocoderData]:
    return trained("vocoder", VocoderSettings(minutes=LITTLE, head=12, window=3, block=2, **SMALL))


def trained(name: str, settings: AcousticSettings | VocoderSettings) -> tuple:
    torch.manual_seed(1)
    task = find_task(name)
    data = task.read(settings)
    model = task.model(settings, data.facts)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(settings.max_steps):
        loss, _ = task.loss(model, data, step=step, state=(), spent=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), data


@pytest.fixture(scope="module")
def parts(acoustic: tuple, vocoder: tuple, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the bundles of a voice: `phonemes`, `acoustic` and `vocoder`."""
    folder = tmp_path_factory.mktemp("parts")
    for name, (model, data) in (("acoustic", acoustic), ("vocoder", vocoder)):
        export_bundle(find_task(name).export(model, data.settings, data.facts), folder / name)
    symbols = [each for each in acoustic[1].symbols.symbols if each != PAUSE]
    words = ["".join(letters) for letters in itertools.product("abcdefghinorstuvwxz", repeat=2)]
    rng = np.random.default_rng(0)
    lines = [f"{word}\t{' '.join(rng.choice(symbols, 3))}\n" for word in words]
    (folder / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    seq2seq = find_task("seq2seq")
    settings = seq2seq.settings(data=folder / "pairs.tsv", hidden=16, batch=8, max_steps=1)
    data = seq2seq.read(settings)
    model = seq2seq.model(settings, data.facts)
    export_bundle(seq2seq.export(model, settings, data.facts), folder / "phonemes")
    return folder


@pytest.fixture(scope="module")
def folder(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("voice") / "voice"
    write_voice(target, **{name: parts / name for name in ("phonemes", "acoustic", "vocoder")}, language="en-us")
    return target


@pytest.fixture(scope="module")
def voice(folder: Path) -> Voice:
    return load_voice(folder)


def test_a_score_fills_the_frames_of_what_was_said(acoustic: tuple) -> None:
    _, data = acoustic
    for score in data.train:
        assert score.durations.sum() == len(score.frames)
        assert score.windows[:, 2].tolist() == data.symbols.encode(" ".join(names(data, score.windows[:, 2]))).tolist()
        ends = np.cumsum(score.durations)
        assert (score.index < score.durations[score.phoneme]).all()
        assert [int((score.phoneme < i + 1).sum()) for i in range(len(ends))] == ends.tolist()


def names(data: AcousticData, tokens: np.ndarray) -> list[str]:
    return [data.symbols.symbols[token] for token in tokens]


def test_the_acoustic_model_gives_over_a_sequence_what_it_gives_step_by_step(acoustic: tuple) -> None:
    model, data = acoustic
    batch = data.held_out()
    place = places(batch.index, batch.durations)
    state = model.stack.init(batch.known.shape[1])
    with torch.inference_mode():
        expected, _ = model.scan(batch.windows, place, state)
        for step in range(20):
            frame, state = model.step(batch.windows[step], place[step], state)
            np.testing.assert_allclose(expected[step] * model.deviation + model.mean, frame, atol=1e-4)


def test_the_vocoder_gives_over_a_sequence_what_it_gives_block_by_block(vocoder: tuple) -> None:
    model, data = vocoder
    windows = data.held_out()
    block = model.config.block
    blocks = data.codec.hop // block
    with torch.inference_mode():
        condition = model.conditions(windows.frames).repeat_interleave(blocks, dim=0)
        past = Past(windows.samples[:, :, 0], windows.recent[..., :block])
        expected, _ = model.contexts(condition, past, model.stack.init(condition.shape[1]))
        state = model.stack.init(condition.shape[1])
        for step in range(30):
            now = Past(past.samples[step], past.excitations[step])
            found, state = model.step(condition[step], now, state)
            np.testing.assert_allclose(expected[step], found, atol=1e-5)


def test_windows_hold_what_was_before_each_sample(vocoder: tuple) -> None:
    _, data = vocoder
    windows = data.batch(3)
    made = windows.predicted + expand(windows.levels)
    block = data.settings.block
    later = windows.samples[:, :, 1:, 0]  # the sample before each but the first of a block
    assert (later - made[:, :, :-1]).abs().max() < 0.02  # but for the noise
    np.testing.assert_allclose(share(windows.levels), windows.recent[..., block:])
    np.testing.assert_allclose(windows.recent[1:, ..., :block], windows.recent[:-1, ..., block:])


def test_a_block_is_drawn_from_what_training_gave_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = trained("vocoder", VocoderSettings(minutes=LITTLE, head=12, window=3, block=2, noise=0.0, **SMALL))
    windows, blocks = data.held_out(), data.codec.hop // 2
    drawn, levels = [], iter(windows.levels.transpose(1, 2).flatten(0, 1))

    def draw(logits: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        drawn.append(logits)
        return next(levels).unsqueeze(1)

    monkeypatch.setattr("edgernn.models.vocoder.drawn_level", draw)
    rows = windows.levels.shape[1]
    states = (windows.samples[0, :, 0], windows.recent[0, :, :2], torch.zeros(rows, 1), *model.stack.init(rows))
    with torch.inference_mode():
        expected = torch.cat([each.transpose(0, 1) for each in window_logits(model, windows)])  # [samples, batch, ...]
        for step in range(2 * blocks):
            frames = windows.frames[step // blocks]
            predictor = model.prediction(frames[:, -1, : data.codec.bands])
            _, *states = BlockStep(model)(model.conditions(frames), predictor, torch.zeros(rows, 2), *states)
    np.testing.assert_allclose(expected[: len(drawn)], torch.stack(drawn), atol=1e-3)


def test_levels_are_drawn_as_often_as_they_are_probable() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0]]).log_softmax(1)
    uniforms = (torch.arange(4_000) + 0.5).unsqueeze(1) / 4_000
    found = drawn_level(logits.expand(4_000, 4), uniforms).flatten()
    pruned = logits.exp()[0] - PRUNED
    np.testing.assert_allclose(pruned / pruned.sum(), torch.bincount(found, minlength=4) / 4_000, atol=1e-3)
    rare = torch.tensor([[10.0, 3.0, 10.0]])
    assert set(drawn_level(rare.expand(4_000, 3), uniforms).flatten().tolist()) == {0, 2}


def test_a_voice_speaks_while_it_still_pronounces(voice: Voice) -> None:
    pieces = voice.speak("hunter, zoo. stained")
    first = next(pieces)
    assert first.shape == (200,)
    rest = list(pieces)
    assert np.isfinite(rest).all()
    assert np.abs(rest).max() <= 1
    assert len(rest) + 1 == len(list(voice.frames("hunter, zoo. stained")))


def test_a_seed_speaks_the_same_and_another_one_otherwise(voice: Voice) -> None:
    one, same, other = (np.concatenate(list(voice.speak("zoo", seed=seed))) for seed in (4, 4, 5))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()


def test_frames_become_the_sound_that_is_spoken(voice: Voice) -> None:
    frames = np.stack(list(voice.frames("zoo")))
    assert np.concatenate(list(voice.speak("zoo", seed=3))).tolist() == voice.vocode(frames, seed=3).tolist()
    assert len(voice.speak_plainly("zoo. ran", seed=3)) == len(list(voice.frames("zoo. ran"))) * 200


def test_durations_keep_their_time(voice: Voice, parts: Path) -> None:
    text = "hunter " * 20
    phonemes = voice.pronounce(text)
    bundle = load_bundle(parts / "acoustic")
    tokens = bundle.stages["durations"].spec.codec.encode(" ".join(phonemes))
    padded = np.pad(tokens, 2)
    stream = bundle.stages["durations"].stream()
    wanted = sum(float(stream.step(padded[i : i + 5])) for i in range(len(tokens)))
    assert abs(len(list(voice.frames(text))) - wanted) < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing to say"),
        ("?!", "nothing to say"),
        ("naïve", "cannot pronounce 'naïve': the model was trained without 'ï'"),
        ("привет", "trained without 'п'"),
        ("5 €", "'€' .* cannot be pronounced"),
        ("zoo " + 40 * "o", "has 40 symbols; the model reads 32 at most"),
    ],
)
def test_what_cannot_be_said_is_refused_before_any_sound(voice: Voice, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        next(voice.speak(text))
    with pytest.raises(InputError, match=message):
        voice.speak_plainly(text)


def test_a_language_that_the_voice_does_not_speak_is_refused(folder: Path) -> None:
    assert load_voice(folder, language="en-us").language == "en-us"
    with pytest.raises(InputError, match="speaks en-us, and not de"):
        load_voice(folder, language="de")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "has version 2; this code reads version 1"),
        ({"acoustic": "../other"}, "acoustic must be a folder in the voice's own"),
        ({"acoustic": ".."}, "acoustic must be a folder in the voice's own"),
        ({"acoustic": 3}, "acoustic must be a name, got 3"),
        ({"extra": 1}, "is no voice"),
    ],
)
def test_a_voice_file_of_another_kind_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    content = json.loads((folder / "voice.json").read_text(encoding="utf-8")) | change
    (tmp_path / "voice.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        load_voice(tmp_path)


def test_a_folder_without_a_voice_or_a_part_of_it_says_what_is_missing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="holds no voice"):
        load_voice(tmp_path)
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "vocoder" / "block.onnx").unlink()
    with pytest.raises(ModelFileError, match=r"block\.onnx"):
        load_voice(broken)


def test_parts_that_do_not_fit_become_no_voice(parts: Path, tmp_path: Path) -> None:
    pieces = {name: parts / name for name in ("phonemes", "acoustic", "vocoder")}
    with pytest.raises(SpecError, match="from words to phonemes"):
        write_voice(tmp_path / "v", **pieces | {"phonemes": parts / "vocoder"}, language="en-us")
    with pytest.raises(SpecError, match="the vocoder takes None"):
        write_voice(tmp_path / "v", **pieces | {"vocoder": parts / "acoustic"}, language="en-us")
    assert not (tmp_path / "v").exists()


def test_a_voice_is_not_replaced_unasked(folder: Path, parts: Path) -> None:
    pieces = {name: parts / name for name in ("phonemes", "acoustic", "vocoder")}
    with pytest.raises(OutputExistsError):
        write_voice(folder, **pieces, language="de")
    assert load_voice(folder).language == "en-us"


def test_recordings_without_phonemes_train_no_acoustic_model(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", [spoken_corpus(0.02, seed=0, rate_hz=16_000).utterances[0].samples], rate_hz=16_000)
    with pytest.raises(DataError, match=r"a\.wav has no label track"):
        find_task("acoustic").read(AcousticSettings(data=tmp_path))


def test_one_utterance_or_a_moment_of_sound_trains_nothing(tmp_path: Path) -> None:
    sound = spoken_corpus(0.02, seed=0, rate_hz=16_000).utterances[0].samples
    write_wav(tmp_path / "a.wav", [sound], rate_hz=16_000)
    with pytest.raises(DataError, match="another one to be held out; record more than one"):
        find_task("vocoder").read(VocoderSettings(data=tmp_path))
    write_wav(tmp_path / "b.wav", [sound[:100]], rate_hz=16_000)
    with pytest.raises(DataError, match=r"b\.wav has 100 samples"):
        find_task("vocoder").read(VocoderSettings(data=tmp_path))


def test_silence_trains_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_wav(tmp_path / f"{name}.wav", [np.zeros(32_000, np.float32)], rate_hz=16_000)
    with pytest.raises(DataError, match="silent"):
        find_task("vocoder").read(VocoderSettings(data=tmp_path))


def test_a_block_must_divide_a_frame() -> None:
    with pytest.raises(InputError, match="block must divide the 200 samples of a frame, got 7"):
        VocoderSettings(block=7)


def test_a_wav_file_is_whole_or_not_there(voice: Voice, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    clock = Clock(voice.rate_hz)
    write_wav(path, clock.pass_on(voice.speak("zoo")), rate_hz=voice.rate_hz)
    with wave.open(str(path), "rb") as file:
        assert (16_000, 1, 2) == (file.getframerate(), file.getnchannels(), file.getsampwidth())
        assert file.getnframes() / 16_000 == clock.timing.seconds
    with pytest.raises(InputError):
        write_wav(tmp_path / "b.wav", voice.speak("ï"), rate_hz=voice.rate_hz)
    assert [path] == sorted(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_quantized_voice_speaks(parts: Path, vocoder: tuple, tmp_path: Path, precision: str) -> None:
    recording = vocoder[1].recordings("valid")["model"].head(400)
    report = quantize(
        parts / "vocoder", tmp_path / "vocoder", precision=precision, recording=recording, calibration=recording
    )
    assert len(report.nodes) == 6
    quantized = load(tmp_path / "vocoder")
    sound = quantized.stream(seed=1).run(np.repeat(recording.inputs["frame"][:1], 50, axis=0))
    assert np.isfinite(sound).all()


def test_a_device_speaks_with_numpy_and_onnxruntime_alone(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.wav"
    code = (
        "import runpy, sys; sys.argv = ['voice', *sys.argv[1:]]\n"
        "try: runpy.run_module('edgernn_runtime.voice', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {'torch', 'onnx', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder), "hunter zoo", "-o", str(target)], check=True)
    assert target.stat().st_size > 44
