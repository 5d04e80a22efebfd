"""Many streams in one batched step: each yields what it yields alone, whoever joins, leaves, resets or forks."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.models import RecurrentLMStep
from edgernn_export import Recording, export, quantize
from edgernn_export.metadata import read_model, write_spec
from edgernn_runtime import GREEDY, CharacterCodec, Model, PoolStream, Sampler, State, Stream, StreamPool, load
from edgernn_runtime.engines.ort import OrtEngine, OrtExecutor
from edgernn_runtime.errors import EngineError, InputError, PoolFullError, StateError, StreamError
from edgernn_runtime.pool import NotFiniteError
from edgernn_runtime.spec import BATCH, Feedback, Spec, StateSpec, TensorSpec

Floats = NDArray[np.float32]

WARM = Sampler(0.9)
SAMPLERS = (
    GREEDY,
    WARM,
    Sampler(0.7, top_k=5),
    Sampler(1.2, top_p=0.8),
    Sampler(0.8, repetition_penalty=1.5),
    Sampler(1.0, allowed=tuple(range(0, 20, 2))),
)
KINDS = 3
VOCABULARY = CharacterCodec.from_text("\n .,abcdefghijklmnoé☃").size


class Moody(nn.Module):
    """Logits of 7 tokens with two inputs besides: the exponential of a mood is added, and a kind is looked up.

    A mood of 1000 makes the output infinite, and a kind that the table does not have makes the engine fail.
    """

    spec = Spec(
        inputs=(
            TensorSpec("mood", "float32", (BATCH, 7), "condition"),
            TensorSpec("token", "int64", (BATCH,), "token"),
            TensorSpec("kind", "int64", (BATCH,), "condition", KINDS),
        ),
        outputs=(TensorSpec("logits", "float32", (BATCH, 7), "logits"),),
        states=(StateSpec("state.h", "next_state.h", "float32", (BATCH, 7)),),
        distribution="categorical",
        feedback=Feedback("logits", "token", start=0),
    )

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(7, 7)
        self.kinds = nn.Embedding(KINDS, 7)

    def forward(self, mood: Tensor, token: Tensor, kind: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        h = torch.tanh(self.embedding(token) + 0.5 * h + self.kinds(kind))
        return 3 * h + torch.exp(mood), h


@pytest.fixture(scope="module")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(export(Moody(), tmp_path_factory.mktemp("moody") / "m.onnx").path)


@pytest.fixture
def model(tiny_model: Callable[..., Model]) -> Model:
    return tiny_model("lstm")


def tokens_of(pool: StreamPool, steps: int) -> dict[PoolStream, list[int]]:
    """Step a pool, and return what each stream chose."""
    made: dict[PoolStream, list[int]] = {}
    for _ in range(steps):
        for stream, token in pool.step():
            assert isinstance(token, int)
            made.setdefault(stream, []).append(token)
    return made


def alone(
    model: Model, count: int, *, prompt: str | Sequence[int] = (), seed: int = 0, sampler: Sampler = WARM
) -> list[int]:
    """Return what a stream by itself chooses."""
    stream = model.stream(seed=seed, sampler=sampler)
    stream.prefill(prompt)
    return list(stream.generate(count))


# Equality with single streams


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_a_stream_of_a_pool_yields_what_it_yields_alone(
    tiny_model: Callable[..., Model], cell: str, sampler: Sampler
) -> None:
    model = tiny_model(cell)
    pool = model.pool()
    streams = [pool.open("ab"[: seed % 3], seed=seed, sampler=sampler) for seed in range(7)]
    made = tokens_of(pool, 300)
    for seed, stream in enumerate(streams):
        expected = alone(model, 299, prompt="ab"[: seed % 3], seed=seed, sampler=sampler)
        assert expected == made[stream][:299]


def test_streams_of_different_samplers_step_together(model: Model) -> None:
    pool = model.pool()
    streams = [pool.open(seed=seed, sampler=sampler) for seed, sampler in enumerate(SAMPLERS)]
    made = tokens_of(pool, 100)
    for seed, (stream, sampler) in enumerate(zip(streams, SAMPLERS, strict=True)):
        assert alone(model, 100, seed=seed, sampler=sampler) == made[stream]


def test_a_stream_without_a_prompt_begins_with_the_start_token(model: Model, start_token: int) -> None:
    pool = model.pool()
    pool.open(sampler=WARM)
    other = pool.open([start_token], sampler=WARM)
    made = list(tokens_of(pool, 30).values())
    assert made[0] == made[1] == alone(model, 30)
    assert other.step_index == 30


def test_a_stream_with_neither_prompt_nor_start_token_waits(byte_model: Model) -> None:
    pool = byte_model.pool()
    stream = pool.open()
    assert not stream.ready
    assert pool.step() == []
    stream.prefill("a")
    made = tokens_of(pool, 3)[stream]
    assert alone(byte_model, 3, prompt="a", sampler=GREEDY) == made


@dataclass
class Pair:
    """A stream of the pool, and one by itself that does the same."""

    pooled: PoolStream
    single: Stream | PoolStream
    tokens: int = 0

    def expected(self, home: StreamPool | None) -> int:
        """Return the next token of the single one."""
        if isinstance(self.single, Stream):
            return next(iter(self.single.generate(1)))
        assert home is not None
        while not (chosen := home.step()):
            pass
        return int(chosen[0][1])  # type: ignore[arg-type]


class Schedule:
    """Random calls of a pool, each also made of streams by themselves.

    Floats are beside `Stream`s, quantized ones in pools of one.
    """

    def __init__(self, model: Model, seed: int) -> None:
        self.model = model
        self.rng = np.random.default_rng(seed)
        self.pool = model.pool(capacity=2, limit=9)
        self.pairs: list[Pair] = []
        self.homes: dict[int, StreamPool] = {}
        self.yielded = 0

    def run(self, calls: int) -> None:
        verbs = [self.open, self.close, self.pause, self.reset, self.fork, self.move, self.resample, self.prefill]
        for _ in range(calls):
            self.step()
            verb = int(self.rng.integers(0, 2 * len(verbs)))
            if verb < len(verbs):
                verbs[verb]()

    def step(self) -> None:
        pairs = {pair.pooled: pair for pair in self.pairs}
        for stream, token in self.pool.step():
            pair = pairs[stream]
            assert pair.expected(self.homes.get(id(pair.single))) == token
            self.yielded += 1

    def single(self, seed: int, sampler: Sampler, state: State | None = None) -> Stream | PoolStream:
        if self.model.spec.precision == "float32":
            return self.model.stream(seed=seed, sampler=sampler, state=state)
        home = self.model.pool(capacity=1)
        stream = home.open(seed=seed, sampler=sampler, state=state)
        self.homes[id(stream)] = home
        return stream

    def any(self) -> Pair | None:
        return self.pairs[int(self.rng.integers(len(self.pairs)))] if self.pairs else None

    def prompt(self) -> list[int]:
        return [int(token) for token in self.rng.integers(0, 20, int(self.rng.integers(0, 5)))]

    def open(self) -> None:
        if len(self.pairs) == 9:
            with pytest.raises(PoolFullError):
                self.pool.open()
            return
        seed, prompt = int(self.rng.integers(2**63)), self.prompt()
        sampler = SAMPLERS[int(self.rng.integers(len(SAMPLERS)))]
        single = self.single(seed, sampler)
        single.prefill(prompt)
        self.pairs.append(Pair(self.pool.open(prompt, seed=seed, sampler=sampler), single))

    def close(self) -> None:
        if pair := self.any():
            pair.pooled.close()
            self.pairs.remove(pair)

    def pause(self) -> None:
        if pair := self.any():
            if pair.pooled.paused:
                pair.pooled.resume()
            else:
                pair.pooled.pause()

    def reset(self) -> None:
        if pair := self.any():
            seed = int(self.rng.integers(2**63))
            pair.pooled.reset(seed=seed)
            pair.single.reset(seed=seed)

    def fork(self) -> None:
        pair = self.any()
        if pair and len(self.pairs) < 9:
            state = pair.single.snapshot()
            self.pairs.append(Pair(pair.pooled.fork(), self.single(0, GREEDY, state)))

    def move(self) -> None:
        """Take a snapshot of each, and let each continue from the other's."""
        if pair := self.any():
            pooled, single = pair.pooled.snapshot(), pair.single.snapshot()
            assert (pooled.step, pooled.seed, pooled.pending) == (single.step, single.seed, single.pending)
            assert (pooled.sampler, pooled.recent, pooled.held) == (single.sampler, single.recent, single.held)
            pair.pooled.restore(single)
            pair.single.restore(pooled)

    def resample(self) -> None:
        if pair := self.any():
            pair.pooled.sampler = pair.single.sampler = SAMPLERS[int(self.rng.integers(len(SAMPLERS)))]

    def prefill(self) -> None:
        if pair := self.any():
            prompt = self.prompt()
            pair.pooled.prefill(prompt)
            pair.single.prefill(prompt)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("seed", range(4))
