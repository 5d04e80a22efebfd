"""The source of a compiled model in C."""

import re
from collections.abc import Iterator, Sequence

from edgernn_export.compile.arranging import buffers_in_memory, reads_of, writes_of
from edgernn_export.compile.fragments import fragment
from edgernn_export.compile.kernels import kernel_text
from edgernn_export.compile.literals import definition, literal
from edgernn_export.compile.program import C_TYPES, Buffer, Call, Loop, Program, Tensor
from edgernn_export.compile.writing.functions import (
    Function,
    call_line,
    declaration,
    function_lines,
    functions_of,
)
from edgernn_export.compile.writing.interface import Interface, beside
from edgernn_export.compile.writing.wrapping import wrapped
from edgernn_runtime.codecs.text import ByteCodec, TextCodec

_PREAMBLE = """
#if (defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
#error "weights are stored with the least significant byte first"
#endif
#if (defined(__clang__) && __clang_major__ >= 21) || (!defined(__clang__) && defined(__GNUC__) && __GNUC__ >= 15)
#pragma GCC diagnostic ignored "-Wunterminated-string-initialization" /* weights are bytes, not strings */
#endif
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__)
#error "-ffast-math and its parts change results: exp_f32 and others rely on the order of additions; leave them out"
#endif
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0
#error "-ffinite-math-only hides the NaN of a broken model; leave it out"
#endif
#if FLT_EVAL_METHOD < 0 || FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2
#error "floats must be computed as floats; on x86 with -msse2 -mfpmath=sse"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#if __clang_major__ >= 13
#pragma clang fp reassociate(off)
#endif
#endif
#if defined(__GNUC__)
#define ALIGNED __attribute__((aligned(64)))
#else
#define ALIGNED
#endif"""


def source(interface: Interface) -> str:
    """Return the text of the source."""
    functions = functions_of(interface.program)
    code = [*_begin(interface), *_data(interface), *_code(interface, functions)]
    return "\n".join([*code, ""])


def _begin(interface: Interface) -> Iterator[str]:
    """Yield what stands in front: what is included, and the kernels."""
    yield f'#include "{interface.name}.h"'
    yield ""
    yield "#include <float.h>"
    yield "#include <math.h>"
    yield "#include <string.h>"
    yield _PREAMBLE
    kernels = _kernels(interface)
    if kernels:
        yield ""
        yield kernel_text(kernels).rstrip()


def _data(interface: Interface) -> Iterator[str]:
    """Yield the constants."""
    yield ""
    yield "/* clang-format off */"
    yield ""
    for buffer in (*constants_of(interface.program), *_initial(interface).values()):
        yield from definition(buffer)
        yield ""
    if interface.generates and interface.spec.text_codec is not None:
        yield f"const char *const {interface.name}_texts[{interface.name.upper()}_VOCABULARY] = {{"
        yield from (f'    "{c_string(piece)}",' for piece in token_texts(interface.spec.text_codec))
        yield "};"
        yield ""
    yield "/* clang-format on */"


def _code(interface: Interface, functions: Sequence[Function]) -> Iterator[str]:
    """Yield the functions, each line as long as a page is wide at most."""
    arrays = buffers_in_memory(interface.program)
    parts = [function_lines(each, arrays, interface.name) for each in functions]
    parts += [[*_reset(interface)], [*_step(interface, functions)]]
    if interface.generates:
        parts += [[*_stream(interface)]]
    parts += [[*_library(interface)]]
    for part in parts:
        yield ""
        yield from wrapped(line for each in part for line in each.splitlines())


def constants_of(program: Program) -> list[Buffer]:
    """Return the constants that a step reads from memory, in the order in which it does."""
    found = [buffer for each in program.statements for buffer, _ in reads_of(each) if buffer.array is not None]
    in_calls = {buffer for each in program.statements if isinstance(each, Call) for buffer, _ in reads_of(each)}
    return [each for each in dict.fromkeys(found) if each.size > 1 or each in in_calls]


