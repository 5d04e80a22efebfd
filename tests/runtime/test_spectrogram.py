"""Spectrograms: the way there and back, mel bands, and phases that are made to fit."""

import numpy as np
import pytest

from edgernn_runtime.codecs import MelCodec
from edgernn_runtime.errors import SpecError
from edgernn_runtime.spec_json import codec_from_json, codec_to_json
from edgernn_runtime.voice.spectrogram import griffin_lim, inverse, log_mel, transform

CODEC = MelCodec()
TIME = np.arange(8_000) / CODEC.rate_hz
CHIRP = (0.3 * np.sin(2 * np.pi * (200 + 900 * TIME) * TIME)).astype(np.float32)


def test_a_transform_comes_back() -> None:
    found = inverse(transform(CHIRP, CODEC), CODEC)
    np.testing.assert_allclose(CHIRP, found, atol=1e-5)


def test_a_tone_lies_in_the_frame_of_its_hop_and_in_its_band() -> None:
    samples = np.zeros(40 * CODEC.hop, np.float32)
    samples[20 * CODEC.hop : 21 * CODEC.hop] = np.sin(2 * np.pi * 1_000 * np.arange(CODEC.hop) / CODEC.rate_hz)
    bands = log_mel(samples, CODEC)
    frame, band = np.unravel_index(bands.argmax(), bands.shape)
    assert (40, CODEC.bands) == bands.shape
    assert frame == 20
    assert abs(CODEC.filters()[band].argmax() * CODEC.rate_hz / CODEC.window - 1_000) < 40


def test_each_filter_has_the_area_of_the_others() -> None:
    wide = MelCodec(window=8_192)
    areas = wide.filters().sum(1) * wide.rate_hz / wide.window
    np.testing.assert_allclose(np.ones(wide.bands), areas, rtol=0.02)


def test_phases_are_found_that_give_the_bands() -> None:
    bands = log_mel(CHIRP, CODEC)
    far, near = (np.abs(log_mel(griffin_lim(bands, CODEC, rounds=n), CODEC) - bands).mean() for n in (0, 40))
    assert near < 0.6 * far
    assert griffin_lim(bands, CODEC, rounds=2).tolist() == griffin_lim(bands, CODEC, rounds=2).tolist()
    assert griffin_lim(bands, CODEC, rounds=2).tolist() != griffin_lim(bands, CODEC, seed=1, rounds=2).tolist()


def test_a_layout_of_frames_travels_as_json_and_a_wrong_one_is_refused() -> None:
    odd = MelCodec(rate_hz=22_050, hop=256, window=1_024, bands=40)
    assert odd == codec_from_json(codec_to_json(odd))
    assert odd.size == 42
    with pytest.raises(SpecError, match="a window of a hop at least"):
        MelCodec(hop=2_048)