def test_streams_that_join_leave_reset_fork_and_pause_at_any_step_yield_what_they_yield_alone(
    tiny_model: Callable[..., Model], cell: str, precision: str, seed: int
) -> None:
    schedule = Schedule(tiny_model(cell, precision), seed)
    schedule.run(400)
    assert schedule.yielded > 400


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("mates", [1, 2, 3, 6])
def test_the_output_of_a_quantized_stream_is_the_same_to_the_bit_whoever_is_there(
    tiny_model: Callable[..., Model], tiny_tokens: NDArray[np.int64], cell: str, precision: str, mates: int
) -> None:
    model = tiny_model(cell, precision)
    lonely, crowded = model.pool(), model.pool(capacity=1)
    expected, stream = lonely.open(), crowded.open()
    others = [crowded.open() for _ in range(mates)]
    for step, token in enumerate(tiny_tokens[:100].tolist()):
        values = {stream: token}
        values |= {other: (token + i + step) % VOCABULARY for i, other in enumerate(others) if (i + step) % 3}
        (_, wanted), *_ = lonely.feed({expected: token})
        assert wanted.tobytes() == dict(crowded.feed(values))[stream].tobytes()


def test_a_paused_stream_is_not_stepped_to_fill_an_odd_batch_up(tiny_model: Callable[..., Model]) -> None:
    pool = tiny_model("gru", "int8").pool(capacity=4)
    streams = [pool.open(seed=seed, sampler=WARM) for seed in range(4)]
    tokens_of(pool, 3)
    streams[3].pause()
    before = streams[3].snapshot()
    for stream, token in pool.step():
        assert stream is not streams[3]
        assert 0 <= int(token) < 20  # type: ignore[arg-type]
    for _ in range(5):
        assert len(pool.step()) == 3
    after = streams[3].snapshot()
    assert before.step == after.step
    assert [array.tobytes() for array in before.arrays] == [array.tobytes() for array in after.arrays]