def _kernels(interface: Interface) -> set[str]:
    names = {"exp_f32", "ordered_bits", "rank_tokens"} if interface.generates else set()
    for each in interface.program.statements:
        if isinstance(each, Loop):
            names.update(name for _, value in each.stores for name in _called(value))
        else:
            names.update(each.kernels)
    return names


def _called(tensor: Tensor) -> set[str]:
    """Return the kernels that an expression calls."""
    source = tensor.source
    if isinstance(source, Buffer):
        return set()
    inner = (name for operand in source.operands for name in _called(operand))
    return {*re.findall(r"\w+_f32(?=\()", source.template), *inner}


def _reset(interface: Interface) -> Iterator[str]:
    name = interface.name
    yield f"void {name}_reset({name}_state *state) {{"
    yield "    memset(state, 0, sizeof *state);"
    for state, buffer in zip(interface.spec.states, interface.program.states, strict=True):
        initial = state.initial_array(1).reshape(-1)
        if (initial == 0).all():
            continue
        if (initial == initial[0]).all():
            yield f"    for (int i = 0; i < {buffer.size}; ++i) {{"
            yield f"        state->{buffer.name}[i] = {literal(initial[0])};"
            yield "    }"
            continue
        constant = _initial(interface)[buffer]
        yield f"    memcpy(state->{buffer.name}, {constant.reference}, sizeof state->{buffer.name});"
    yield "}"


def _initial(interface: Interface) -> dict[Buffer, Buffer]:
    """Return the constants that states begin with whose numbers differ, by the state."""
    pairs = zip(interface.spec.states, interface.program.states, strict=True)
    arrays = {buffer: state.initial_array(1).reshape(-1) for state, buffer in pairs}
    return {
        buffer: Buffer(f"initial_{buffer.name}", buffer.dtype, buffer.size, "constant", array)
        for buffer, array in arrays.items()
        if (array != array[0]).any()
    }


def _step(interface: Interface, functions: Sequence[Function]) -> Iterator[str]:
    program, name = interface.program, interface.name
    inside = {buffer for function in functions for buffer in function.arrays}
    used = {buffer for each in program.statements for buffer, _ in (*reads_of(each), *writes_of(each))}
    shared = [buffer for function in functions for buffer in function.arguments if buffer.kind == "scratch"]
    yield f"int {name}_step({name}_state *state, {interface.parameters()}) {{"
    for buffer in program.inputs:
        if buffer.name in program.bounds:
            yield f"    {_check(buffer, *program.bounds[buffer.name])}"
    yield from (f"    {declaration(each)};" for each in dict.fromkeys(shared) if each not in inside)
    yield from (f"    (void){each.name};" for each in program.inputs if each not in used)
    if not any(function.state for function in functions):
        yield "    (void)state;"
    yield from (f"    {call_line(function, name)}" for function in functions)
    yield "    return 0;"
    yield "}"


def _check(buffer: Buffer, least: int, size: int) -> str:
    """Return the statement that refuses integers that index no row."""
    if buffer.kind == "value":
        return f"if ({buffer.name} < {least} || {buffer.name} >= {size}) {{\n        return -1;\n    }}"
    return (
        f"for (int i = 0; i < {buffer.size}; ++i) {{\n"
        f"        if ({buffer.name}[i] < {least} || {buffer.name}[i] >= {size}) {{\n"
        "            return -1;\n        }\n    }"
    )


def _stream(interface: Interface) -> Iterator[str]:
    name = interface.name
    yield f"#define {name.upper()}_FIRST {interface.first}"
    yield ""
    yield fragment("noise", name).rstrip()
    yield ""
    yield fragment("sampling", name).rstrip()
    yield ""
    yield "/* One step of a stream with a token. */"
    yield f"static int {name}_stream_step({name}_stream *stream, int32_t token, float *result) {{"
    others = beside(interface)
    spec, program = interface.spec, interface.program
    arguments = []
    for buffer in program.inputs:
        if buffer not in others:
            arguments.append("token" if buffer.kind == "value" else "&token")
        else:
            field = f"stream->input_{buffer.name}"
            arguments.append(f"{field}[0]" if buffer.kind == "value" else field)
    for tensor, buffer in zip(spec.outputs, program.outputs, strict=True):
        if tensor.name == spec.main_output.name:
            arguments.append("result")
        else:
            yield f"    {declaration(buffer)};"
            arguments.append(buffer.name)
    yield f"    return {name}_step(&stream->state, {', '.join(arguments)});"
    yield "}"
    yield ""
    yield fragment("stream", name).rstrip()
    if spec.text_codec is not None:
        yield ""
        yield fragment("text", name).rstrip()


