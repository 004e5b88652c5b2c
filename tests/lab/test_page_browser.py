"""The lesson in a real browser, by keyboard and pointer, wide and on a phone."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from throughtime.lab import find

pytestmark = pytest.mark.browser
expect.set_options(timeout=20_000)

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
NAME = "order-matters"
LONG = 120_000
"""Milliseconds that a run may take on a machine that has other things to do."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the lesson in a folder of its own, which it leaves as it was."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "here").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"from throughtime.lab.page import serve; serve(port={port}, show=False)"
    # NiceGUI does other things where it believes itself to be tested.
    around = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    around["XDG_STATE_HOME"] = str(folder / "state")
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder / "here",
            env=around,
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(address, timeout=60).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        yield address
        assert list((folder / "here").iterdir()) == []
        assert "Traceback" not in (folder / "log").read_text()
    finally:
        server.terminate()
        server.wait(timeout=60)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def opened(chromium: Browser, served: str, width: int, height: int, scheme: str) -> Page:
    """Return a page of a new learner."""
    context = chromium.new_context(
        base_url=served,
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    return page


WIDE, PHONE = (1280, 900, "light"), (390, 844, "dark")


@pytest.fixture(params=[WIDE, PHONE], ids=["wide", "phone"])
def page(
    request: pytest.FixtureRequest, chromium: Browser, served: str, tmp_path: Path
) -> Iterator[Page]:
    """A page of a new learner, on which nothing may go wrong and nothing leave this machine."""
    faults: list[str] = []
    page = opened(chromium, served, *request.param)
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    local = (served, served.replace("http", "ws"), "data:", "blob:")
    page.on(
        "request", lambda asked: None if asked.url.startswith(local) else faults.append(asked.url)
    )
    yield page
    page.screenshot(path=tmp_path / "last.png", full_page=True)
    page.context.close()
    assert faults == []


def fits(page: Page) -> bool:
    """Return whether nothing has to be scrolled sideways."""
    fitting: bool = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return fitting


def commit(page: Page, name: str, answer: int) -> None:
    """Open an experiment and commit to an answer."""
    page.goto(f"/experiment/{name}")
    expect(page.locator(".claim")).to_have_count(0)
    expect(page.get_by_role("button", name="Commit")).to_be_disabled()
    page.get_by_role("radio").nth(answer).click()
    page.get_by_role("button", name="Commit").click()
    expect(page.locator(".claim")).to_be_focused()


def run(page: Page) -> None:
    """Run the experiment that is shown."""
    page.get_by_role("button", name="Run", exact=True).click()


def test_predict_turn_run_see_and_sum_up(page: Page, tmp_path: Path) -> None:
    question = find(NAME).question
    page.goto("/")
    expect(page.locator(".progress")).to_contain_text("0 of 32 predicted, 0 run")
    page.get_by_role("link", name="Begin").click()
    page.wait_for_url(f"**/experiment/{NAME}")
    commit(page, NAME, question.right)
    expect(page.locator(".progress")).to_contain_text("1 of 32 predicted, 0 run")

    page.get_by_role("spinbutton", name="updates").fill("3")
    slider = page.get_by_role("slider", name="updates")
    expect(slider).to_have_attribute("aria-valuenow", "2")
    run(page)
    expect(page.get_by_role("status")).to_contain_text("seeds are done")
    verdict = page.locator(".verdict")
    expect(verdict).to_contain_text("Knobs were turned (updates 3)", timeout=LONG)
    picture = page.locator(".picture svg")
    expect(picture).to_be_visible()
    first = picture.inner_html()
    expect(page.locator(".progress")).to_contain_text("1 of 32 predicted, 1 run")
    expect(page.locator(".answer.so")).to_have_count(0)

    slider.locator("[tabindex]").press("ArrowRight")
    expect(page.get_by_role("spinbutton", name="updates")).to_have_value("4")
    page.get_by_role("button", name="Knobs as they come").click()
    expect(page.get_by_role("spinbutton", name="updates")).to_have_value("400")
    run(page)
    expect(verdict).to_contain_text("It holds", timeout=LONG)
    expect(picture).to_be_visible()
    assert picture.inner_html() != first
    expect(page.locator(".answer.so")).to_contain_text(question.answers[question.right])
    expect(page.locator(".predicted")).to_contain_text("You predicted it.")
    # Once a line for each seed, once the two runs to compare.
    expect(page.locator("table.numbers").nth(0).locator("tbody tr")).to_have_count(3)
    expect(page.locator("table.numbers").nth(1).locator("tbody tr")).to_have_count(2)
    page.get_by_role("button", name="The code that runs").click()
    expect(page.locator(".code pre")).to_contain_text("def run(seed: int")
    page.screenshot(path=tmp_path / "run.png", full_page=True)
    assert fits(page)

    page.reload()
    expect(page.locator(".verdict")).to_contain_text("It holds")
    expect(page.locator(".picture svg")).to_be_visible()
    expect(page.locator(".progress")).to_contain_text("1 of 32 predicted, 1 run")
    page.goto("/summary")
    expect(page.locator(".lesson")).to_contain_text("1 came true and 0 did not.")
    assert fits(page)
    page.goto("/")
    expect(page.get_by_role("link", name="Go on with")).to_have_attribute(
        "href", f"/experiment/{NAME}"
    )


@pytest.mark.parametrize("page", [WIDE], indirect=True, ids=["wide"])
def test_a_run_can_be_stopped_and_others_wait_for_theirs(
    page: Page, chromium: Browser, served: str
) -> None:
    commit(page, NAME, 0)
    page.get_by_role("spinbutton", name="updates").fill("3000")
    page.get_by_role("spinbutton", name="length").fill("60")
    run(page)
    expect(page.get_by_role("status")).to_contain_text("Running: 0 of 3")
    other = opened(chromium, served, 800, 600, "light")
    commit(other, NAME, 0)
    other.get_by_role("spinbutton", name="updates").fill("1")
    run(other)
    expect(other.get_by_role("status")).to_contain_text("waits for its turn")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped.", exact=True)).to_be_visible(timeout=20_000)
    expect(page.locator(".verdict")).to_have_count(0)
    expect(other.locator(".verdict")).to_contain_text("updates 1", timeout=LONG)
    other.context.close()


def test_a_network_is_played_forward_and_back(page: Page, tmp_path: Path) -> None:
    page.goto("/")
    picture = page.locator(".unrolled svg")
    expect(picture.locator(".step")).to_have_count(12)
    says = page.locator(".unrolled-says")
    expect(says).to_contain_text("Nothing is read yet")
    page.get_by_role("button", name="play").click()
    expect(says).to_contain_text(re.compile("Forward, step [2-9]"))
    page.get_by_role("button", name="pause").click()
    place = page.get_by_role("slider", name="where the animation is")
    place.fill("7")
    expect(says).to_contain_text("Forward, step 7")
    expect(picture.locator(".out.seen")).to_have_count(7)
    expect(picture.locator(".arrow.back.seen")).to_have_count(0)
    place.fill("17")
    expect(says).to_contain_text("Back, step 7, 4 steps back")
    expect(says).to_contain_text("the letter that the answer needs")
    expect(picture.locator(".amount.seen")).to_have_count(5)
    page.screenshot(path=tmp_path / "network.png", full_page=True)

    amounts = picture.locator(".amount").all_text_contents()
    page.get_by_role("combobox", name="weights").click()
    page.get_by_role("option", name="as it is made").click()
    expect(picture.locator(".amount").first).not_to_have_text(amounts[0])
    page.get_by_role("combobox", name="layer").click()
    page.get_by_role("option", name="GRU").click()
    expect(picture.locator(".cell")).to_have_count(12 * 8)
    picture.locator(".step").nth(3).focus()
    expect(page.locator(".unrolled-numbers")).to_contain_text("Step 4: reads")
    names = page.locator(".unrolled-numbers th").all_inner_texts()
    assert names == ["h", "r", "z", "n", "dL/dh"]
    assert fits(page)


@pytest.mark.parametrize("page", [WIDE], indirect=True, ids=["wide"])
def test_all_that_can_be_done_can_be_reached_by_keyboard(page: Page) -> None:
    page.goto(f"/experiment/{NAME}")
    expect(page.get_by_role("radio")).to_have_count(3)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the lesson")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".lesson")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Commit")).to_be_enabled()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Commit")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".claim")).to_be_focused()
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(document.activeElement.closest('[aria-label]')?.ariaLabel"
                " || document.activeElement.textContent).trim()"
            )
        )
    sliders = ["length", "length, slider", "updates", "updates, slider"]
    assert reached[:6] == [*sliders, "Run", "Knobs as they come"]