def test_a_row_that_fills_an_odd_batch_up_is_never_seen(tiny_model: Callable[..., Model]) -> None:
    pool = tiny_model("lstm", "int8").pool(capacity=3)
    streams = [pool.open(sampler=WARM) for _ in range(3)]
    for _ in range(4):
        assert {stream for stream, _ in pool.step()} == set(streams)
        assert len(pool) == len(pool.streams) == 3
    assert [1] == [len(pool.feed({streams[0]: 1}))]


@pytest.mark.parametrize(("precision", "rows"), [("int8", [2, 2, 4, 4, 6]), ("float32", [1, 2, 3, 4, 5])])
def test_a_quantized_model_steps_an_even_number_of_rows(
    tiny_model: Callable[..., Model], precision: str, rows: list[int]
) -> None:
    pool = tiny_model("gru", precision).pool(capacity=1)
    stepped = []
    for _ in range(5):
        pool.open()
        assert len(pool) == len(pool.step())
        executor = pool._streams._rows.executor
        assert isinstance(executor, OrtExecutor)
        stepped.append(executor._rows)
    assert rows == stepped


# Feeding


def test_fed_streams_give_what_they_give_alone(frame_model: Model, frames: Floats) -> None:
    pool = frame_model.pool(capacity=1)
    streams = [pool.open() for _ in range(5)]
    singles = [frame_model.stream() for _ in streams]
    rng = np.random.default_rng(0)
    for step in range(100):
        some = np.flatnonzero(rng.random(5) < 0.6).tolist()
        made = pool.feed({streams[i]: frames[10 * step + i] for i in some})
        assert [streams[i] for i in some] == [stream for stream, _ in made]
        for i, (_, output) in zip(some, made, strict=True):
            np.testing.assert_allclose(output, singles[i].step(frames[10 * step + i]), atol=1e-5)
    for stream, single in zip(streams, singles, strict=True):
        assert single.step_index == stream.step_index
        assert single.snapshot().arrays[1].tolist() == stream.snapshot().arrays[1].tolist()


