"""Space: which settings are searched, and among which values."""

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import NoneType
from typing import TYPE_CHECKING, Final, Literal, cast, get_args, get_origin

from edgernn.tasks.settings import Settings, described
from edgernn_runtime.errors import InputError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Value = bool | int | float | str

_BUDGET: Final = {"max_steps": "trial-steps", "max_seconds": "trial-seconds"}
_UNSEARCHED: Final = ("data", "seed", *_BUDGET)
_AS: Final = "as in hidden=64..512/32, learning_rate=1e-3..1e-2, cell=lstm,gru or l1=0,1e-7..1e-5"
_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers from one to another.

    Attributes:
        low: The smallest.
        high: The largest.
        step: How far they are apart; None for all of them.
        whole: Whether they are integers.
    """

    low: float
    high: float
    step: float | None
    whole: bool

    @property
    def log(self) -> bool:
        """Whether equal factors are equally likely: where it begins above 0, and has no steps."""
        return self.step is None and self.low > 0

    def holds(self, value: object) -> bool:
        """Return whether a value is one of its numbers."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def suggest(self, trial: "BaseTrial", name: str) -> int | float:
        """Return the number that a trial is to have."""
        if self.whole:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(name, int(self.low), int(self.high), step=step, log=self.log)
        return round(trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log), _DIGITS)

    def __str__(self) -> str:
        """Return it as it is written.

        >>> str(Span(64, 512, 32, whole=True))
        '64..512/32'
        """
        low, high = (_said(each, whole=self.whole) for each in (self.low, self.high))
        return f"{low}..{high}" + ("" if self.step is None else f"/{_said(self.step, whole=self.whole)}")


@dataclass(frozen=True, slots=True)
class Dimension:
    """The values that one setting may take.

    Attributes:
        name: The setting.
        values: Single values.
        span: Numbers beside them, as likely as any one of them; None without.
    """

    name: str
    values: tuple[Value, ...]
    span: Span | None

    def holds(self, value: object) -> bool:
        """Return whether a value is among them."""
        return value in self.values or (self.span is not None and self.span.holds(value))

    def suggest(self, trial: "BaseTrial") -> Value:
        """Return the value that a trial is to have."""
        if self.span is None:
            return cast("Value", trial.suggest_categorical(self.name, self.values))
        if self.values:
            chosen = trial.suggest_categorical(self._kind, self._kinds)
            if chosen != str(self.span):
                return self.values[self._kinds.index(chosen)]
        return self.span.suggest(trial, self.name)

    def parameters(self, value: Value) -> dict[str, Value]:
        """Return what a trial is told for `suggest` to return a value that it holds."""
        if self.span is None or not self.values:
            return {self.name: value}
        if value in self.values:
            return {self._kind: self._kinds[self.values.index(value)]}
        return {self._kind: str(self.span), self.name: value}

    @property
    def _kind(self) -> str:
        return f"{self.name} of"

    @property
    def _kinds(self) -> list[str]:
        return [*(f"{value}" for value in self.values), str(self.span)]

    def __str__(self) -> str:
        """Return it as it is written after `--try`."""
        words = [_word(value) for value in self.values]
        return f"{self.name}=" + ",".join([*words, *([] if self.span is None else [str(self.span)])])


@dataclass(frozen=True, slots=True)
class Space:
    """The settings that are searched, each on its own."""

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The settings."""
        return tuple(each.name for each in self.dimensions)

    def suggest(self, trial: "BaseTrial", around: Settings, *, default: bool) -> dict[str, Value]:
        """Return the values of a trial.

        Args:
            trial: The trial.
            around: The default settings.
            default: Whether it is the trial of the defaults, which keep their values where the space lacks them.
        """
        found: dict[str, Value] = {}
        for each in self.dimensions:
            value = getattr(around, each.name)
            found[each.name] = value if default and not each.holds(value) else each.suggest(trial)
        return found

    def parameters(self, settings: Settings) -> dict[str, Value]:
        """Return what a trial is told to have the values of settings, those outside the space left out."""
        values = [(each, getattr(settings, each.name)) for each in self.dimensions]
        return {name: part for each, value in values if each.holds(value) for name, part in _told(each, value)}


def read_space(settings: Settings, tried: Sequence[str], *, fixed: Sequence[str] = ()) -> Space:
    """Return the space of a search.

    What is tried replaces or adds to what a task searches by itself: cell, hidden, layers, learning rate, dropout, L1
    and L2, around their defaults, but for those of which it refuses the values.

    Args:
        settings: The default settings.
        tried: What the user tries, as in `hidden=64..512/32`.
        fixed: The settings that are not searched.

    Raises:
        InputError: If something tried cannot be read, is no setting or fixed, or nothing is left to search.
    """
    found: dict[str, Dimension] = {}
    for text in own_space(settings):
        with contextlib.suppress(InputError):
            found |= {each.name: each for each in [_read(settings, text)] if each.name not in fixed}
    named: set[str] = set()
    for text in tried:
        each = _read(settings, text)
        if each.name in named:
            raise InputError(f"{each.name} is tried twice; give all its values at once, as in {each.name}=1,2,4..8")
        if each.name in fixed:
            raise InputError(f"{each.name} is given and tried; leave out one of both")
        named.add(each.name)
        found[each.name] = each
    if not found:
        raise InputError("every setting is given, so nothing is left to search; leave some out, or --try others")
    return Space(tuple(found.values()))


def read_dimensions(settings: Settings, texts: Iterable[str]) -> Space:
    """Return the space that its dimensions' texts describe; errors as in `read_space`."""
    return Space(tuple(_read(settings, text) for text in texts))


