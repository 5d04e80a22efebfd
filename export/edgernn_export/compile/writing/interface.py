"""The interface of a compiled model in C: what its header declares."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgernn_export.compile.program import C_TYPES, Buffer, Program
from edgernn_export.compile.writing.wrapping import wrapped
from edgernn_runtime.sampling import REMEMBERED
from edgernn_runtime.spec import Spec, flush_input

_MEANINGS: Final = {
    "FRAMES_PER_STEP": "a step takes FRAMES_PER_STEP frames",
    "DELAY_STEPS": "outputs lag DELAY_STEPS behind",
    "START": "without a prompt, START is fed first",
    "END": "nothing follows END",
    "REMEMBERED": "repetition_penalty looks REMEMBERED tokens back",
}
"""What numbers of the header are for, where their names do not say it."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A compiled model as C sees it.

    Attributes:
        name: Its name, a C identifier in lower case.
        model_id: The id of the step model.
        spec: What the model says of itself.
        program: What a step computes.
    """

    name: str
    model_id: str
    spec: Spec
    program: Program

    @property
    def generates(self) -> bool:
        """Whether it generates tokens, and so has streams in C."""
        return self.spec.draws_tokens

    @property
    def first(self) -> int:
        """The token that begins a stream without a prompt; -1 if there is none."""
        feedback = self.spec.feedback
        return -1 if feedback is None or feedback.start is None else feedback.start

    def parameters(self) -> str:
        """Return the parameters of a step after the state."""
        return ", ".join([*map(_taken, self.program.inputs), *map(_given, self.program.outputs)])

    def arguments(self) -> str:
        """Return the arguments that a step passes on by name."""
        return ", ".join(each.name for each in (*self.program.inputs, *self.program.outputs))


def header(interface: Interface) -> str:
    """Return the text of the header."""
    return "\n".join([*wrapped(line for part in _header(interface) for line in part.split("\n")), ""])


def _header(interface: Interface) -> Iterator[str]:
    name, spec = interface.name, interface.spec
    upper = name.upper()
    yield f"/* {_title(interface)}"
    yield " *"
    yield f" * Model id {interface.model_id}"
    yield from (f" * {line}".rstrip() for line in _facts(interface))
    yield " */"
    yield f"#ifndef {upper}_H"
    yield f"#define {upper}_H"
    yield ""
    yield "#include <stddef.h>"
    yield "#include <stdint.h>"
    yield ""
    yield "#ifdef __cplusplus"
    yield 'extern "C" {'
    yield "#endif"
    yield ""
    yield from _constants(interface)
    yield ""
    yield "/* What is kept between steps. */"
    yield f"typedef struct {name}_state {{"
    fields = [f"    {_given(buffer)};" for buffer in interface.program.states]
    width = max(map(len, fields), default=0)
    for text, state in zip(fields, spec.states, strict=True):
        yield f"{text:<{width}} /* {state.dtype} {list(state.sized(1)[1:])} */"
    if not spec.states:
        yield "    char none; /* the model keeps nothing */"
    yield f"}} {name}_state;"
    yield ""
    yield "/* Put a state to where every sequence begins. */"
    yield f"void {name}_reset({name}_state *state);"
    yield ""
    yield "/* Take one step. Returns 0, or -1 if an integer is out of its range; then nothing has changed."
    yield " * Arrays must not overlap. Each has a dtype, a shape, and a role:"
    buffers = (*interface.program.inputs, *interface.program.outputs)
    for tensor, buffer in zip((*spec.inputs, *spec.outputs), buffers, strict=True):
        yield f" *   {_described(buffer.name, tensor.dtype, tensor.sized(1)[1:], tensor.role)}"
    yield " */"
    yield f"int {name}_step({name}_state *state, {interface.parameters()});"
    if interface.generates:
        yield from _stream(interface)
    yield ""
    yield "#ifdef __cplusplus"
    yield "}"
    yield "#endif"
    yield ""
    yield "#endif"


def _constants(interface: Interface) -> Iterator[str]:
    upper, numbers = interface.name.upper(), _numbers(interface)
    yield f'#define {upper}_MODEL_ID "{interface.model_id}"'
    meanings = "; ".join(_MEANINGS[what] for what in numbers if what in _MEANINGS)
    if meanings:
        yield ""
        yield f"/* {meanings[0].upper()}{meanings[1:]}. */"
    yield from (f"#define {upper}_{what} {number}" for what, number in numbers.items())


def _numbers(interface: Interface) -> dict[str, object]:
    """Return the numbers that the header defines."""
    spec = interface.spec
    numbers: dict[str, object] = {}
    if spec.rate_hz is not None:
        numbers["RATE_HZ"] = repr(spec.rate_hz)
        numbers["FRAMES_PER_STEP"] = spec.frames_per_step
    if spec.delay_steps:
        numbers["DELAY_STEPS"] = spec.delay_steps
    if flush_input(spec) is not None:
        numbers["FLUSH"] = 1
    sizes = dict(zip((each.name for each in spec.inputs), interface.program.inputs, strict=True))
    sizes |= dict(zip((each.name for each in spec.outputs), interface.program.outputs, strict=True))
    if not interface.generates:
        numbers["INPUT_SIZE"] = sizes[spec.main_input.name].size
        numbers["OUTPUT_SIZE"] = sizes[spec.main_output.name].size
    if interface.generates:
        numbers["VOCABULARY"] = spec.vocabulary
        if interface.first >= 0:
            numbers["START"] = interface.first
        if spec.end is not None:
            numbers["END"] = spec.end
        numbers["REMEMBERED"] = REMEMBERED
        if spec.text_codec is not None:
            numbers["HAS_TEXTS"] = 1
    return numbers


def _stream(interface: Interface) -> Iterator[str]:
    name, upper = interface.name, interface.name.upper()
    yield f"""
