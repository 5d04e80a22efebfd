"""SVG by hand: scales, axes and marks, as text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 720
TICKS: Final = 6


@dataclass(frozen=True, slots=True)
class Scale:
    """Where values stand along an axis.

    Attributes:
        low: The value at the start.
        high: The value at the end, above `low`.
        start: The place of `low`.
        end: The place of `high`.
        log: Whether equal factors are equally far apart; `low` is then positive.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return where a value stands; beyond the ends, at the nearer one.

        >>> Scale(1, 100, 0, 10, log=True).at(10)
        5.0
        """
        value = min(max(value, self.low), self.high)
        low, high, here = (math.log10(each) if self.log else each for each in (self.low, self.high, value))
        return self.start + (here - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> tuple[float, ...]:
        """Return round values between the ends, few enough to be read.

        >>> Scale(0, 12, 0, 1).ticks()
        (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0)
        >>> Scale(2, 3000, 0, 1, log=True).ticks()
        (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
        """
        return self._log_ticks() if self.log else self._linear_ticks(self.low, self.high)

    def _log_ticks(self) -> tuple[float, ...]:
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found: tuple[float, ...] = ()
        for digits in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
            places = (digit * 10.0**exponent for exponent in exponents for digit in digits)
            found = tuple(value for value in places if self.low <= value <= self.high)
            if len(found) <= TICKS + 1:
                break
        every = -(-len(found) // (TICKS + 1))
        return found[::every] if len(found) > 1 else self._linear_ticks(self.low, self.high)

    def _linear_ticks(self, low: float, high: float) -> tuple[float, ...]:
        rough = (high - low) / TICKS
        unit = 10 ** math.floor(math.log10(rough))
        width = next(unit * digit for digit in (1, 2, 2.5, 5, 10) if unit * digit >= rough * 0.999)
        first = math.ceil(low / width - 1e-9)
        return tuple(float(round(i * width, 12)) for i in range(first, math.floor(high / width + 1e-9) + 1))


def widened(values: Iterable[float], *, factor: float = 1.15) -> tuple[float, float]:
    """Return the ends of a log scale that holds positive values with room on both sides; 1 to 10 without any."""
    found = [value for value in values if value > 0 and math.isfinite(value)]
    if not found:
        return 1.0, 10.0
    return min(found) / factor, max(found) * factor


def number(value: float) -> str:
    """Return a number as an axis shows it.

    >>> number(12000.0), number(0.25), number(2.5e-7), number(3e6)
    ('12,000', '0.25', '2.5e-07', '3,000,000')
    """
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e7 else f"{value:.3g}"


def drawing(height: float, marks: Iterable[str], label: str) -> str:
    """Return marks as an SVG element that is as wide as its place; `label` says what it shows."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {_at(height)}" width="{WIDTH}" height="{_at(height)}" role="img" '
        f'aria-label="{escape(label)}" xmlns="http://www.w3.org/2000/svg">{"".join(marks)}</svg>'
    )


def axes(x: Scale, y: Scale, *, x_label: str, y_label: str, x_ticks: Sequence[float] | None = None) -> list[str]:
    """Return the grid and the labels of two axes; `x_ticks` are used in place of round values."""
    marks = []
    for value in y.ticks():
        place = y.at(value)
        marks.append(line([(x.start, place), (x.end, place)], "grid"))
        marks.append(text(x.start - 8, place + 4, number(value), "tick", anchor="end"))
    for value in x.ticks() if x_ticks is None else x_ticks:
        place = x.at(value)
        marks.append(line([(place, y.start), (place, y.end)], "grid"))
        marks.append(text(place, y.start + 18, number(value), "tick", anchor="middle"))
    marks.append(line([(x.start, y.start), (x.end, y.start)], "axis"))
    marks.append(text((x.start + x.end) / 2, y.start + 38, x_label, "label", anchor="middle"))
    middle = (y.start + y.end) / 2
    marks.append(
        f'<text class="label" text-anchor="middle" transform="translate(16 {_at(middle)}) rotate(-90)">'
        f"{escape(y_label)}</text>"
    )
    return marks


def line(points: Sequence[tuple[float, float]], style: str, *, color: str = "") -> str:
    """Return a line through points."""
    return f'<polyline class="{style}"{_paint("stroke", color)} points="{_points(points)}"/>'


def area(points: Sequence[tuple[float, float]], style: str, *, color: str) -> str:
    """Return a filled polygon."""
    return f'<polygon class="{style}"{_paint("fill", color)} points="{_points(points)}"/>'


def box(x: float, y: float, width: float, height: float, style: str, *, color: str, hint: str = "") -> str:
    """Return a filled rectangle; `hint` shows where a pointer rests."""
    size = f'x="{_at(x)}" y="{_at(y)}" width="{_at(max(width, 0))}" height="{_at(height)}"'
    return f'<rect class="{style}"{_paint("fill", color)} {size} rx="1.5">{_hint(hint)}</rect>'


def dot(x: float, y: float, style: str, *, color: str, radius: float = 4.5, hint: str = "") -> str:
    """Return a circle, filled with its colour or, in the style `hollow`, with the paper's."""
    paint = _paint("stroke" if style == "hollow" else "fill", color)
    return f'<circle class="{style}"{paint} cx="{_at(x)}" cy="{_at(y)}" r="{radius}">{_hint(hint)}</circle>'


def text(x: float, y: float, content: str, style: str, *, anchor: str = "start", color: str = "") -> str:
    """Return a line of text."""
    place = f'x="{_at(x)}" y="{_at(y)}" text-anchor="{anchor}"'
    return f'<text class="{style}"{_paint("fill", color)} {place}>{escape(content)}</text>'


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_at(x)},{_at(y)}" for x, y in points)


def _paint(what: str, color: str) -> str:
    return f' style="{what}:{color}"' if color else ""


def _hint(hint: str) -> str:
    return f"<title>{escape(hint)}</title>" if hint else ""


def _at(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
