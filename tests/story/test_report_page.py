# SPDX-License-Identifier: Apache-2.0
"""A clinician opens report.html in a browser that has no network.

Not tested here: other browsers than Chromium, and whether the page is beautiful.
"""

import shutil

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from tiny_agent_trainer.reports.picture import Picture
from tiny_agent_trainer.reports.report_html import encode_report_html
from tiny_agent_trainer.reports.training_summary import EpochHistory, TrainingSummary
from tiny_agent_trainer.validator.evaluate import evaluate
from tiny_agent_trainer.validator.predictions import Predictions

CLASSES = ("normal", "pneumonia")
LIGHT, DARK = "light", "dark"


def split(seed, count):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    last = np.clip(labels * 0.3 + generator.random(count) * 0.7, 0, 1).astype(np.float32)
    return Predictions(
        samples=np.arange(count),
        patients=np.arange(count) // 2,
        labels=labels,
        probabilities=np.stack([1 - last, last], axis=1),
        losses=generator.random(count).astype(np.float32),
        classes=CLASSES,
        task="multiclass",
    )


def picture(sample, label, predicted=None, probability=None):
    pixels = np.random.default_rng(sample).integers(0, 256, 28 * 28, dtype=np.uint8).tobytes()
    return Picture(
        sample=sample,
        label=label,
        predicted=predicted,
        probability=probability,
        width=28,
        height=28,
        channels=1,
        pixels=pixels,
    )


def summary():
    history = tuple(
        EpochHistory(
            epoch=epoch,
            train_loss=1 / epoch,
            val_loss=1.2 / epoch,
            val_metrics={"auroc": 1 - 0.3 / epoch},
            learning_rate=0.001,
        )
        for epoch in range(1, 9)
    )
    return TrainingSummary(
        architecture="resnet18",
        num_parameters=11_172_810,
        num_samples={"train": 900, "val": 120, "test": 156},
        num_patients={"train": 450, "val": 60, "test": 78},
        classes=CLASSES,
        epochs_run=8,
        steps_run=64,
        best_epoch=6,
        best_metric="auroc",
        best_value=0.95,
        stopped_early=True,
        history=history,
        experiment_digest="sha256:experiment-v1:" + "ab" * 32,
        selection_rule="The epoch with the highest validation AUROC; the first of equals.",
        dataset="PneumoniaMNIST 28x28",
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    test = evaluate(split(1, 156), "test")
    page = encode_report_html(
        evaluate(split(2, 120), "val"),
        test,
        summary(),
        examples=[picture(i, CLASSES[i % 2]) for i in range(8)],
        mistakes=[picture(i, "normal", "pneumonia", 0.9) for i in range(4)],
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_bytes(page)
    return path, test


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine: the page was not opened in a browser")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, report):
    """Open the page; afterwards demand that it asked for nothing and complained of nothing."""
    contexts, requests, complaints = [], [], []

    def open_page(scheme=LIGHT, width=1180):
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(report[0].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    beyond = [url for url in requests if not url.startswith(("data:", report[0].as_uri()))]
    assert beyond == []


def test_the_headline_is_visible(visit, report):
    page = visit()
    value = format(report[1].value("auroc"), ".3f")
    assert page.locator("header .cards b").first.inner_text() == value
    assert page.locator("header .cards").is_visible()
    assert page.get_by_role("heading", name="PneumoniaMNIST 28x28").is_visible()
    assert page.get_by_text("The positive class is pneumonia").is_visible()


def test_every_picture_is_decoded(visit):
    page = visit()
    sizes = page.eval_on_selector_all("img", "all => all.map(i => [i.complete, i.naturalWidth])")
    assert sizes == [[True, 28]] * 12


def test_pixels_of_a_picture_are_right(visit):
    page = visit()
    script = """image => { const c = document.createElement('canvas'); c.width = c.height = 28;
        const g = c.getContext('2d'); g.drawImage(image, 0, 0);
        return Array.from(g.getImageData(0, 0, 28, 28).data).filter((_, i) => i % 4 == 0) }"""
    found = page.eval_on_selector(".pictures.errors img", script)
    assert bytes(found) == picture(0, "normal").pixels


@pytest.mark.parametrize("width", [390, 1180])
@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_nothing_sticks_out_and_text_can_be_read(visit, scheme, width):
    page = visit(scheme, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ("h1", ".lead", "small", "caption", "aside li", "figcaption", "td.number b"):
        assert contrast(page, selector) >= 4.5, (selector, scheme)


def test_contrast_can_fail(visit):
    """Negative control for the contrast below."""
    page = visit()
    page.add_style_tag(content=".lead { color: #cccccc }")
    assert contrast(page, ".lead") < 4.5


def test_charts_are_named_for_screen_readers(visit):
    page = visit()
    for name in ("ROC curve of class pneumonia", "Confusion matrix of the test split"):
        assert page.get_by_role("img", name=name).first.is_visible()


def test_it_prints(visit):
    page = visit()
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


def contrast(page, selector):
    """The contrast of WCAG 2.2, clause 1.4.3, of the first element against what lies behind it."""
    script = """node => { let back = node;
        while (back && getComputedStyle(back).backgroundColor == 'rgba(0, 0, 0, 0)')
            back = back.parentElement;
        return [getComputedStyle(node).color, getComputedStyle(back).backgroundColor] }"""
    ink, ground = (luminance(c) for c in page.locator(selector).first.evaluate(script))
    return (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05)


def luminance(colour):
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