/* How tokens are chosen. Temperature 0 is greedy, and below 0 nothing is chosen; top_k from 1, top_p between 0 and 1,
   and a positive repetition_penalty other than 1 take effect. */
typedef struct {name}_sampler {{
    float temperature;
    int32_t top_k;
    float top_p;
    float repetition_penalty;
}} {name}_sampler;

/* One live generation: the state, how tokens are chosen, and what is still to be fed. It holds no pointers: an
   assignment forks it, and its bytes can be kept. */
typedef struct {name}_stream {{
    {name}_state state;
    {name}_sampler sampler;
    uint64_t seed;
    uint64_t step;
    int32_t pending;     /* the token to be fed next; -1 if there is none */
    uint32_t remembered; /* how many of the last tokens are in recent */
    int32_t recent[{upper}_REMEMBERED];"""
    for buffer in beside(interface):
        yield f"    {C_TYPES[buffer.dtype]} input_{buffer.name}[{buffer.size}]; /* beside the token; zeros at first */"
    yield f"""}} {name}_stream;

/* Begin a stream, its state reset, with the noise of a seed. */
void {name}_begin({name}_stream *stream, uint64_t seed, {name}_sampler sampler);

/* Feed a prompt of count tokens. Returns 0, or -1 if one, or another integer, is out of range; then nothing is fed.
   Call it again to go on, also after tokens were taken. */
int {name}_prefill({name}_stream *stream, const int32_t *tokens, size_t count);

/* Return the next token; -1 if there is nothing to begin with, an integer beside the token is out of range, the
   temperature is below 0, or the model's output is not finite. */
int32_t {name}_next({name}_stream *stream);

/* Return the token that a sampler chooses from logits with a uniform in [0, 1); -1 if the largest is not finite. The
   penalty is for the first remembered tokens of recent, in any order; with none, recent may be NULL. */
int32_t {name}_choose(const float logits[{upper}_VOCABULARY], const {name}_sampler *sampler, float uniform,
    const int32_t *recent, uint32_t remembered);

/* Return a number in [0, 1): the noise of a seed at a step, for tokens of lane 0; the same as on every other engine. */
float {name}_uniform(uint64_t seed, uint64_t step, uint32_t lane);"""
    if interface.spec.text_codec is not None:
        yield f"""
/* The text of each token, UTF-8. */
extern const char *const {name}_texts[{upper}_VOCABULARY];

/* Return the token that a text in UTF-8 begins with, and the bytes that it takes; -1 if there is none. Of a prompt:
     for (size_t bytes; *text != 0; text += bytes) {{
         const int32_t token = {name}_token(text, &bytes);
         if (token < 0 || {name}_prefill(&stream, &token, 1) != 0) ...
     }} */
int32_t {name}_token(const char *text, size_t *bytes);"""


def beside(interface: Interface) -> list[Buffer]:
    """Return the inputs that a stream keeps beside the token."""
    main = interface.spec.main_input.name
    pairs = zip(interface.spec.inputs, interface.program.inputs, strict=True)
    return [buffer for tensor, buffer in pairs if tensor.name != main]


def _title(interface: Interface) -> str:
    spec = interface.spec
    precision = re.sub(r"[^\w.-]", "", spec.precision, flags=re.ASCII)
    what = "generates tokens" if spec.vocabulary else "generates frames" if spec.feedback else "listens"
    return f"{interface.name}: a step model that {what}, {precision}, made by edgernn compile."


def _facts(interface: Interface) -> Iterator[str]:
    spec = interface.spec
    if spec.rate_hz is not None:
        yield f"{spec.rate_hz:g} frames a second, {spec.frames_per_step} of them a step"
    if spec.delay_steps:
        yield f"outputs lag {spec.delay_steps} steps behind their inputs"
    yield ""
    yield "No function allocates memory or changes anything but its arguments, so that streams may run on any threads."
    yield f"Compile {interface.name}.c as C: cc -std=c99 -O3 -ffp-contract=off -c {interface.name}.c; link with -lm."


def _described(name: str, dtype: str, shape: tuple[int, ...], role: str) -> str:
    return f"{name}: {dtype}{list(shape) if shape else ''}, {role}"


def _taken(buffer: Buffer) -> str:
    if buffer.kind == "value":
        return f"{C_TYPES[buffer.dtype]} {buffer.name}"
    return f"const {C_TYPES[buffer.dtype]} {buffer.name}[{buffer.size}]"


def _given(buffer: Buffer) -> str:
    return f"{C_TYPES[buffer.dtype]} {buffer.name}[{buffer.size}]"
