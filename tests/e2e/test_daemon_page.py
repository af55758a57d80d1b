"""The status page as people see it, in a real Chromium: without JavaScript, on a phone, in the dark."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.snapshots import NOW, filled, shown
from umami_ops.daemon import page
from umami_ops.daemon.guard import Role
from umami_ops.daemon.history import History
from umami_ops.daemon.status import parsed


def _opened(browser: Any, html: str, *, width: int = 1_100, scheme: str = "light") -> tuple[Any, list[str]]:
    """The page in a window of its own, and the addresses that it asked for."""
    context = browser.new_context(
        java_script_enabled=False, color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    opened = context.new_page()
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.route("http://umami-ops.test/", lambda route: route.fulfill(body=html, content_type="text/html"))
    opened.goto("http://umami-ops.test/")
    return opened, asked


@pytest.fixture
def html(tmp_path: Path) -> str:
    return page.html(shown(filled(tmp_path)))


def test_it_tells_what_there_is_to_know_and_asks_for_nothing(browser: Any, html: str) -> None:
    opened, asked = _opened(browser, html)
    told = opened.inner_text("body")
    for part in (
        "All is well", "Next is health", "every day at 03:00", "Sundays at 04:00", "prune --days 365",
        "8.7 GB", "365 days kept", "caught up", "umami-20261122T020000Z", "verified",
        "24 % of website_event's rows are dead",
        "34 checks are fine",
    ):  # fmt: skip
        assert part in told, part
    assert [address for address in asked if not address.startswith("data:")] == ["http://umami-ops.test/"]
    label = opened.get_attribute("svg", "aria-label")
    assert "now, about" in label
    assert "retention levels it off" in label
    opened.click("summary")
    assert opened.is_visible("text=umami-ops vacuum --table website_event")


@pytest.mark.parametrize("width", [320, 390, 768, 1_100])
def test_it_fits_every_width(browser: Any, html: str, width: int) -> None:
    opened, _ = _opened(browser, html, width=width)
    # Playwright measures, which needs no JavaScript of the page's.
    for element in opened.query_selector_all("main *"):
        box = element.bounding_box()
        assert (
            box is None
            or box["x"] + box["width"] <= width + 1
            or element.evaluate("e => !!e.closest('.scroll')")
        )
    assert opened.query_selector("h1").bounding_box()["x"] >= 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_stand_out_from_the_paper(browser: Any, html: str, scheme: str) -> None:
    """The contrast of text is at least 4.5 to 1, as WCAG asks for, in the light and in the dark."""
    opened, _ = _opened(browser, html, scheme=scheme)
    colour = "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
    paper = _luminance(opened.query_selector("body").evaluate(colour)[1])
    card = _luminance(opened.query_selector(".card").evaluate(colour)[1])
    assert (paper < 0.1) is (scheme == "dark")
    for selector, ground in (("h1", paper), (".where", paper), ("dt", card), (".when", card), ("h3", card)):
        letters = _luminance(opened.query_selector(selector).evaluate(colour)[0])
        light, dark = max(letters, ground), min(letters, ground)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector


def _luminance(colour: str) -> float:
    """WCAG's relative luminance of `rgb(1, 2, 3)`."""
    channels = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_failure_is_the_first_thing_one_sees(browser: Any, tmp_path: Path) -> None:
    opened, _ = _opened(browser, page.html(shown(filled(tmp_path, failing=True))), width=390)
    assert opened.inner_text("h1").strip() == "Something needs a look"
    problem = opened.query_selector("header li")
    assert "The last run of nightly failed" in problem.inner_text()
    assert problem.bounding_box()["y"] < 400


def test_text_of_others_is_text(browser: Any, tmp_path: Path) -> None:
    status = shown(filled(tmp_path, failing=True))
    evil = "<script>document.title='x'</script><img src=http://elsewhere.test/x>"
    status["jobs"][0]["name"] = status["jobs"][0]["last_run"]["reason"] = evil
    status["health"]["findings"][0]["sentence"] = status["database"]["name"] = evil
    status["runs"][0]["reason"] = status["problems"][0] = evil
    opened, asked = _opened(browser, page.html(status))
    assert opened.query_selector("script") is None
    assert opened.query_selector("main img") is None
    assert not any("elsewhere" in address for address in asked)
    assert evil in opened.inner_text("body")


def test_the_first_day_has_a_page_too(browser: Any, tmp_path: Path) -> None:
    opened, _ = _opened(browser, page.html(shown(History(tmp_path))))
    told = opened.inner_text("body")
    assert "Not looked at yet." in told
    assert "Nothing has run yet." in told
    young = page.html(shown(filled(tmp_path / "young", days=0)))
    opened, _ = _opened(browser, young)
    assert opened.query_selector("polyline.ahead") is not None


def test_other_roles(browser: Any, tmp_path: Path) -> None:
    history = filled(tmp_path)
    for role, words in ((Role.STANDBY, "This one stands by"), (Role.AWAY, "The database is away")):
        opened, _ = _opened(browser, page.html(shown(history, role=role)))
        assert words in opened.inner_text("header")


def test_the_chart_draws_what_the_numbers_say(browser: Any, tmp_path: Path) -> None:
    status = shown(filled(tmp_path))
    opened, _ = _opened(browser, page.html(status))
    past = _points(opened.get_attribute("polyline.past", "points"))
    ahead = _points(opened.get_attribute("polyline.ahead", "points"))
    level = float(opened.get_attribute("line.level", "y1"))
    assert past[0][0] == 0
    assert [x for x, _ in past] == sorted(x for x, _ in past)
    assert past[-1] == ahead[0]
    assert past[0][1] > past[-1][1] > ahead[-1][1], "it grows, and y counts from above"
    assert abs(ahead[-1][1] - level) < 1.5, "and ends at retention's line"
    assert parsed(status["database"]["forecast"]["level_at"]) - NOW < timedelta(days=80)


def _points(drawn: str) -> list[tuple[float, ...]]:
    return [tuple(map(float, pair.split(","))) for pair in drawn.split()]