def test_what_is_pending_is_fed_before_a_given_value(model: Model) -> None:
    pool = model.pool()
    streams = [pool.open("abc"), pool.open(), pool.open("a")]
    singles = [model.stream() for _ in streams]
    singles[0].prefill("abc")
    singles[2].prefill("a")
    made = pool.feed(dict.fromkeys(streams, 3))
    for (stream, output), single in zip(made, singles, strict=True):
        np.testing.assert_allclose(output, single.step(3), atol=1e-5)
        assert single.step_index == stream.step_index
        assert stream.pending is None
    assert pool.step() == []


def test_outputs_are_the_callers_own(model: Model) -> None:
    pool = model.pool()
    stream = pool.open()
    (_, first), *_ = pool.feed({stream: 1})
    kept = first.copy()
    pool.feed({stream: 2})
    assert kept.tobytes() == first.tobytes()


@pytest.mark.parametrize("bad", [-1, 999, 1.5, "a"], ids=str)
def test_nothing_is_fed_if_one_value_is_bad(model: Model, bad: object) -> None:
    pool = model.pool()
    streams = [pool.open("ab") for _ in range(3)]
    with pytest.raises(InputError, match="a token must"):
        pool.feed({streams[0]: 1, streams[1]: bad, streams[2]: 2})  # type: ignore[dict-item]
    assert [0, 0, 0] == [stream.step_index for stream in streams]


def test_feeding_nobody_does_nothing(model: Model) -> None:
    pool = model.pool()
    stream = pool.open()
    assert pool.feed({}) == []
    assert stream.step_index == 0


# Other models


def test_a_model_of_one_row_is_stepped_singly(tmp_path: Path, tiny_lm: Callable[[str], nn.Module]) -> None:
    model = load(_one_row(tmp_path, tiny_lm))
    assert model.spec.batch == 1
    schedule = Schedule(model, 5)
    schedule.run(300)
    assert schedule.yielded > 300


