"""The page of a report in a real browser: what people tap, in both themes, and on a phone."""

import shutil
from types import SimpleNamespace

import pytest

import throughtime as tt
from throughtime.inspect.report import contents

pytestmark = pytest.mark.browser

LINE = "To be, or <script>alert('&amp;')</script> not to be & so on.\n"


@pytest.fixture(scope="module")
def browser():
    """Chromium, by the driver that is a package."""
    driver = pytest.importorskip("playwright.sync_api")
    place = shutil.which("chromium") or shutil.which("google-chrome")
    if place is None:
        pytest.skip("needs chromium")
    quiet = ("background-networking", "component-update", "sync")
    with driver.sync_playwright() as started:
        found = started.chromium.launch(
            executable_path=place,
            args=["--no-sandbox", "--disable-gpu", *(f"--disable-{each}" for each in quiet)],
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The pages of a text run, where they lie."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "text.txt").write_text(LINE * 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "POSITIONS", 30)
        patch.setattr(contents, "SYMBOLS", 400)
        for name, data in (("text", str(folder / "text.txt")), ("table", "demo:sunspots")):
            run = tt.fit(data, layer="gru:6x2", budget="20steps", out=folder / name, show=False)
            (folder / f"{name}.html").write_text(tt.inspect.report(run).to_html())
    return folder


@pytest.fixture
def opened(browser, files, request):
    """A page as one device shows it, with what it complained of and what it asked for."""
    name, look = request.param
    context = browser.new_context(**look)
    page = context.new_page()
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda one: asked.append(one.url))
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.goto((files / f"{name}.html").as_uri())
    yield SimpleNamespace(page=page, complaints=complaints, asked=asked, phone="is_mobile" in look)
    context.close()


WIDE = {"viewport": {"width": 1200, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "has_touch": True}
DARK = {"color_scheme": "dark"}
ALL = [
    pytest.param((name, look), id=f"{name}-{device}")
    for name in ("text", "table")
    for device, look in {
        "wide": WIDE,
        "wide-dark": WIDE | DARK,
        "phone": PHONE,
        "phone-dark": PHONE | DARK,
    }.items()
]
TEXT = [each for each in ALL if each.id.startswith("text")]


def _colours(page):
    return page.eval_on_selector_all("#text i", "all => all.map(e => e.style.backgroundColor)")


def _press(opened, selector):
    (opened.page.tap if opened.phone else opened.page.click)(selector)


@pytest.mark.parametrize("opened", ALL, indirect=True)
def test_a_page_fits_and_asks_for_nothing(opened):
    page = opened.page
    assert page.locator("figure svg").count() >= 7
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert opened.complaints == []
    assert [each.split(":")[0] for each in opened.asked] == ["file"]


@pytest.mark.parametrize("opened", TEXT, indirect=True)
def test_choosing_a_unit_colours_the_text_anew(opened):
    page = opened.page
    surprise = _colours(page)
    page.check("input[name=by][value=unit]")
    first = _colours(page)
    page.fill("#unit", "3")
    third = _colours(page)
    page.select_option("#layer", "0")
    below = _colours(page)
    assert len({tuple(each) for each in (surprise, first, third, below)}) == 4
    page.fill("#unit", "99")
    assert page.input_value("#unit") == "5"
    _press(opened, "[data-unit]")
    assert page.get_attribute("[data-unit]", "aria-pressed") == "true"
    assert page.input_value("#unit") == page.get_attribute("[data-unit]", "data-unit")
    assert opened.complaints == []


@pytest.mark.parametrize("opened", TEXT, indirect=True)
def test_a_character_that_is_pressed_shows_what_mattered_for_it(opened):
    page = opened.page
    _press(opened, "#text i:nth-child(200)")
    assert page.is_checked("input[name=by][value=mattered]")
    assert page.locator("#text i.asked").count() == 1
    symbol = page.inner_text("#text i:nth-child(200)")
    assert symbol.strip() in page.inner_text("#summary")
    colours = _colours(page)
    assert any(colours[:199])
    assert not any(colours[199:])
    # The strongest is the one that the figures of the report say.
    strongest = page.evaluate(
        """() => {
          const data = JSON.parse(document.getElementById("data").textContent);
          const row = Uint8Array.from(atob(data.mattered), (s) => s.charCodeAt(0))
            .subarray(199 * data.back, 200 * data.back);
          return 198 - row.indexOf(255);
        }"""
    )
    opacity = [float(each.split(",")[3][:-1]) if "rgba" in each else 0.0 for each in colours]
    assert max(opacity) == opacity[strongest] > 0.8
    page.focus("#text")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#text i:nth-child(199).asked").count() == 1
    assert "nats" in page.inner_text("#figures")
    assert opened.complaints == []


@pytest.mark.parametrize("opened", TEXT, indirect=True)
def test_the_theme_changes_when_asked(opened):
    page = opened.page

    def brightness():
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour[4:-1].split(",")))

    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    before = brightness()
    assert (before < 200) == dark
    _press(opened, "#theme")
    assert (brightness() < 200) != dark
    _press(opened, "#theme")
    assert brightness() == before
