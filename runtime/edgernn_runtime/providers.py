"""Execution providers: short names, what this machine offers, and what stands in the way.

A requested provider is a promise. It is resolved here to its full name, checked against what the
installed ONNX Runtime has, and checked once more by the engine after the session is made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgernn_runtime.errors import ProviderError

SHORT_NAMES: Final[Mapping[str, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "nv-tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "dnnl": "DnnlExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "vitisai": "VitisAIExecutionProvider",
    "acl": "ACLExecutionProvider",
    "cann": "CANNExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "webnn": "WebNNExecutionProvider",
}
"""Full names of execution providers by the short names that `load` and the command line take."""

PACKAGES: Final[Mapping[str, str]] = {
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "DmlExecutionProvider": "onnxruntime-directml",
    "QNNExecutionProvider": "onnxruntime-qnn",
    "MIGraphXExecutionProvider": "onnxruntime-migraphx",
    "CANNExecutionProvider": "onnxruntime-cann",
    "WebGpuExecutionProvider": "onnxruntime-webgpu",
}
"""The Python package that brings a provider, where there is one."""

_DISTRIBUTIONS: Final = ("onnxruntime", *sorted(set(PACKAGES.values())))

ProviderRequest = str | tuple[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider as a session is asked for it.

    Attributes:
        name: The full name.
        options: The provider's own options, as strings.
    """

    name: str
    options: tuple[tuple[str, str], ...] = ()


CPU: Final = Provider("CPUExecutionProvider")


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """What this machine offers of one provider.

    Attributes:
        name: The short name where there is one, else the full name.
        available: Whether the installed ONNX Runtime was built with it.
        version: The version of ONNX Runtime.
        devices: The devices that ONNX Runtime lists for it.
        fix: What to do if it is missing or broken; None if nothing is known to be wrong.
    """

    name: str
    available: bool
    version: str
    devices: tuple[str, ...]
    fix: str | None


def resolve(requests: str | Sequence[ProviderRequest]) -> tuple[Provider, ...]:
    """Return the providers that `requests` names, checked against this machine.

    Args:
        requests: One name, or several of them in order of preference: short names, full names, or pairs of a name
            and the provider's options.

    Raises:
        ProviderError: If a name is unknown or named twice, or the installed ONNX Runtime lacks the provider.
    """
    if not requests:
        raise ProviderError(f"name at least one provider: {', '.join(available())}")
    resolved = tuple(_resolve_one(request) for request in ([requests] if isinstance(requests, str) else requests))
    if len({provider.name for provider in resolved}) < len(resolved):
        raise ProviderError(f"a provider is named twice: {', '.join(short_name(each.name) for each in resolved)}")
    return resolved


def available() -> tuple[str, ...]:
    """Return the providers of the installed ONNX Runtime, by short name where there is one."""
    import onnxruntime  # noqa: PLC0415, costs the cold start of compiled code 50 ms, and that has no need of it

    return tuple(short_name(name) for name in onnxruntime.get_available_providers())


def short_name(name: str) -> str:
    """Return the short name of a provider's full name; the name itself if it has none.

    >>> short_name("CUDAExecutionProvider")
    'cuda'
    """
    return next((short for short, full in SHORT_NAMES.items() if full == name), name)


def report() -> tuple[ProviderReport, ...]:
    """Return what this machine offers, available providers first, then the other known ones."""
    import onnxruntime  # noqa: PLC0415, as in `available`

    offered = onnxruntime.get_available_providers()
    names = [*offered, *(name for name in SHORT_NAMES.values() if name not in offered)]
    conflict = packaging_conflict(installed_distributions())
    return tuple(
        ProviderReport(
            name=short_name(name),
            available=name in offered,
            version=onnxruntime.__version__,
            devices=_devices(name),
            fix=conflict or (None if name in offered else _remedy(name)),
        )
        for name in names
    )


def installed_distributions() -> tuple[str, ...]:
    """Return which distributions of ONNX Runtime are installed in this environment."""
    return tuple(name for name in _DISTRIBUTIONS if _is_installed(name))


def packaging_conflict(distributions: Sequence[str]) -> str | None:
    """Return how to mend an environment with several distributions of ONNX Runtime, or None.

    All of them install into the same folder, so each overwrites the files of the one before it.

    >>> packaging_conflict(["onnxruntime"]) is None
    True
    """
    if len(distributions) < 2:
        return None
    wanted = next(name for name in distributions if name != "onnxruntime")
    return (
        f"{' and '.join(distributions)} overwrite each other; "
        f"run: pip uninstall -y {' '.join(distributions)} && pip install {wanted}"
    )


def _resolve_one(request: ProviderRequest) -> Provider:
    import onnxruntime  # noqa: PLC0415, as in `available`

    name, options = (request, {}) if isinstance(request, str) else request
    full = SHORT_NAMES.get(name.lower(), name)
    if full not in onnxruntime.get_all_providers():
        raise ProviderError(f"no provider is called {name}; known are {', '.join(SHORT_NAMES)}")
    if full not in onnxruntime.get_available_providers():
        raise ProviderError(
            f"provider {name} is not in this ONNX Runtime {onnxruntime.__version__}, "
            f"which has {', '.join(available())}; {_remedy(full)}"
        )
    return Provider(full, tuple((str(key), str(value)) for key, value in options.items()))


def _remedy(name: str) -> str:
    conflict = packaging_conflict(installed_distributions())
    if conflict:
        return conflict
    if name in PACKAGES:
        return f"run: pip uninstall -y onnxruntime && pip install {PACKAGES[name]}"
    return "it needs an ONNX Runtime built with it"


def _devices(name: str) -> tuple[str, ...]:
    import onnxruntime  # noqa: PLC0415, as in `available`

    found = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    return tuple(f"{device.device.type.name.lower()} ({device.ep_vendor})" for device in found)


def _is_installed(name: str) -> bool:
    from importlib import metadata  # noqa: PLC0415, costs a cold start 18 ms, and only errors and reports need it

    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
