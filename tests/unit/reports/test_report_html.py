# SPDX-License-Identifier: Apache-2.0
"""report.html holds everything in one file, escapes names, and its bytes are fixed.

Not tested here: how a browser shows it (tests/story/test_report_page.py).
"""

import dataclasses
import re
from html.parser import HTMLParser

from tiny_agent_trainer.reports.picture import Picture
from tiny_agent_trainer.reports.report_html import encode_report_html

VOID = {"meta", "link", "img", "br"}


class Balance(HTMLParser):
    """Refuses tags that do not close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse(page):
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    return balance.seen


def picture(sample, label, predicted=None, probability=None):
    return Picture(
        sample=sample,
        label=label,
        predicted=predicted,
        probability=probability,
        width=2,
        height=2,
        channels=1,
        pixels=bytes([0, 80, 160, 255]),
    )


def page(report_of, training_of, names=("normal", "pneumonia"), **changes):
    test = report_of("test", names=names, **changes)
    return encode_report_html(
        report_of("val", names=names),
        test,
        training_of(classes=names),
        examples=[picture(9, names[1]), picture(3, names[0]), picture(4, names[1])],
        mistakes=[picture(8, names[0], names[1], 0.875)],
    ).decode()


def test_tags_are_balanced(report_of, training_of):
    parse(page(report_of, training_of))


def test_equal_records_give_equal_bytes(report_of, training_of):
    assert page(report_of, training_of) == page(report_of, training_of)


def test_nothing_comes_from_elsewhere(report_of, training_of):
    text = page(report_of, training_of)
    for tag, attributes in parse(text):
        assert tag not in ("script", "iframe", "object", "embed", "form")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith(("data:", "#"))
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_names_are_escaped(report_of, training_of):
    text = page(report_of, training_of, names=("<script>alert(1)</script>", 'a"b&c'))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    parse(text)


def test_pictures_stand_in_the_order_of_the_classes(report_of, training_of):
    text = page(report_of, training_of)
    samples = re.findall(r'alt="Sample (\d+) of class (\w+)"', text)
    assert samples == [("3", "normal"), ("9", "pneumonia"), ("4", "pneumonia")]
    assert 'alt="Test sample 8: true class normal, called pneumonia"' in text
    assert "<b>87.5 %</b>" in text


def test_every_picture_and_chart_has_words(report_of, training_of):
    for tag, attributes in parse(page(report_of, training_of)):
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
        if tag == "th":
            assert attributes["scope"] in ("row", "col")


def test_absent_class_is_said_not_hidden(report_of, training_of):
    text = page(report_of, training_of, cells=((50, 0), (0, 0)))
    assert "The test split has no image of pneumonia." in text
    assert '<b class="undefined">undefined</b>' in text
    parse(text)


def test_multilabel_has_no_confusion_matrix(report_of, training_of):
    val, test = (
        dataclasses.replace(report_of(split), task="multilabel", confusion=None)
        for split in ("val", "test")
    )
    text = encode_report_html(val, test, training_of()).decode()
    assert 'id="confusion"' not in text
    assert 'id="mistakes"' not in text
    assert "above 0.5" in text
    parse(text)


def test_says_what_it_does_not_say(report_of, training_of):
    text = page(report_of, training_of)
    assert "no clinical claim" in text
    assert "no confidence intervals" in text