def own_space(settings: Settings) -> list[str]:
    """Return what a task searches by itself, around its defaults.

    >>> own_space(Settings())[:3]
    ['cell=lstm,gru', 'hidden=64..512/32', 'layers=1..3/1']
    """
    rate = settings.learning_rate
    cells = ",".join(dict.fromkeys(["lstm", "gru", settings.cell]))
    return [
        f"cell={cells}",
        f"hidden={_around(settings.hidden)}",
        f"layers=1..{max(3, settings.layers)}/1",
        f"learning_rate={rate / 4:g}..{rate * 4:g}",
        "dropout=0..0.5/0.05",
        "l1=0,1e-7..1e-5",
        "l2=0,1e-7..1e-4",
    ]


def in_words(values: Mapping[str, Value]) -> str:
    """Return the values of a trial as a line reads.

    >>> in_words({"cell": "gru", "learning_rate": 0.0123456})
    'cell gru, learning_rate 0.01235'
    """
    return ", ".join(f"{name} {short(value)}" for name, value in values.items())


def short(value: Value) -> str:
    """Return a value in few digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _told(dimension: Dimension, value: Value) -> Iterable[tuple[str, Value]]:
    return dimension.parameters(value).items()


def _around(size: int) -> str:
    """Return sizes from about a quarter to the double of one, in steps of a power of two that reach it.

    >>> _around(256), _around(192), _around(24), _around(1)
    ('64..512/32', '48..384/16', '6..48/2', '1..2/1')
    """
    step = 2 ** max(0, int(math.log2(max(size, 8) / 8)))
    low = size - step * int((size - size / 4) // step)
    return f"{low}..{size + step * -(-size // step)}/{step}"


def _read(settings: Settings, text: str) -> Dimension:
    """Return the values that a text such as `hidden=64..512/32` says a setting may take."""
    name, equals, words = text.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    known = described(type(settings))
    if not equals or not words.strip():
        raise InputError(f"{text!r} does not say which values are tried; write {_AS}")
    if name not in known:
        raise InputError(f"there is no setting {name} to try; there are {', '.join(_searchable(settings))}")
    if name in _BUDGET:
        raise InputError(f"{name} is the same for every trial; give it with --{_BUDGET[name]}")
    if name not in _searchable(settings):
        raise InputError(f"{name} cannot be tried, only given")
    kinds = _kinds(known[name][0])
    spans, values = [], []
    for word in (each.strip() for each in words.split(",")):
        if ".." in word:
            spans.append(_read_span(name, word, kinds))
        else:
            values.append(_read_value(name, word, kinds))
    if len(spans) > 1:
        raise InputError(f"{name} has {len(spans)} ranges; give one, and single values beside it, {_AS}")
    ends = [end for span in spans for end in (span.low, span.high)]
    for value in [*values, *(int(end) if spans[0].whole else end for end in ends)]:
        replace(settings, **{name: value})  # type: ignore[arg-type]
    if len(set(values)) < len(values):
        raise InputError(f"{name} is tried with the same value twice: {words}")
    return Dimension(name, tuple(values), spans[0] if spans else None)


def _searchable(settings: Settings) -> list[str]:
    return [field.name for field in fields(settings) if field.name not in _UNSEARCHED]


def _kinds(kind: object) -> tuple[object, ...]:
    """Return the types that a setting takes; the choices of a literal count as text."""
    parts = get_args(kind) if get_origin(kind) not in (None, Literal) else (kind,)
    return tuple(str if get_origin(part) is Literal else part for part in parts if part is not NoneType)


def _read_value(name: str, word: str, kinds: Sequence[object]) -> Value:
    readers: Mapping[object, tuple[str, object]] = {
        bool: ("true or false", {"true": True, "false": False}.get),
        int: ("an integer", _whole),
        float: ("a number", _number),
        str: ("text", str),
    }
    for kind in kinds:
        said, reader = readers.get(kind, ("", None))
        if callable(reader):
            value = reader(word)
            if value is None or word == "":
                raise InputError(f"{name} must be {said}, got {word!r}; write values {_AS}")
            return cast("Value", value)
    raise InputError(f"{name} cannot be tried, only given")


def _read_span(name: str, word: str, kinds: Sequence[object]) -> Span:
    ends, _, step = word.partition("/")
    low, _, high = ends.partition("..")
    if not {int, float} & set(kinds):
        raise InputError(f"{name} is no number and has no range {word}; name its values, as in {name}=A,B")
    whole = int in kinds
    numbers = [_whole(each) if whole else _number(each) for each in (low, high, *([step] if "/" in word else []))]
    if None in numbers:
        kind = "integers" if whole else "numbers"
        raise InputError(f"{name} must be tried between {kind}, got {word!r}; write LOW..HIGH or LOW..HIGH/STEP")
    first, last, *steps = (each for each in numbers if each is not None)
    if not first < last:
        raise InputError(f"{name} must be tried from a smaller to a larger value, got {word}")
    if steps and not 0 < steps[0] <= last - first:
        raise InputError(f"the step of {name} must be above 0 and no longer than its range, got {word}")
    if steps:
        last = round(first + steps[0] * math.floor((last - first) / steps[0] + 1e-9), _DIGITS)
    return Span(first, last, steps[0] if steps else None, whole=whole)


def _word(value: Value) -> str:
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    return _said(value, whole=isinstance(value, int))


def _said(number: float, *, whole: bool) -> str:
    """Return a number so that it reads back exactly."""
    short = f"{number:g}"
    return str(int(number)) if whole else short if float(short) == number else repr(float(number))


def _whole(word: str) -> int | None:
    try:
        return int(word)
    except ValueError:
        return None


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
