"""Stream: one live generation, the mutable one."""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, SupportsIndex, cast

import numpy as np
from numpy.typing import NDArray

from edgernn_runtime.alone import Alone
from edgernn_runtime.distributions import UNIFORMS, draw, normals
from edgernn_runtime.engine import Array, Choosing, Executor
from edgernn_runtime.errors import EngineError, InputError, StateError
from edgernn_runtime.feeding import ENDED, Feeding
from edgernn_runtime.graph_noise import GraphNoise
from edgernn_runtime.graph_sampler import CUMULATIVE, NEXT_TOKEN, NOISE, set_sampler
from edgernn_runtime.noise import Noise
from edgernn_runtime.sampling import GRAIN, REMEMBERED, Sampler
from edgernn_runtime.spec import Spec, flush_input
from edgernn_runtime.state import State

_LATENT_STEP: Final = 2**63
"""The step whose noise a latent is made of; no stream gets so far."""

_FAILED: Final = -1
"""What an engine that chooses tokens returns if it took no step."""

_TWO_THREADS: Final = "another thread is stepping this stream; a stream is for one thread at a time"


class Stream:
    """One live generation. Mutable, and for one thread at a time; `Model.stream` makes one.

    A second thread that steps it meanwhile gets a `StreamError`, and changes nothing.

    A token or frame that was given or chosen and not yet fed to the model is *pending*. It is fed by whatever
    comes next, so a stream that is cut between two of them and restored continues exactly.
    """

    def __init__(
        self,
        spec: Spec,
        model_id: str,
        executor: Callable[[int], Executor],
        *,
        seed: int,
        sampler: Sampler,
    ) -> None:
        """Start at the initial state; `executor` is called with the batch size, 1."""
        self._noise = Noise(seed)
        self._graph = spec.graph_sampler
        self._spec = spec
        self._model_id = model_id
        self._new_executor = executor
        self._executor = executor(1)
        self._feeding = Feeding(spec)
        self._checked = self._feeding.token if spec.vocabulary else self._feeding.frame
        self._drawing = GraphNoise(spec)
        self._advance = self._executor.run if not spec.noise_inputs else self._run_with_noise
        self._run = self._advance
        self._input: Array = self._executor.inputs[spec.main_input.name]
        self._output: Array = self._executor.outputs[spec.main_output.name]
        self._row: Array = self._output[0, ...]  # a view, also of an output of the batch alone
        self._others = [self._executor.inputs[each.name] for each in spec.side_inputs]
        self._vocabulary = spec.vocabulary
        self._text = spec.text_codec
        self._logits = cast("NDArray[np.float32]", self._row)
        self._choosing = _choosing(spec, self._executor)
        if self._graph is not None:
            self._noise_input: Array = self._executor.inputs[NOISE][0]
            self._token_output: Array = self._executor.outputs[NEXT_TOKEN]
            self._cumulative: Array = self._executor.outputs[CUMULATIVE][0]
        self._alone = Alone(_TWO_THREADS)
        self._step = 0
        self._pending: int | NDArray[np.float32] | None = None
        self._recent: deque[int | Array] = deque(maxlen=REMEMBERED)
        self._held = b""
        self.sampler = sampler

    @property
    def sampler(self) -> Sampler:
        """How tokens are chosen; another one holds from the next token on."""
        return self._sampler

    @sampler.setter
    def sampler(self, sampler: Sampler) -> None:
        self._feeding.check_sampler(sampler)
        self._sampler = sampler
        in_graph = self._graph is not None and self._graph.has(sampler)
        if self._graph is not None:
            set_sampler(self._graph, self._executor.inputs, 0, sampler)
        self._ranked = self._graph is not None and self._graph.filters
        self._warm = sampler.temperature > 0
        self._next_token = self._token_of_graph if in_graph else self._token_of_logits
        if self._choosing is not None and not sampler.adjusts:
            self._choose = self._choosing.chooser(sampler)
            self._next_token = self._token_of_engine

    @property
    def step_index(self) -> int:
        """Steps taken since the last reset."""
        return self._step

    @property
    def seed(self) -> int:
        """The seed of the noise."""
        return self._noise.seed

    def step(self, value: SupportsIndex | Array) -> Array:
        """Take one step and return the model's main output, an array of the caller's own.

        Where outputs lag by `spec.delay_steps`, the first ones belong to no input and mean nothing.

        Args:
            value: A token for a token model; for others a frame of the main input's dtype and of its
                shape without the batch.

        Returns:
            The main output without the batch, e.g. logits float32 `[vocabulary]`.

        Raises:
            InputError: If the model cannot take the value.
            EngineError: If the engine fails; the value has then not been taken.
            StreamError: If another thread is stepping the stream.
        """
        out = np.empty_like(self._row)
        self.step_into(value, out)
        return out

    def step_into(self, value: SupportsIndex | Array, out: Array) -> None:
        """Take one step and write the main output into `out`, an array of its shape without the batch.

        Raises:
            InputError: If the model cannot take the value.
            EngineError: If the engine fails; the value has then not been taken.
            StreamError: If another thread is stepping the stream.
        """
        checked = self._checked(value)
        self._alone.enter()
        try:
            self._take(checked, out)
        finally:
            self._alone.leave()

    def set_input(self, name: str, value: Array) -> None:
        """Set an input beside the main one, such as a condition; it stays until it is set again.

        A new stream has zeros there; a snapshot keeps it.

        Args:
            name: The input's name.
            value: An array of its dtype and its shape without the batch.

        Raises:
            InputError: If the model has no such input, or it is the main one, or the value does not fit.
        """
        array = self._feeding.side(name, value)
        self._executor.inputs[name][0] = array

    def draw_latents(self) -> None:
        """Set every latent of the model to standard normal numbers, those of the stream's seed."""
        lane = 0
        for tensor in self._spec.inputs:
            if tensor.role == "latent":
                size = self._executor.inputs[tensor.name][0].size
                noise = self._noise.uniforms(_LATENT_STEP, lane + 2 * size)[lane:]
                self.set_input(tensor.name, normals(noise).reshape(tensor.sized(1)[1:]))
                lane += 2 * size

    def output(self, name: str) -> Array:
        """Return a copy of an output of the last step, without the batch; KeyError if there is none."""
        return np.array(self._executor.outputs[name][0])

    def run(self, values: Sequence[int] | Array) -> Array:
        """Take the steps that `values` fill, and return the main outputs.

        Args:
            values: One token or frame a step; where a step takes several frames, `[frames, ...]`, a multiple.

        Returns:
            `[steps, ...]`, or `[frames, ...]` where a step gives several. Where outputs lag behind their inputs,
            those before the first input are left out, so that output i belongs to input i; `flush` has the rest.

        Raises:
            InputError: If the model cannot take a value; no step has been taken then.
            EngineError: If the engine fails; the steps before it have been taken.
            StreamError: If another thread is stepping the stream.
        """
        several = self._spec.main_input.frames
        if several > 1:
            array = np.asarray(values)
            if array.ndim == 0 or len(array) % several:
                raise InputError(f"a step takes {several} frames; the number of frames must be a multiple of that")
            values = array.reshape(-1, several, *array.shape[1:])
        early = max(0, self._spec.delay_steps - self._step)
        fed = self._feeding.values(values)
        outputs = np.empty((len(fed), *self._output.shape[1:]), self._output.dtype)
        with self._alone:
            for i, value in enumerate(fed):
                self._take(value, outputs[i, ...])
        return self._frames(outputs[early:])

    def flush(self) -> Array:
        """End the sequence, and return the outputs that still lag behind, laid out as `run` does.

        Nothing is left of a model that does not look ahead. Afterwards the stream takes steps again after a
        `reset` or a `restore`.

        Raises:
            EngineError: If the engine fails.
        """
        name = flush_input(self._spec)
        if name is None or self._run == self._ended:
            return self._frames(np.empty((0, *self._output.shape[1:]), self._output.dtype))
        with self._alone:
            self._executor.inputs[name][...] = 1
            self._input[...] = 0
            outputs = np.empty((self._spec.delay_steps, *self._output.shape[1:]), self._output.dtype)
            early = max(0, self._spec.delay_steps - self._step)
            try:
                for i in range(len(outputs)):
                    self._run()
                    self._step += 1
                    outputs[i] = self._row
            finally:
                self._run = self._ended
        return self._frames(outputs[early:])

    def prefill(self, prompt: str | Sequence[int] | Array) -> None:
        """Feed a prompt. What comes last stays pending, so that what follows can be chosen from it.

        Args:
            prompt: Text, if the model has a codec of text; tokens; or frames `[frames, ...]`. An empty prompt does
                nothing.

        Raises:
            InputError: If a token or character is not in the vocabulary, or a frame is not as the model takes it
                (nothing is fed then), or nothing can be generated, so that nothing could follow.
        """
        values = self._feeding.prompt(prompt)
        if len(values):
            self._held = b""
        with self._alone:
            for value in values:
                self._feed_pending()
                self._pending = value

    def generate(self, max_tokens: int, *, stop: Collection[int] | None = None) -> Iterator[int]:
        """Yield sampled tokens as they are made, each with the stream's sampler and noise.

        Without a prompt the stream begins with the model's start token. A stop token ends the
        generation; it is not yielded, but it is part of the stream, pending.

        Args:
            max_tokens: How many tokens to yield at most.
            stop: Tokens that end the generation; None for the one that the model's codec says ends it, if it has one.

        Raises:
            InputError: If the model generates no tokens, what stops it is none of its tokens, or there is neither a
                prompt nor a start token.
        """
        if not self._vocabulary:
            raise InputError(
                "the model does not generate tokens: "
                + ("its Spec has no feedback" if self._spec.feedback is None else "it generates frames")
            )
        stops = self._feeding.stop(stop)
        for _ in range(max_tokens):
            token = self._next_token()
            if token in stops:
                self._held = b""
                return
            yield token

    def generate_frames(self, max_frames: int) -> Iterator[NDArray[np.float32]]:
        """Yield frames as they are made, each drawn from the model's distribution with the stream's noise.

        The sampler's temperature scales deviations and divides logits; 0 takes the mean, or the more probable value.

        Args:
            max_frames: How many frames to yield.

        Raises:
            InputError: If the model generates no frames, or there is neither a prompt nor a first frame.
        """
        if self._spec.feedback is None or self._vocabulary:
            raise InputError(
                "the model does not generate frames: "
                + ("it generates tokens" if self._vocabulary else "its Spec has no feedback")
            )
        for _ in range(max_frames):
            yield np.array(self._next_frame())

    def generate_text(self, max_tokens: int, *, stop: Collection[int] | None = None) -> Iterator[str]:
        """Yield generated text in pieces that never break a character; arguments as in `generate`.

        Raises:
            InputError: If the model is not generative or has no codec.
        """
        for token in self.generate(max_tokens, stop=stop):
            text = self.decode(token)
            if text:
                yield text

    def decode(self, token: int) -> str:
        """Return the text that `token` completes; a snapshot keeps what is held back of a character.

        Raises:
            InputError: If the model has no codec, or the token is not in its vocabulary.
        """
        if self._text is None:
            raise InputError("the model has no codec of text, so its tokens are not text")
        text, self._held = self._text.decode(self._feeding.token(token), self._held)
        return text

    def token_of(self, text: str) -> int:
        """Return the one token that is `text`.

        Raises:
            InputError: If the model has no codec, or `text` is not exactly one token.
        """
        tokens = self._feeding.tokens(text)
        if len(tokens) != 1:
            raise InputError(f"{text!r} is {len(tokens)} tokens; one is needed")
        return tokens[0]

    def snapshot(self) -> State:
        """Return everything that is needed to continue from here."""
        with self._alone:
            return State(
                model_id=self._model_id,
                arrays=self._executor.read_state(),
                step=self._step,
                seed=self.seed,
                sampler=self.sampler,
                pending=self._pending,
                held=self._held,
                inputs=tuple(self._others),
                recent=tuple(int(token) for token in self._recent),
            )

    def restore(self, state: State) -> None:
        """Continue from a snapshot, with its seed and its sampler.

        Raises:
            StateError: If the state is another model's or does not fit; the stream is then unchanged.
        """
        state.check(self._spec, self._model_id)
        if state.batch != 1:
            raise StateError(f"a stream takes a state of batch 1, got batch {state.batch}")
        self._feeding.check_state(state)
        with self._alone:
            self._executor.write_state(state.arrays)
            for i, array in enumerate(self._others):
                array[...] = state.inputs[i] if state.inputs else 0
            flushed = flush_input(self._spec)
            self._run = self._advance if flushed is None or not self._executor.inputs[flushed].any() else self._ended
            self._step, self._pending, self._held = state.step, state.pending, state.held
            self._recent.clear()
            self._recent.extend(state.recent)
            self.sampler = state.sampler
            self._noise = Noise(state.seed)

    def fork(self) -> "Stream":
        """Return a new stream that continues exactly like this one, and apart from it."""
        other = Stream(self._spec, self._model_id, self._new_executor, seed=self.seed, sampler=self.sampler)
        other.restore(self.snapshot())
        return other

    def reset(self, *, seed: int | None = None) -> None:
        """Go back to the initial state, with the same seed or another; the sampler stays, set inputs do not.

        Raises:
            InputError: If the seed is out of range; the stream is then unchanged.
        """
        noise = Noise(self.seed if seed is None else seed)
        with self._alone:
            self._executor.reset_row(0)
            for array in self._others:
                array[...] = 0
            self._run = self._advance
            self._step, self._pending, self._held = 0, None, b""
            self._recent.clear()
            self._noise = noise

    def _run_with_noise(self) -> None:
        drawing = self._drawing
        drawing.feed(self._executor.inputs, 0, self._noise.uniforms(self._step, drawing.lanes))
        self._executor.run()

    def _ended(self) -> None:
        raise InputError(ENDED)

    def _frames(self, outputs: Array) -> Array:
        """Return `[steps, frames, ...]` as `[steps * frames, ...]`, where a step gives several frames."""
        several = self._spec.main_output.frames
        return outputs.reshape(-1, *outputs.shape[2:]) if several > 1 else outputs

    def _take(self, value: int | Array, out: Array) -> None:
        """Feed what is pending, then a value that was checked, and write the main output into `out`."""
        if self._pending is not None:
            self._feed_pending()
        self._feed(value)
        out[...] = self._row

    def _feed(self, value: int | Array) -> None:
        self._input[0] = value
        self._run()
        self._step += 1
        if self._vocabulary:
            self._recent.append(value)

    def _feed_pending(self) -> None:
        if self._pending is not None:
            self._feed(self._pending)
            self._pending = None

    def _begin(self) -> int:
        """Feed the pending value, or else what begins a stream, and return the step whose noise comes next."""
        if self._pending is None:
            self._pending = self._feeding.start(self._step)
        step = self._step
        self._feed_pending()
        return step

    def _token_of_logits(self) -> int:
        """Feed the pending token, choose the next one from the logits, and leave that pending."""
        with self._alone:
            step = self._begin()
            self._pending = token = self._sampler.sample(
                self._logits, self._noise.uniform(step), recent=cast("deque[int]", self._recent), ranked=self._ranked
            )
            return token

    def _token_of_graph(self) -> int:
        """Feed the pending token with the noise that chooses the next one, and leave that pending."""
        self._alone.enter()
        try:
            if self._pending is None:
                self._pending = self._feeding.start(self._step)
            self._noise_input[0] = self._noise.uniform(self._step) + GRAIN if self._warm else GRAIN
            self._feed(self._pending)
            self._pending = None
            if not self._cumulative.item(-1) > 0:
                raise InputError("the model's output is not finite, so nothing can be chosen")
            token: int = self._token_output.item()
            self._pending = token
            return token
        finally:
            self._alone.leave()

    def _token_of_engine(self) -> int:
        """Let the engine feed the pending token and choose the next one, and leave that pending."""
        self._alone.enter()
        try:
            fed = cast("int | None", self._pending)
            if fed is None:
                self._pending = fed = cast("int", self._feeding.start(self._step))
            token = self._choose(fed, self._noise.uniform(self._step) if self._warm else 0.0)
            if token == _FAILED:
                raise EngineError("the engine failed in a step")
            self._step += 1
            self._recent.append(fed)
            self._pending = token if token >= 0 else None
            if token < 0:
                self._sampler.sample(self._logits, 0.0)  # raises the error that says what is wrong with them
            return token
        finally:
            self._alone.leave()

    def _next_frame(self) -> NDArray[np.float32]:
        """Feed the pending frame, draw the next one, and leave that pending."""
        with self._alone:
            step = self._begin()
            parameters = cast("NDArray[np.float32]", self._row)
            if not np.isfinite(parameters).all():
                raise InputError("the model's output is not finite, so nothing can be drawn from it")
            distribution = self._spec.distribution
            noise = self._noise.uniforms(step, UNIFORMS[distribution] * self._input[0].size)
            self._pending = frame = draw(distribution, parameters, noise, temperature=self._sampler.temperature)
            return frame


def _choosing(spec: Spec, executor: Executor) -> Choosing | None:
    """Return an executor that can choose the tokens of a stream; None if it cannot, or the graph does or draws."""
    plain = spec.draws_tokens and flush_input(spec) is None
    return executor if plain and isinstance(executor, Choosing) else None
