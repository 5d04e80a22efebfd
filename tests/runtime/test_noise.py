"""The same uniforms at step t of seed s on every machine, to the bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_runtime import uniforms
from edgernn_runtime.noise import philox

SEEDS = st.integers(0, 2**64 - 1)

RANDOM123 = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), RANDOM123)
def test_philox_gives_the_known_answers_of_random123(counter: str, key: str, expected: str) -> None:
    first, second = words(key)
    actual = philox(np.array([words(counter)], np.uint32), (first, second))
    assert words(expected) == actual[0].tolist()


def test_philox_treats_every_counter_alone() -> None:
    counters = np.array([words(counter) for counter, _, _ in RANDOM123], np.uint32)
    together = philox(counters, (7, 9))
    alone = [philox(counter[None], (7, 9))[0].tolist() for counter in counters]
    assert alone == together.tolist()


@given(SEEDS, st.integers(0, 2**40), st.integers(1, 300), st.integers(0, 9), st.data())
def test_noise_cut_anywhere_equals_the_whole(seed: int, start: int, count: int, lane: int, data: st.DataObject) -> None:
    whole = uniforms(seed, start, count, lane=lane)
    cut = data.draw(st.integers(0, count))
    parts = [uniforms(seed, start, cut, lane=lane), uniforms(seed, start + cut, count - cut, lane=lane)]
    assert whole.tobytes() == np.concatenate(parts).tobytes()


@given(SEEDS, st.integers(0, 2**40), st.integers(0, 9))
def test_a_uniform_is_the_top_24_bits_of_the_lane_s_word(seed: int, step: int, lane: int) -> None:
    counter = np.array([[step & 0xFFFFFFFF, step >> 32, lane // 4, 0]], np.uint32)
    word = int(philox(counter, (seed & 0xFFFFFFFF, seed >> 32))[0, lane % 4])
    assert (word >> 8) / 2**24 == uniforms(seed, step, 1, lane=lane)[0]


@given(SEEDS)
def test_uniforms_are_float32_below_one(seed: int) -> None:
    values = uniforms(seed, 0, 200)
    assert np.float32 == values.dtype
    assert values.min() >= 0
    assert values.max() < 1


def test_uniforms_are_spread_evenly() -> None:
    counts, _ = np.histogram(uniforms(0, 0, 40_000), bins=16, range=(0, 1))
    assert np.abs(counts - 2500).max() < 250


def test_seeds_steps_beyond_32_bits_and_lanes_all_give_other_noise() -> None:
    streams = [
        uniforms(1, 0, 8),
        uniforms(2, 0, 8),
        uniforms(1 + 2**32, 0, 8),
        uniforms(1, 2**32, 8),
        *(uniforms(1, 0, 8, lane=lane) for lane in range(1, 9)),
    ]
    assert len(streams) == len({stream.tobytes() for stream in streams})