def _one_row(folder: Path, tiny_lm: Callable[[str], nn.Module]) -> Path:
    class Fixed(nn.Module):
        """A step of one row only."""

        def __init__(self) -> None:
            super().__init__()
            self.lm = tiny_lm("gru")

        @property
        def spec(self) -> Spec:
            return Spec(
                inputs=(TensorSpec("token", "int64", (1,), "token"),),
                outputs=(TensorSpec("logits", "float32", (1, VOCABULARY), "logits"),),
                states=tuple(StateSpec(f"state.{i}", f"next_state.{i}", "float32", (1, 24)) for i in range(2)),
                distribution="categorical",
                feedback=Feedback("logits", "token", start=0),
                batch=1,
            )

        def forward(self, token: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            logits, after = self.lm.scan(token[None], states)  # type: ignore[operator]
            return (logits[0], *after)

    return export(Fixed().eval(), folder / "one.onnx").path


def test_inputs_beside_the_main_one_stay_with_their_stream(moody: Model) -> None:
    pool, rng = moody.pool(capacity=1), np.random.default_rng(0)
    pairs: list[tuple[PoolStream, Stream]] = []
    for seed in range(6):
        pooled, single = pool.open(seed=seed, sampler=WARM), moody.stream(seed=seed, sampler=WARM)
        for stream in (pooled, single):
            stream.set_input("mood", np.full(7, seed / 8, np.float32) * np.arange(7, dtype=np.float32))
            stream.set_input("kind", np.array(seed % KINDS))
        pairs.append((pooled, single))
    for _ in range(100):
        pooled, single = pairs[int(rng.integers(6))]
        change = int(rng.integers(4))
        if change == 0:
            pooled.pause()
        elif change == 1:
            pooled.resume()
        elif change == 2:
            pooled.restore(single.snapshot())
        else:
            single.restore(pooled.snapshot())
        made = dict(pool.step())
        for pooled, single in pairs:
            if pooled in made:
                assert next(iter(single.generate(1))) == made[pooled]


def test_an_input_that_does_not_exist_or_fit_is_refused(moody: Model) -> None:
    stream = moody.pool().open()
    with pytest.raises(InputError, match="the model has no input token beside its main one; it has mood, kind"):
        stream.set_input("token", np.array(1))
    with pytest.raises(InputError, match=r"mood must be float32\[7\], got float64\[7\]"):
        stream.set_input("mood", np.zeros(7))


# Snapshots


@pytest.mark.parametrize("steps", [0, 1, 5, 300])
def test_a_stream_may_leave_the_pool_and_one_may_come_in(model: Model, steps: int, tmp_path: Path) -> None:
    expected = alone(model, 400, prompt="ab", seed=3)
    pool = model.pool()
    others = [pool.open(seed=seed, sampler=WARM) for seed in (8, 9)]
    stream = pool.open("ab", seed=3, sampler=WARM)
    made = tokens_of(pool, steps + 1).get(stream, [])
    stream.snapshot().save(tmp_path / "s.npz")
    state = State.load(tmp_path / "s.npz")
    assert expected == made + list(model.stream(state=state).generate(400 - len(made)))
    others[0].close()
    again = pool.open(state=state)
    assert expected[: len(made) + 50] == made + tokens_of(pool, 50)[again]


def test_a_snapshot_within_a_prompt_holds_the_whole_of_it(model: Model) -> None:
    pool = model.pool()
    stream, other = pool.open("abcde", sampler=WARM), pool.open(sampler=WARM)
    pool.step()
    assert stream.prompt_left == 3
    state = stream.snapshot()
    assert (4, 0) == (state.step, stream.prompt_left)
    assert alone(model, 20, prompt="abcde") == list(model.stream(state=state).generate(20))
    assert other.step_index == 1


def test_a_pool_refuses_a_state_of_another_model(tiny_model: Callable[..., Model]) -> None:
    pool = tiny_model("lstm").pool()
    with pytest.raises(StateError, match="the state belongs to model"):
        pool.open(state=tiny_model("gru").initial_state())
    with pytest.raises(StateError, match="a stream takes a state of batch 1, got batch 2"):
        pool.open(state=tiny_model("lstm").initial_state(2))
    assert len(pool) == 0


def test_half_a_character_is_kept_by_a_fork_and_a_snapshot(byte_model: Model, memorised: str) -> None:
    pool = byte_model.pool()
    stream = pool.open(memorised[-1])
    text = ""
    for step in range(40):
        ((found, token),) = pool.step()
        assert isinstance(token, int)
        text += found.decode(token)
        stream = found.fork() if step % 2 else pool.open(state=found.snapshot())
        found.close()
    assert (memorised * 8).startswith(text)
    assert len(text) > 15
    stream.close()


# Streams that are closed, a full pool, and its room


def test_a_closed_stream_refuses_everything_and_harms_nobody(model: Model) -> None:
    pool = model.pool()
    with pool.open(seed=1, sampler=WARM) as stream:
        other = pool.open(seed=2, sampler=WARM)
        made = tokens_of(pool, 3)[other]
    assert stream.closed
    stream.close()
    calls: list[Callable[[], object]] = [
        lambda: stream.seed,
        lambda: stream.step_index,
        lambda: stream.pending,
        lambda: stream.sampler,
        lambda: setattr(stream, "sampler", WARM),
        lambda: stream.prefill("a"),
        stream.pause,
        stream.resume,
        stream.reset,
        stream.fork,
        stream.snapshot,
        lambda: stream.restore(model.initial_state()),
        lambda: stream.decode(1),
        lambda: pool.feed({other: 1, stream: 1}),
    ]
    for call in calls:
        with pytest.raises(StreamError, match="the stream is closed; open another one"):
            call()
    assert alone(model, 23, seed=2) == made + tokens_of(pool, 20)[other]


def test_a_full_pool_says_so_and_takes_another_when_one_has_left(model: Model) -> None:
    pool = model.pool(limit=3)
    streams = [pool.open() for _ in range(3)]
    with pytest.raises(PoolFullError, match="the pool takes 3 streams, and as many are live; close one first"):
        pool.open()
    with pytest.raises(PoolFullError, match="the pool takes 3 streams"):
        streams[0].fork()
    streams[1].close()
    pool.open()
    assert (3, 3, 3) == (len(pool), pool.capacity, pool.limit)


def test_the_room_doubles_up_to_the_limit(model: Model) -> None:
    pool = model.pool(capacity=2, limit=7)
    rooms = []
    for _ in range(7):
        pool.open(sampler=WARM)
        pool.step()
        rooms.append(pool.capacity)
    assert [2, 2, 4, 4, 7, 7, 7] == rooms


@pytest.mark.parametrize(("capacity", "limit"), [(0, None), (-1, None), (4, 0)])
def test_a_room_that_is_not_positive_is_refused(model: Model, capacity: int, limit: int | None) -> None:
    with pytest.raises(InputError, match="capacity and limit must be positive"):
        model.pool(capacity=capacity, limit=limit)


def test_a_stream_that_cannot_be_opened_takes_no_room(model: Model) -> None:
    pool = model.pool(limit=1)
    for arguments in ({"seed": -1}, {"prompt": [99]}, {"sampler": Sampler(allowed=(99,))}, {"prompt": "☁"}):
        with pytest.raises(InputError):
            pool.open(**arguments)  # type: ignore[arg-type]
    pool.open()
    assert len(pool) == 1


def test_closing_a_pool_closes_its_streams(model: Model) -> None:
    with model.pool() as pool:
        streams = [pool.open() for _ in range(3)]
    assert all(stream.closed for stream in streams)
    assert (0, []) == (len(pool), pool.step())


def test_a_stream_of_another_pool_is_refused(model: Model) -> None:
    stranger = model.pool().open()
    with pytest.raises(StreamError, match="the stream is another pool's"):
        model.pool().feed({stranger: 1})


# Failures


def test_a_stream_whose_output_is_not_finite_fails_and_no_other(moody: Model) -> None:
    pool = moody.pool()
    streams = [pool.open(seed=seed, sampler=WARM) for seed in range(5)]
    made = tokens_of(pool, 4)
    for broken in (streams[1], streams[3]):
        broken.set_input("mood", np.full(7, 1000, np.float32))
    with pytest.raises(NotFiniteError, match="not finite in 2 of 5 streams, which are closed now") as caught:
        pool.step()
    assert {streams[1], streams[3]} == set(caught.value.streams)
    assert all(stream.closed for stream in caught.value.streams)
    results = dict(caught.value.results)
    for seed in (0, 2, 4):
        stream = streams[seed]
        tokens = [*made[stream], results[stream]]
        assert alone(moody, 5, seed=seed) == tokens
    rest = tokens_of(pool, 5)
    assert alone(moody, 10, seed=4)[5:] == rest[streams[4]]


def test_a_stream_in_its_prompt_may_give_what_is_not_finite(moody: Model) -> None:
    pool = moody.pool()
    stream = pool.open([1, 2, 3])
    stream.set_input("mood", np.full(7, 1000, np.float32))
    assert [[], []] == [pool.step(), pool.step()]
    stream.set_input("mood", np.zeros(7, np.float32))
    assert len(pool.step()) == 1


def test_an_engine_that_fails_leaves_every_stream_where_it_was(moody: Model) -> None:
    pool = moody.pool()
    streams = [pool.open([1, 2, 3, 4][: 1 + seed % 4], seed=seed, sampler=WARM) for seed in range(5)]
    made = tokens_of(pool, 6)
    streams[2].set_input("kind", np.array(99))
    before = [(stream.step_index, stream.pending) for stream in streams]
    for _ in range(3):
        with pytest.raises(EngineError, match="ONNX Runtime failed in a step"):
            pool.step()
        with pytest.raises(EngineError, match="ONNX Runtime failed in a step"):
            pool.feed(dict.fromkeys(streams, 1))
    assert before == [(stream.step_index, stream.pending) for stream in streams]
    streams[2].set_input("kind", np.array(0))
    after = tokens_of(pool, 10)
    for seed, stream in enumerate(streams):
        prompt = [1, 2, 3, 4][: 1 + seed % 4]
        assert alone(moody, 17 - len(prompt), prompt=prompt, seed=seed) == made[stream] + after[stream]


def test_an_engine_that_fails_in_one_of_several_single_rows_leaves_all_where_they_were(tmp_path: Path) -> None:
    class One(Moody):
        spec = Spec(
            inputs=tuple(
                TensorSpec(each.name, each.dtype, (1, *each.shape[1:]), each.role, each.size)
                for each in Moody.spec.inputs
            ),
            outputs=(TensorSpec("logits", "float32", (1, 7), "logits"),),
            states=(StateSpec("state.h", "next_state.h", "float32", (1, 7)),),
            distribution="categorical",
            feedback=Feedback("logits", "token", start=0),
            batch=1,
        )

    model = load(export(One(), tmp_path / "one.onnx").path)
    pool = model.pool()
    streams = [pool.open(seed=seed, sampler=WARM) for seed in range(4)]
    made = tokens_of(pool, 5)
    streams[2].set_input("kind", np.array(99))
    with pytest.raises(EngineError):
        pool.step()
    streams[2].set_input("kind", np.array(0))
    after = tokens_of(pool, 5)
    for seed, stream in enumerate(streams):
        assert alone(model, 10, seed=seed) == made[stream] + after[stream]


def test_two_threads_in_one_pool_never_race(tiny_model: Callable[..., Model]) -> None:
    model = tiny_model("lstm")
    pool = model.pool()
    streams = [pool.open(seed=seed, sampler=WARM) for seed in range(16)]
    made: dict[PoolStream, list[int]] = {stream: [] for stream in streams}
    refused = threading.Event()
    stop = threading.Event()

    def step() -> None:
        while not stop.is_set():
            try:
                results = pool.step()
            except StreamError:
                refused.set()
            else:
                for stream, token in results:
                    assert isinstance(token, int)
                    made[stream].append(token)

    threads = [threading.Thread(target=step) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert refused.wait(60)
    stop.set()
    for thread in threads:
        thread.join()
    for seed, stream in enumerate(streams):
        assert sorted(alone(model, stream.step_index, seed=seed)) == sorted(made[stream])


def test_stepping_within_a_step_is_refused(model: Model) -> None:
    pool = model.pool()
    stream = pool.open()

    class Nosy(dict[PoolStream, int]):
        def values(self) -> Iterator[int]:  # type: ignore[override]
            pool.step()
            return iter([1])

    with pytest.raises(StreamError, match="the pool is in the middle of another call"):
        pool.feed(Nosy({stream: 1}))
    assert stream.step_index == 0
    assert len(pool.step()) == 1


# Sampling in the graph


@pytest.fixture(scope="module", params=["temperature", "filters"])
def sampling(
    request: pytest.FixtureRequest,
    tiny_step: Callable[[str], RecurrentLMStep],
    tiny_tokens: NDArray[np.int64],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Model]:
    """A model that samples in its graph, by its precision."""
    folder = tmp_path_factory.mktemp("sampling")
    path = export(tiny_step("gru"), folder / "m.onnx", sample=request.param).path
    recording = Recording.of_tokens("token", tiny_tokens[:50])
    small = quantize(path, folder / "int8.onnx", precision="int8", recording=recording, method="nearest").path
    return {"float32": load(path), "int8": load(small)}


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_the_graph_samples_in_a_pool_it_samples_alone(
    sampling: dict[str, Model], precision: str, seed: int
) -> None:
    model = sampling[precision]
    assert model.spec.graph_sampler is not None
    schedule = Schedule(model, seed)
    schedule.run(300)
    assert schedule.yielded > 300


def test_a_graph_that_samples_marks_the_stream_whose_output_is_not_finite(tmp_path: Path) -> None:
    model = load(export(Moody(), tmp_path / "m.onnx", sample="temperature").path)
    pool = model.pool()
    streams = [pool.open(seed=seed, sampler=SAMPLERS[seed % 2]) for seed in range(4)]
    made = tokens_of(pool, 3)
    streams[2].set_input("mood", np.full(7, 1000, np.float32))
    with pytest.raises(NotFiniteError) as caught:
        pool.step()
    assert (streams[2],) == caught.value.streams
    after = tokens_of(pool, 3)
    for seed in (0, 1, 3):
        tokens = [*made[streams[seed]], dict(caught.value.results)[streams[seed]], *after[streams[seed]]]
        assert alone(model, 7, seed=seed, sampler=SAMPLERS[seed % 2]) == tokens


class Ending(nn.Module):
    """A generative model that looks ahead, so that its sequences can be ended."""

    spec = Spec(
        inputs=(
            TensorSpec("token", "int64", (BATCH,), "token"),
            TensorSpec("flush", "int64", (BATCH,), "control"),
        ),
        outputs=(TensorSpec("logits", "float32", (BATCH, 7), "logits"),),
        states=(StateSpec("state.h", "next_state.h", "float32", (BATCH, 7)),),
        distribution="categorical",
        feedback=Feedback("logits", "token", start=0),
        delay_steps=1,
    )

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(7, 7)

    def forward(self, token: Tensor, flush: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        after = torch.tanh(self.embedding(token) * (1 - flush[:, None]) + 0.5 * h)
        return 3 * after + h, after


def test_a_state_that_has_ended_takes_no_prompt_and_leaves_no_slot_behind(tmp_path: Path) -> None:
    pool = load(export(Ending(), tmp_path / "m.onnx").path).pool(limit=1)
    first = pool.open([1, 2, 3])
    tokens_of(pool, 3)
    first.flush()
    ended = first.snapshot()
    first.close()
    for _ in range(2):
        with pytest.raises(InputError, match="has ended with flush"):
            pool.open([1], state=ended)
        assert len(pool) == 0
    assert len(tokens_of(pool, 1)) == 0
    pool.open([1])


def test_what_a_stream_left_in_its_inputs_does_not_lie_in_the_row_that_fills_up(tmp_path: Path) -> None:
    source = export(Moody(), tmp_path / "m.onnx").path
    proto, spec, _ = read_model(source)
    write_spec(proto, replace(spec, precision="int8"))  # so that the pool steps an even number of rows
    model = Model(OrtEngine(proto.SerializeToString()))
    pool = model.pool()
    good, bad = pool.open(seed=1), pool.open(seed=2)
    bad.set_input("kind", np.array(KINDS + 90))
    with pytest.raises(EngineError):
        pool.step()
    bad.close()
    assert len(tokens_of(pool, 3)[good]) == 3


def test_a_sampler_that_allows_foreign_tokens_is_refused_before_anything_is_fed(model: Model) -> None:
    foreign = Sampler(0.8, allowed=(10**6,))
    stream = model.stream()
    stream.prefill([1, 2])
    with pytest.raises(InputError, match="allowed has token 1000000; the vocabulary ends at 21"):
        stream.sampler = foreign
    assert (stream.step_index, stream.sampler) == (1, GREEDY)
    with pytest.raises(InputError, match="allowed has token"):
        model.stream(sampler=foreign)
    state = replace(stream.snapshot(), sampler=foreign)
    pooled = model.pool().open()
    for restore in (stream.restore, pooled.restore):
        with pytest.raises(StateError, match="the state's sampler does not fit the model"):
            restore(state)
