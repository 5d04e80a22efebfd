"""The JSON that a Spec travels as, and its place in an ONNX file's metadata."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from types import NoneType
from typing import Final, Literal, cast, get_args, get_origin, get_type_hints

from edgernn_runtime.codecs import Codec
from edgernn_runtime.errors import SpecError
from edgernn_runtime.spec import Axis, Spec

SPEC_VERSION: Final = 3
SPEC_KEY: Final = "edgernn.spec"
MODEL_ID_KEY: Final = "edgernn.model_id"


def spec_to_json(spec: Spec) -> str:
    """Return `spec` as JSON text; equal Specs give the same text."""
    source = {"version": SPEC_VERSION, **cast("dict[str, object]", _encode(spec))}
    return json.dumps(source, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def identity_json(spec: Spec) -> str:
    """Return the JSON that goes into the model id: everything but the parity figures."""
    return spec_to_json(replace(spec, parity=None))


def spec_from_json(text: str) -> Spec:
    """Return the Spec that `spec_to_json` wrote.

    Raises:
        SpecError: If the text is no Spec, has fields that this version does not know, or was written
            by a newer version; the message names the field.
    """
    try:
        source = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{SPEC_KEY} is not JSON: {error}") from error
    if not isinstance(source, dict):
        raise SpecError(f"{SPEC_KEY} must be a JSON object, got {type(source).__name__}")
    version = source.pop("version", None)
    if type(version) is not int or version < 1:
        raise SpecError(f"{SPEC_KEY}.version must be a positive integer, got {version!r}")
    if version > SPEC_VERSION:
        raise SpecError(
            f"{SPEC_KEY}.version is {version}, this edgernn reads {SPEC_VERSION}; "
            "upgrade edgernn, or export the model with this version"
        )
    if version < SPEC_VERSION:
        raise SpecError(
            f"{SPEC_KEY}.version is {version}, of an earlier edgernn; this one reads {SPEC_VERSION}: "
            "export the model again"
        )
    return cast("Spec", _decode(Spec, source, SPEC_KEY))


def spec_from_metadata(metadata: Mapping[str, str]) -> tuple[Spec, str]:
    """Return the Spec and the model id out of an ONNX file's metadata.

    Raises:
        SpecError: If either is missing or malformed.
    """
    for key in (SPEC_KEY, MODEL_ID_KEY):
        if key not in metadata:
            raise SpecError(f"the model has no {key} in its metadata, so it is no step model; export it with edgernn")
    return spec_from_json(metadata[SPEC_KEY]), metadata[MODEL_ID_KEY]


def codec_to_json(codec: Codec) -> dict[str, object]:
    """Return a codec as a Spec holds it: its kind and its fields."""
    values = {field.name: _encode(getattr(codec, field.name)) for field in fields(codec) if field.init}
    return {"kind": codec.kind, **values}


def codec_from_json(source: Mapping[str, object]) -> Codec:
    """Return the codec that `codec_to_json` described.

    Raises:
        SpecError: If the description is of no codec that this version knows, or its fields are not its own.
    """
    kinds: dict[object, type[Codec]] = {kind.kind: kind for kind in get_args(Codec)}
    kind = source.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise SpecError(f"codec.kind must be one of {', '.join(map(str, kinds))}, got {kind!r}")
    rest = {name: value for name, value in source.items() if name != "kind"}
    return cast("Codec", _decode_dataclass(kinds[kind], rest, "codec"))


def _encode(value: object) -> object:
    if isinstance(value, Codec):
        return codec_to_json(value)
    if is_dataclass(value):
        return {field.name: _encode(getattr(value, field.name)) for field in fields(value) if field.init}
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return value


def _decode(kind: object, value: object, where: str) -> object:
    """Return `value` as the annotated type `kind`, or raise a SpecError that names `where`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if {*arguments} - {NoneType} == {*get_args(Codec)}:
        return None if value is None else codec_from_json(_object(value, where))
    if isinstance(kind, type) and is_dataclass(kind):
        return _decode_dataclass(kind, _object(value, where), where)
    if NoneType in arguments:
        kind = next(each for each in arguments if each is not NoneType)
        return None if value is None else _decode(kind, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise SpecError(f"{where} must be a list, got {value!r}")
        return tuple(_decode(arguments[0], item, f"{where}.{i}") for i, item in enumerate(value))
    if origin is Literal:
        if not any(value == each and type(value) is type(each) for each in arguments):
            raise SpecError(f"{where} must be one of {', '.join(map(str, arguments))}, got {value!r}")
        kind = type(value)
    return _decode_plain(kind, value, where)


def _decode_dataclass(kind: type, source: dict[str, object], where: str) -> object:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind) if field.init]
    unknown, missing = sorted(source.keys() - set(names)), [name for name in names if name not in source]
    if unknown:
        raise SpecError(f"{where}.{unknown[0]} is a field that this version does not know")
    if missing:
        raise SpecError(f"{where}.{missing[0]} is missing")
    return kind(**{name: _decode(hints[name], source[name], f"{where}.{name}") for name in names})


def _decode_plain(kind: object, value: object, where: str) -> object:
    accepted = {int: (int,), float: (int, float), str: (str,), Axis: (int, str)}[cast("type", kind)]
    if type(value) not in accepted:
        raise SpecError(f"{where} must be {' or '.join(each.__name__ for each in accepted)}, got {value!r}")
    return float(cast("float", value)) if kind is float else value


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SpecError(f"{where} must be a JSON object, got {value!r}")
    return value
