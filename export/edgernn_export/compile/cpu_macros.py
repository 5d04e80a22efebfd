"""The CPU features that a compiler may use, by the names that Linux gives them in `/proc/cpuinfo`."""

from collections.abc import Mapping
from typing import Final

_X86: Final[Mapping[str, str]] = {
    "__SSE3__": "pni",
    "__SSSE3__": "ssse3",
    "__SSE4_1__": "sse4_1",
    "__SSE4_2__": "sse4_2",
    "__POPCNT__": "popcnt",
    "__MOVBE__": "movbe",
    "__LZCNT__": "abm",
    "__BMI__": "bmi1",
    "__BMI2__": "bmi2",
    "__AVX__": "avx",
    "__F16C__": "f16c",
    "__FMA__": "fma",
    "__AVX2__": "avx2",
    "__AVXVNNI__": "avx_vnni",
    "__GFNI__": "gfni",
    "__AVX512F__": "avx512f",
    "__AVX512CD__": "avx512cd",
    "__AVX512BW__": "avx512bw",
    "__AVX512DQ__": "avx512dq",
    "__AVX512VL__": "avx512vl",
    "__AVX512IFMA__": "avx512ifma",
    "__AVX512VBMI__": "avx512vbmi",
    "__AVX512VBMI2__": "avx512_vbmi2",
    "__AVX512VNNI__": "avx512_vnni",
    "__AVX512BITALG__": "avx512_bitalg",
    "__AVX512VPOPCNTDQ__": "avx512_vpopcntdq",
    "__AVX512BF16__": "avx512_bf16",
    "__AVX512FP16__": "avx512_fp16",
}

_AARCH64: Final[Mapping[str, str]] = {
    "__ARM_NEON": "asimd",
    "__ARM_FEATURE_ATOMICS": "atomics",
    "__ARM_FEATURE_CRC32": "crc32",
    "__ARM_FEATURE_QRDMX": "asimdrdm",
    "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC": "asimdhp",
    "__ARM_FEATURE_DOTPROD": "asimddp",
    "__ARM_FEATURE_MATMUL_INT8": "i8mm",
    "__ARM_FEATURE_BF16": "bf16",
    "__ARM_FEATURE_SVE": "sve",
    "__ARM_FEATURE_SVE2": "sve2",
}


def features_of_macros(macros: str) -> tuple[str, ...]:
    r"""Return the CPU features that the predefined macros of a compiler stand for.

    Args:
        macros: What `cc -dM -E` prints of an empty file.

    Returns:
        Names as in `/proc/cpuinfo`; none for systems where that file says nothing one could rely on: a 32-bit Arm
        program reads there what a 64-bit kernel has to say.

    >>> features_of_macros("#define __x86_64__ 1\n#define __AVX2__ 1")
    ('avx2',)
    """
    defined = {line.split()[1] for line in macros.splitlines() if line.startswith("#define ")}
    table = _X86 if "__x86_64__" in defined else _AARCH64 if "__aarch64__" in defined else {}
    return tuple(feature for macro, feature in table.items() if macro in defined)
