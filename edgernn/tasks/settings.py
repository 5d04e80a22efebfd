"""Settings: what a run is told; the options of `edgernn train` are their fields."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, ClassVar, Final, Literal, Self, get_args, get_origin, get_type_hints

from edgernn_runtime.errors import InputError

CellName = Literal["elman", "elman-relu", "lstm", "gru"]
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_LARGEST: Final = 1e18


@dataclass(frozen=True, slots=True)
class Setting:
    """What the command line says of a setting, and where it must lie; written in `Annotated` beside its type.

    Attributes:
        help: One sentence.
        least: The smallest value that is allowed; None if there is no bound.
        most: The largest.
        above: What a value must exceed.
        below: What a value must stay under.
    """

    help: str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def allows(self, value: float) -> bool:
        """Return whether a number lies where it must."""
        return not (
            (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
            or (self.above is not None and not value > self.above)
            or (self.below is not None and not value < self.below)
            or not abs(value) <= _LARGEST
        )

    @property
    def bounds(self) -> str:
        """Where a value must lie, in words."""
        named = (("at least", self.least), ("at most", self.most), ("above", self.above), ("below", self.below))
        return " and ".join(f"{word} {bound:g}" for word, bound in named if bound is not None) or "finite"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every run is told. A task adds fields to these, or gives them other defaults, in a subclass of its own.

    A field is annotated with its type and a `Setting`; another default needs the type alone.

    At least one budget is needed, and the first one reached ends a run; where neither is given, `default_seconds` is.

    Raises:
        InputError: If a value is of another type, or out of range.
    """

    default_seconds: ClassVar[float] = 150.0

    data: Annotated[Path | None, Setting("What to train on; without it, the task's own data.")] = None
    cell: Annotated[CellName, Setting("The recurrent cell.")] = "lstm"
    hidden: Annotated[int, Setting("Features of each layer.", least=1, most=2**16)] = 256
    layers: Annotated[int, Setting("The number of layers.", least=1, most=2**16)] = 2
    dropout: Annotated[float, Setting("Share of features set to zero between layers.", least=0, below=1)] = 0.1
    max_steps: Annotated[int | None, Setting("The budget in optimiser steps.", least=1)] = None
    max_seconds: Annotated[
        float | None, Setting("The budget in seconds; without a budget, a few minutes.", above=0)
    ] = None
    batch: Annotated[int, Setting("Sequences that one step trains on.", least=1)] = 32
    learning_rate: Annotated[float, Setting("The peak learning rate.", above=0)] = 4e-3
    warmup: Annotated[float, Setting("Share of the budget in which the rate rises.", least=0, below=1)] = 0.05
    weight_decay: Annotated[float, Setting("AdamW's decay of weight matrices.", least=0)] = 0.01
    l1: Annotated[float, Setting("Penalty on the absolute values of weights.", least=0)] = 0.0
    l2: Annotated[float, Setting("Penalty on the squares of weights.", least=0)] = 0.0
    clip_norm: Annotated[float, Setting("The largest norm of the gradient.", above=0)] = 1.0
    valid_every: Annotated[int, Setting("Steps between validations.", least=1)] = 200
    patience: Annotated[int, Setting("Validations without progress before an early stop; 0 never.", least=0)] = 0
    seed: Annotated[int, Setting("Seed of initialisation, dropout and the order of the data.", least=0)] = 0

    def __post_init__(self) -> None:
        """Check types and ranges, and fill in the default budget."""
        for name, (kind, setting) in described(type(self)).items():
            _check(name, getattr(self, name), kind, setting)
        if self.max_steps is None and self.max_seconds is None:
            object.__setattr__(self, "max_seconds", self.default_seconds)

    def to_json(self) -> dict[str, Json]:
        """Return the settings as JSON; paths become absolute."""
        return {
            name: str(value.absolute()) if isinstance(value, Path) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, source: dict[str, Json]) -> Self:
        """Return the settings that `to_json` described.

        Raises:
            InputError: If a setting is unknown, of another type, or out of range.
        """
        known = described(cls)
        unknown = sorted(source.keys() - known.keys())
        if unknown:
            raise InputError(f"there is no setting {unknown[0]}")
        values: dict[str, object] = {
            name: Path(value) if isinstance(value, str) and Path in get_args(known[name][0]) else value
            for name, value in source.items()
        }
        return cls(**values)  # type: ignore[arg-type]


def described(kind: type[Settings]) -> dict[str, tuple[object, Setting]]:
    """Return the type of each setting, and what is said of it, by name.

    A subclass that only gives a setting another default, as in `hidden: int = 64`, keeps what is said of it.

    Raises:
        TypeError: If nothing is said of a field.
    """
    said: dict[str, Setting] = {}
    for each in reversed(kind.__mro__):
        for name, hint in get_type_hints(each, include_extras=True).items():
            for extra in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
                if isinstance(extra, Setting):
                    said[name] = extra
    hints = get_type_hints(kind)
    missing = [field.name for field in fields(kind) if field.name not in said]
    if missing:
        raise TypeError(f"{kind.__name__}.{missing[0]} must be annotated with a Setting, as in Annotated[int, ...]")
    return {field.name: (hints[field.name], said[field.name]) for field in fields(kind)}


def _check(name: str, value: object, kind: object, setting: Setting) -> None:
    """Raise an InputError if a value is of another type than its setting's, or out of its range."""
    kinds = get_args(kind) if get_origin(kind) not in (None, Literal) else (kind,)
    if value is None and NoneType in kinds:
        return
    choices = [each for kind in kinds if get_origin(kind) is Literal for each in get_args(kind)]
    plain = tuple(kind for kind in kinds if isinstance(kind, type))
    if choices and value not in choices:
        raise InputError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
    if isinstance(value, bool) != (bool in plain) and not choices:
        raise InputError(f"{name} must be {_named(plain)}, got {value!r}")
    number = isinstance(value, int) and float in plain
    if not choices and not number and not isinstance(value, plain):
        raise InputError(f"{name} must be {_named(plain)}, got {value!r}")
    if isinstance(value, int | float) and not setting.allows(value):
        raise InputError(f"{name} must be {setting.bounds}, got {value}")


def _named(kinds: tuple[type, ...]) -> str:
    words = {
        int: "an integer",
        float: "a number",
        str: "text",
        bool: "true or false",
        Path: "a path",
        NoneType: "nothing",
    }
    return " or ".join(words.get(kind, kind.__name__) for kind in kinds if kind is not NoneType)
