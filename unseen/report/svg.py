"""Small charts as SVG text: pure functions of numbers, escaped, coloured by the page's style sheet, no scripts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

Number = float | int  # JSON writes 1.0 as 1

_RIGHT, _BOTTOM = 10, 36  # px around the plot, in the units of the view box
_CHARACTER = 6.3  # px, width of an average letter at the charts' font size
PALETTE = 6  # colours that the style sheet defines: classes s1 to s6


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One curve. A value that is None or not finite leaves a gap; `low` and `high` draw a band around the curve."""

    name: str
    x: Sequence[Number]
    y: Sequence[Number | None]
    low: Sequence[Number | None] | None = None
    high: Sequence[Number | None] | None = None
    kind: Literal["line", "faint", "baseline"] = "line"  # baseline: dashed
    dots: bool = False
    colour: int = 1  # 1 to PALETTE


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[Number, Number] | None = None,
    x_scale: Literal["linear", "log"] = "linear",
    size: tuple[int, int] = (440, 260),
) -> Markup:
    """Curves with axes, ticks and a legend; what lies outside `y_range` is cut off at the edge of the plot.

    Raises ValueError when no curve has a finite point: the caller says in words what is missing.
    """
    points = [_finite(one, x_scale) for one in series]
    if not any(points):
        raise ValueError(f"the chart {title!r} has no finite point")
    width, height = size
    legend, top = _legend(series, width) if len(series) > 1 else (Markup(""), 8.0)  # one curve is named by the title
    x0, x1 = _span([x for curve in points for x, *_ in curve], room=0.015)
    y0, y1 = y_range or _padded([v for curve in points for _, *values in curve for v in values if v is not None])
    left = 26 + _CHARACTER * max(
        len(number(value)) for value in ticks(y0, y1)
    )  # room for the widest tick and the label
    plot = _Plot(x0, x1, y0, y1, left, top, width - left - _RIGHT, height - top - _BOTTOM)
    axes = _axes(plot, x_label, y_label, x_scale, series)
    curves = Markup("").join(_curve(plot, one, curve) for one, curve in zip(series, points, strict=True) if curve)
    inner = Markup('<svg x="{}" y="{}" width="{}" height="{}" viewBox="{} {} {} {}" overflow="hidden">{}</svg>')
    box = (plot.left, plot.top, plot.width, plot.height)
    return _frame(title, width, height, legend + axes + inner.format(*box, *box, curves))


def dot_strip(
    values: Mapping[str, Number],
    span: tuple[Number, Number],
    *,
    centre: Number | None = None,
    interval: tuple[Number, Number] | None = None,
    zero: bool = False,
    scale: Number = 1.0,
    width: int = 180,
) -> Markup:
    """One dot a log on a common axis `span`, the pooled value as a tick, the interval as a bar; names in tooltips.

    `scale` only multiplies the numbers written in the tooltips (100: per cent).
    """
    low, high = span
    place = lambda v: 6 + (width - 12) * (v - low) / ((high - low) or 1.0)  # noqa: E731
    parts = [Markup('<line class="axis" x1="6" x2="{}" y1="11" y2="11"/>').format(width - 6)]
    if zero and low <= 0 <= high:
        parts.append(Markup('<line class="zero" x1="{0:.1f}" x2="{0:.1f}" y1="1" y2="21"/>').format(place(0)))
    if interval is not None:
        bar = Markup('<line class="interval" x1="{:.1f}" x2="{:.1f}" y1="11" y2="11"/>')
        parts.append(bar.format(place(max(interval[0], low)), place(min(interval[1], high))))
    for name, value in values.items():
        dot = Markup('<circle class="dot" cx="{:.1f}" cy="11" r="3.5"><title>{}: {}</title></circle>')
        parts.append(dot.format(place(value), name, number(value * scale)))
    if centre is not None:
        parts.append(Markup('<line class="centre" x1="{0:.1f}" x2="{0:.1f}" y1="3" y2="19"/>').format(place(centre)))
    words = ", ".join(f"{name} {number(value * scale)}" for name, value in values.items())
    return _frame(words or "no logs", width, 22, Markup("").join(parts), "strip")


