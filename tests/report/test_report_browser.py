"""The page in a real browser: quiet, offline, never too wide, usable by keyboard."""

from __future__ import annotations

import os
import shutil
from itertools import product

import pytest

from so8t.report.html import write_report

sync_api = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser():
    """Start the system's Chromium; on CI its absence is a failure, elsewhere a reason to skip."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        message = f"none of {', '.join(BROWSERS)} is installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def addresses(finished, partial, tmp_path_factory):
    """Return the file addresses of the reports by run and language."""
    directory = tmp_path_factory.mktemp("browser")
    found = {}
    for name, run in (("finished", finished), ("partial", partial)):
        for language in ("en", "ja"):
            page = directory / f"{name}-{language}.html"
            write_report(run, language).rename(page)
            found[name, language] = page.as_uri()
    return found


@pytest.fixture
def visit(browser):
    """Open an address and collect what the page says and fetches; all must stay quiet."""
    contexts, noise, fetched = [], [], []

    def open_page(address, *, width=1400, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert noise == []
    assert [url for url in fetched if not url.startswith("file:")] == []
    assert len(fetched) == len(contexts)


def shown(page):
    """Return the sides of the answers that are visible."""
    return page.eval_on_selector_all(
        "article.sample", "all => all.filter(e => e.offsetParent).map(e => e.dataset.side)"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "language", "width", "scheme"),
    [
        *(("finished", *rest) for rest in product(("en", "ja"), (400, 1400), ("light", "dark"))),
        ("partial", "ja", 400, "dark"),
        ("partial", "en", 1400, "light"),
    ],
)
def test_the_page_is_quiet_offline_and_fits(visit, addresses, run, language, width, scheme):
    """No console message, no request, nothing wider than the window, in either scheme."""
    page = visit(addresses[run, language], width=width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        """width => [...document.querySelectorAll('main *')].filter(e => {
            const box = e.getBoundingClientRect();
            return box.right > width + 1 && !e.closest('.scroll, pre, .long');
        }).map(e => e.outerHTML.slice(0, 80))""",
        width,
    )
    assert wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(visit, addresses, scheme):
    """Every text has a contrast of at least 4.5 to what is behind it (WCAG AA)."""
    page = visit(addresses["finished", "en"], color_scheme=scheme)
    poor = page.evaluate(
        """() => {
        const often = {willReadFrequently: true};
        const canvas = document.createElement('canvas').getContext('2d', often);
        const rgba = (colour) => {
            canvas.clearRect(0, 0, 1, 1);
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data];
        };
        const light = (c) => c.slice(0, 3).map(v => v / 255)
            .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
        const behind = (e) => {
            for (; e; e = e.parentElement) {
                const c = rgba(getComputedStyle(e).backgroundColor);
                if (c[3] > 128) return c;
            }
            return [255, 255, 255, 255];
        };
        const found = new Set();
        for (const e of document.querySelectorAll('body *')) {
            const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
            if (!own || !e.getClientRects().length) continue;
            const style = getComputedStyle(e);
            const ink = rgba(e.closest('svg') ? style.fill : style.color);
            const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
            if ((a + .05) / (b + .05) < 4.5) found.add(e.outerHTML.slice(0, 80));
        }
        return [...found];
    }"""
    )
    assert poor == []


def test_filters_work_by_keyboard(visit, addresses):
    """Tab reaches the filter, arrows choose, and the count is told."""
    page = visit(addresses["finished", "en"])
    page.focus("input[name=side]:checked")
    assert set(shown(page)) == {"a", "b"}
    page.keyboard.press("ArrowRight")
    assert set(shown(page)) == {"b"}
    page.keyboard.press("ArrowRight")
    assert set(shown(page)) == {"a"}
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "category"
    page.keyboard.press("Tab")
    page.keyboard.type("no such words")
    assert shown(page) == []
    assert page.inner_text("output") == "Showing 0 of 0"
    assert page.is_visible("p.nothing")


def test_category_and_search_narrow_the_answers(visit, addresses):
    """Choices add up: side, category and words."""
    page = visit(addresses["finished", "ja"])
    page.check("input[value=all]", force=True)
    assert page.inner_text("output") == "120問中20問を表示"
    page.select_option("select[name=category]", label="数学")
    assert page.inner_text("output") == "30問中20問を表示"
    page.click("p.more button")
    assert len(shown(page)) == 30
    page.fill("input[name=words]", "What is 0 minus")
    assert len(shown(page)) == 1


def test_without_javascript_everything_is_there(visit, addresses):
    """All embedded answers can be read, and no dead control is shown."""
    page = visit(addresses["finished", "en"], java_script_enabled=False)
    assert page.locator("article.sample").count() == 120
    assert page.locator("article.sample").last.is_visible()
    assert not page.is_visible("form.filters")
    assert not page.is_visible("p.more")


def test_hostile_answers_do_nothing(visit, addresses):
    """The title is ours, and no element came from an answer."""
    page = visit(addresses["finished", "en"])
    assert page.title().startswith("nightly · On questions like these")
    assert page.locator("article img, article script, article b").count() == 0


def test_printing_opens_what_is_folded(visit, addresses):
    """On paper nobody can unfold: the details are open, controls are gone."""
    page = visit(addresses["finished", "en"])
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details')].every(fold => fold.open)")
    assert not page.is_visible("nav")
    assert not page.is_visible("form.filters")