def c_string(piece: bytes) -> str:
    r"""Return bytes as they stand between the quotes of a string in C.

    >>> c_string(b'a"?')
    'a\\042\\077'
    """
    plain = frozenset(range(32, 127)) - frozenset(b'"\\?')
    return "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in piece)


def token_texts(codec: TextCodec) -> list[bytes]:
    """Return the UTF-8 of each token; empty for those that are no text."""
    if isinstance(codec, ByteCodec):
        return [bytes((byte,)) for byte in range(codec.size)]
    return [codec.decode(token, b"")[0].encode() for token in range(codec.size)]


def _library(interface: Interface) -> Iterator[str]:
    """Yield what a library has beside the model: the functions that the runtimes call."""
    name, program, spec = interface.name, interface.program, interface.spec
    yield fragment("library_call", name)
    yield f"static int {name}_accepts_row(const edgernn_call *call, size_t row) {{"
    bounded = [(i, each) for i, each in enumerate(program.inputs) if each.name in program.bounds]
    for i, each in bounded:
        least, size = program.bounds[each.name]
        kind = C_TYPES[each.dtype]
        yield f"    const {kind} *{each.name} = (const {kind} *)call->inputs[{i}] + row * {each.size};"
        yield f"    for (int i = 0; i < {each.size}; ++i) {{"
        yield f"        if ({each.name}[i] < {least} || {each.name}[i] >= {size}) {{"
        yield "            return 0;"
        yield "        }"
        yield "    }"
    if not bounded:
        yield "    (void)call;\n    (void)row;"
    yield "    return 1;\n}\n"
    yield f"static void {name}_run_row(const edgernn_call *call, size_t row) {{"
    yield f"    {name}_state *state = ({name}_state *)((char *)call->states + row * edgernn_state_bytes());"
    arguments = [
        f"{'*' if each.kind == 'value' else ''}((const {C_TYPES[each.dtype]} *)call->inputs[{i}] + row * {each.size})"
        for i, each in enumerate(program.inputs)
    ] + [f"({C_TYPES[each.dtype]} *)call->outputs[{i}] + row * {each.size}" for i, each in enumerate(program.outputs)]
    yield f"    {name}_step(state, {', '.join(arguments)});"
    yield "}"
    yield ""
    yield fragment("library", name)
    offsets = [f"offsetof({name}_state, {each.name})" for each in program.states] or ["0"]
    yield "uint32_t edgernn_state_offset(uint32_t state) {"
    yield "    /* clang-format off */"
    yield "    static const uint32_t offsets[] = {"
    yield from (f"        {each}," for each in offsets)
    yield "    };"
    yield "    /* clang-format on */"
    yield "    return offsets[state];\n}\n"
    if interface.generates:
        main = [each.name for each in spec.inputs].index(spec.main_input.name)
        token = program.inputs[main]
        logits = [each.name for each in spec.outputs].index(spec.main_output.name)
        yield f"#define {name.upper()}_LOGITS {logits}\n"
        yield f"static void {name}_set_token(const edgernn_call *call, int64_t token) {{"
        yield f"    *({C_TYPES[token.dtype]} *)(uintptr_t)call->inputs[{main}] = ({C_TYPES[token.dtype]})token;\n}}\n"
        yield fragment("library_tokens", name)
        if spec.text_codec is not None:
            yield fragment("library_text", name)
    yield "#endif"
