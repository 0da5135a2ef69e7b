# SPDX-License-Identifier: Apache-2.0
"""Charts are well-formed SVG with round ticks and escaped names.

Not tested here: whether they please the eye (see tests/story/test_report_page.py).
"""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer.reports import charts, svg

values = st.floats(-1e9, 1e9, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-6)


class TestAxis:
    """Ticks are round and lie within the ends; the ends enclose the data."""

    @given(st.lists(values, min_size=1, max_size=20))
    def test_encloses_the_values(self, numbers):
        axis = svg.build_axis("y", numbers)
        assert axis.low <= min(numbers)
        assert max(numbers) <= axis.high
        assert axis.low < axis.high
        assert 2 <= len(axis.ticks) <= 8

    @given(st.integers(1, 500))
    def test_whole_ticks(self, last):
        axis = svg.build_axis("epoch", [1.0, float(last)], whole=True)
        assert all(tick.denominator == 1 for tick in axis.ticks)
        assert 1 <= len(axis.ticks) <= 7

    def test_known_ticks(self):
        axis = svg.build_axis("loss", [0.13, 0.58])
        assert [float(tick) for tick in axis.ticks] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_line_chart_places_points():
    plot = svg.Plot(
        title="t",
        x=svg.unit_axis("x"),
        y=svg.unit_axis("y"),
        series=(svg.Series(label="s", points=((0.0, 0.0), (1.0, 1.0))),),
        width=100,
        height=100,
    )
    assert 'd="M52.00 124.00L152.00 24.00"' in svg.line_chart(plot)


def test_a_chart_without_points_is_still_a_chart():
    plot = svg.Plot(title="t", x=svg.unit_axis("x"), y=svg.unit_axis("y"), series=())
    ET.fromstring(svg.line_chart(plot))


def test_names_are_escaped():
    text = svg.heat_map('<"title">', ["<script>", "a&b"], [[1, 2], [0, 0]])
    ET.fromstring(text)
    assert "<script>" not in text
    assert "a&amp;b" in text


def test_heat_map_shows_every_count():
    root = ET.fromstring(svg.heat_map("m", ["a", "b"], [[11, 22], [33, 44]]))
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text in ("11", "22", "33", "44")] == ["11", "22", "33", "44"]


def test_charts_of_a_report(report_of, training_of):
    report, training = report_of("test"), training_of()
    drawn = [
        charts.loss_chart(training),
        charts.metric_chart(training),
        charts.roc_chart("a", report.results[1], report.results[1]),
        charts.precision_recall_chart("a", report.results[1], report.results[1]),
        charts.confusion_chart(report),
    ]
    for chart in drawn:
        ET.fromstring(chart)


def test_roc_points_start_at_the_origin(report_of):
    curve = report_of("test").results[1].curve
    assert charts.roc_points(curve) == ((0.0, 0.0), (10 / 50, 101 / 106), (1.0, 1.0))


def test_steps_enclose_the_average_precision(report_of):
    curve = report_of("test").results[1].curve
    corners = charts.precision_recall_points(curve)
    area = sum(
        (right[0] - left[0]) * left[1]
        for left, right in zip(corners[::2], corners[1::2], strict=True)
    )
    expected = (101 / 106) * (101 / 111) + (5 / 106) * (106 / 156)
    assert area == pytest.approx(expected, abs=1e-12)