def bar(value: Number, top: Number, *, mark: Number | None = None, label: str = "", width: int = 120) -> Markup:
    """One horizontal bar from 0 to `value` on an axis that ends at `top`; `mark` is a reference line."""
    length = max(0.0, min(value / top, 1.0)) * (width - 2) if top > 0 else 0.0
    kind = "over" if mark is not None and value > mark else "under"
    parts = [Markup('<rect class="bar {}" x="1" y="4" width="{:.1f}" height="10"/>').format(kind, length)]
    if mark is not None and 0 <= mark <= top:
        x = 1 + mark / top * (width - 2)
        parts.append(Markup('<line class="centre" x1="{0:.1f}" x2="{0:.1f}" y1="1" y2="17"/>').format(x))
    return _frame(label or number(value), width, 18, Markup("").join(parts), "strip")


def decimate(points: Sequence[tuple], most: int = 300) -> Sequence[tuple]:
    """At most about `most` points: both ends, and the lowest and highest of each bucket, so that no spike is lost."""
    if len(points) <= most:
        return points
    kept, buckets = [points[0]], max(1, most // 2)
    for i in range(buckets):
        bucket = points[i * len(points) // buckets : (i + 1) * len(points) // buckets]
        kept += sorted({min(bucket, key=lambda p: p[1]), max(bucket, key=lambda p: p[1])})
    return [*kept, points[-1]]


def ticks(low: Number, high: Number, most: int = 5) -> list[Number]:
    """Round numbers (1, 2 or 5 times a power of ten) inside [low, high], at most about `most`."""
    if not high > low:
        return [low]
    rough = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [0.0 if i == 0 else i * step for i in range(first, last + 1)]


def number(value: Number) -> str:
    """A number for reading: three or four significant digits, a real minus sign, k for thousands."""
    if not math.isfinite(value):
        return "not finite"
    size = abs(value)
    if size >= 1e6:
        text = f"{value / 1e6:.3g}M"
    elif size >= 1e4:
        text = f"{value / 1e3:.3g}k"
    elif size >= 100 or float(value).is_integer():
        text = f"{value:.0f}"
    elif size >= 0.001:
        text = f"{value:.3g}"
    else:
        text = f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    return text.replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True, slots=True)
class _Plot:
    x0: Number
    x1: Number
    y0: Number
    y1: Number
    left: Number
    top: Number
    width: Number
    height: Number

    def x(self, value: Number) -> float:
        return self.left + self.width * (value - self.x0) / ((self.x1 - self.x0) or 1.0)

    def y(self, value: Number) -> float:
        return self.top + self.height * (1 - (value - self.y0) / ((self.y1 - self.y0) or 1.0))


def _frame(title: str, width: int, height: int, body: Markup, kind: str = "chart") -> Markup:
    head = Markup('<svg class="{}" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>')
    return head.format(kind, width, height, title, body)


def _finite(series: Series, scale: str) -> list[tuple]:
    """(x, y, low, high) of the points that can be drawn, x on the axis' own scale."""
    empty = [None] * len(series.y)
    rows = zip(series.x, series.y, series.low or empty, series.high or empty, strict=True)
    return [
        (math.log10(x) if scale == "log" else x, y, low, high)
        for x, y, low, high in rows
        if y is not None and math.isfinite(y) and not (scale == "log" and x <= 0)
    ]


def _span(values: Sequence[Number], room: Number) -> tuple[Number, Number]:
    low, high = min(values), max(values)
    more = (high - low) * room or 0.5
    return low - more, high + more


def _padded(values: Sequence[Number]) -> tuple[Number, Number]:
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (0.0 if 0 <= low < room * 4 else low - room), high + room


def _legend(series: Sequence[Series], width: int) -> tuple[Markup, Number]:
    """Swatches and names in rows that fit the width, and the y at which the plot may begin."""
    parts, x, y = [], 4.0, 12.0
    for one in series:
        name = one.name if len(one.name) <= 46 else one.name[:45] + "…"
        need = 24 + _CHARACTER * len(name) + 8
        if x > 4 and x + need > width:
            x, y = 4.0, y + 16
        line = Markup('<line class="{} s{}" x1="{:.0f}" x2="{:.0f}" y1="{}" y2="{}"/><text x="{:.0f}" y="{}">{}</text>')
        parts.append(line.format(one.kind, one.colour, x, x + 18, y - 4, y - 4, x + 23, y, name))
        x += need
    return Markup("").join(parts), y + 10


def _axes(plot: _Plot, x_label: str, y_label: str, x_scale: str, series: Sequence[Series]) -> Markup:
    parts = []
    for value in ticks(plot.y0, plot.y1):
        line = Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text class="end" x="{}" y="{:.1f}">{}</text>'
        )
        y = plot.y(value)
        parts.append(line.format(plot.left, plot.left + plot.width, y, y, plot.left - 5, y + 4, number(value)))
    bottom = plot.top + plot.height
    for place, label in _x_ticks(plot, x_scale, series):
        mark = Markup(
            '<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
            '<text class="middle" x="{0:.1f}" y="{3}">{4}</text>'
        )
        parts.append(mark.format(plot.x(place), bottom, bottom + 4, bottom + 15, label))
    base = Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>')
    parts.append(base.format(plot.left, plot.left + plot.width, bottom, bottom))
    words = Markup('<text class="middle label" x="{:.0f}" y="{:.0f}">{}</text>')
    parts.append(words.format(plot.left + plot.width / 2, bottom + 30, x_label))
    turned = Markup('<text class="middle label" transform="translate(11 {:.0f}) rotate(-90)">{}</text>')
    parts.append(turned.format(plot.top + plot.height / 2, y_label))
    return Markup("").join(parts)


