"""Charts: well-formed, escaped, honest about gaps and spikes."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unseen.report.svg import Series, bar, decimate, dot_strip, line_chart, number, ticks

finite = st.floats(-1e6, 1e6)


def chart(*series: Series, **options):
    text = line_chart("title", series, x_label="step", y_label="loss", **options)
    return ElementTree.fromstring(text)


def points(svg, name: str) -> list[list[tuple[float, float]]]:
    return [[tuple(map(float, pair.split(","))) for pair in line.get("points").split()] for line in svg.iter(name)]


def test_a_chart_is_well_formed_and_escapes_names():
    svg = chart(
        Series(name="<script>&", x=[0, 1, 2], y=[3, 2, 1]), Series(name="b", x=[0, 2], y=[1, 1], kind="baseline")
    )
    assert svg.find("title").text == "title"
    assert "<script>&" in [text.text for text in svg.iter("text")]
    assert len(points(svg, "polyline")) == 2


def test_larger_values_stand_higher_and_later_ones_further_right():
    (line,) = points(chart(Series(name="a", x=[0, 10, 20], y=[1.0, 3.0, 2.0])), "polyline")
    assert line[0][0] < line[1][0] < line[2][0]
    assert line[1][1] < line[2][1] < line[0][1]


def test_gaps_and_values_that_are_not_finite_break_the_line():
    pieces = points(chart(Series(name="a", x=[0, 1, 2, 3, 4, 5], y=[1, 2, None, math.nan, 3, 4])), "polyline")
    assert [len(piece) for piece in pieces] == [2, 2]


def test_nothing_to_draw_is_an_error_and_not_an_empty_chart():
    with pytest.raises(ValueError, match="no finite point"):
        chart(Series(name="a", x=[0], y=[math.nan]))


def test_a_log_axis_puts_doublings_at_equal_distance():
    (line,) = points(chart(Series(name="a", x=[1, 2, 4], y=[1, 2, 3]), x_scale="log"), "polyline")
    assert line[1][0] - line[0][0] == pytest.approx(line[2][0] - line[1][0], abs=0.11)


def test_decimation_keeps_spikes_and_ends():
    curve = [(i, 0.0) for i in range(10_000)]
    curve[4321] = (4321, 99.0)
    short = decimate(curve, 200)
    assert len(short) <= 202
    assert (4321, 99.0) in short and short[0] == curve[0] and short[-1] == curve[-1]
    assert [x for x, _ in short] == sorted(x for x, _ in short)


@given(finite, st.floats(1e-6, 1e6))
def test_ticks_are_few_and_inside(low, width):
    high = low + width
    found = ticks(low, high)
    assert len(found) <= 7
    assert all(low - 1e-6 * width - 1e-9 * abs(low) <= t <= high + 1e-6 * width + 1e-9 * abs(high) for t in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (12_500, "12.5k"), (-0.25, "\N{MINUS SIGN}0.25"), (3e-4, "3e\N{MINUS SIGN}4"), (1234, "1234")],
)
def test_numbers_for_reading(value, text):
    assert number(value) == text


def test_dots_stand_in_the_order_of_their_values_and_name_their_logs():
    svg = ElementTree.fromstring(
        dot_strip({"a<b": 0.2, "c": 0.6}, (0.0, 1.0), centre=0.4, interval=(0.1, 0.9), scale=100)
    )
    low, high = svg.iter("circle")
    assert float(low.get("cx")) < float(high.get("cx"))
    assert low.find("title").text == "a<b: 20"


def test_a_bar_says_whether_it_passes_the_mark():
    assert 'class="bar over"' in bar(1.2, 2.0, mark=1.0)
    assert 'class="bar under"' in bar(0.8, 2.0, mark=1.0)
    width = lambda text: float(re.search(r'<rect[^>]*width="([\d.]+)"', text).group(1))  # noqa: E731
    assert width(bar(1.0, 2.0)) == pytest.approx(2 * width(bar(0.5, 2.0)), abs=0.11)