def _x_ticks(plot: _Plot, scale: str, series: Sequence[Series]) -> list[tuple[Number, str]]:
    if scale == "linear":
        return [(value, number(value)) for value in ticks(plot.x0, plot.x1)]
    measured = sorted(
        {x for one in series for x in one.x if x > 0}
    )  # a budget axis: ticks where something was measured
    return [(math.log10(x), number(x)) for x in measured]


def _curve(plot: _Plot, series: Series, points: list[tuple]) -> Markup:
    parts = []
    band = [(x, low, high) for x, _, low, high in points if low is not None and high is not None]
    if len(band) > 1:
        outline = [(x, high) for x, _, high in band] + [(x, low) for x, low, _ in reversed(band)]
        parts.append(Markup('<polygon class="band s{}" points="{}"/>').format(series.colour, _path(plot, outline)))
    for piece in _pieces(series, points):
        shown = decimate(piece)
        if len(shown) > 1:
            parts.append(
                Markup('<polyline class="{} s{}" points="{}"/>').format(series.kind, series.colour, _path(plot, shown))
            )
        if series.dots or len(shown) == 1:
            dot = Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}: {}</title></circle>')
            parts += [dot.format(series.colour, plot.x(x), plot.y(y), series.name, number(y)) for x, y, *_ in shown]
    return Markup("").join(parts)


def _pieces(series: Series, points: list[tuple]) -> list[list[tuple]]:
    """The curve cut where a value was missing or not finite."""
    if len(points) == len(series.y):
        return [[(x, y) for x, y, *_ in points]]
    pieces, piece, drawable = [], [], iter(points)
    for y in series.y:
        if y is not None and math.isfinite(y):
            x, value, *_ = next(drawable)
            piece.append((x, value))
        elif piece:
            pieces.append(piece)
            piece = []
    return [*pieces, piece] if piece else pieces


def _path(plot: _Plot, points: Sequence[tuple]) -> str:
    return " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in points)
