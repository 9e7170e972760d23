"""The page where people judge, in a real browser where there is one, and what guards it."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lft.corpus.audit.ratings import QUESTIONS, Ratings
from lft.corpus.audit.sample import Item, save_items
from lft.corpus.audit.server import AuditServer
from tests.browser import PATIENCE, opened_browser, with_chromium

NASTY = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def needs_browser(test: Any) -> Any:
    """In the slow tier: on a loaded machine a browser loses its connection."""
    return pytest.mark.slow(with_chromium(test))


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditServer]:
    items = [Item(f"i{n}", "ours", f"Ask {n} {NASTY}", f"Text {n}\n\nzweiter Absatz: {NASTY}") for n in range(3)]
    save_items(tmp_path, items)
    server = AuditServer(tmp_path)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.close()
    thread.join()


def status(address: str, data: bytes | None = None, **headers: str) -> int:
    try:
        return int(urllib.request.urlopen(urllib.request.Request(address, data, headers)).status)
    except urllib.error.HTTPError as error:
        return error.code


def rating(**changed: Any) -> bytes:
    return json.dumps({"item": "i0", "rater": "anna", "answers": dict.fromkeys(QUESTIONS, 2), **changed}).encode()


def test_without_the_token_nothing_is_there(audit: AuditServer) -> None:
    assert status(audit.address) == 200
    root = f"http://127.0.0.1:{audit.port}"
    for path in ("/", "/x/", f"/{audit.token[:-1]}/", f"/{audit.token}", f"/{audit.token}/other", "//"):
        assert status(root + path) == 404, path
    assert status(f"{root}/x/rate", rating()) == 404
    assert status(audit.address, Host="evil.example") == 404


def test_it_listens_on_this_machine_only(audit: AuditServer) -> None:
    assert audit._server.server_address[0] == "127.0.0.1"


def test_what_is_no_rating_is_refused_and_not_saved(audit: AuditServer, tmp_path: Path) -> None:
    for body in (b"{", b"[]", rating(item="other"), rating(answers={}), b"x" * 70_000):
        assert status(f"{audit.address}rate", body) in (400, 404)
    assert Ratings(tmp_path).last() == {}
    assert status(f"{audit.address}rate", rating()) == 200
    assert set(Ratings(tmp_path).last()) == {("i0", "anna")}


@pytest.fixture
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


def begin(browser: Any, audit: AuditServer, rater: str, **options: Any) -> tuple[Any, list[str]]:
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(PATIENCE)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(audit.address)
    page.fill("#name", rater)
    page.keyboard.press("Enter")
    page.wait_for_selector("#work:not([hidden])")
    return page, asked


@needs_browser
def test_items_are_judged_by_keys_alone_and_each_answer_is_saved(
    audit: AuditServer, browser: Any, tmp_path: Path
) -> None:
    page, asked = begin(browser, audit, "anna")
    for key in ("1", "2", "3", "1"):
        page.keyboard.press(key)
    page.wait_for_selector('#count:text("1 of 3")')
    page.wait_for_selector('#place:text-is("item 2 of 3")')
    (one,) = Ratings(tmp_path).last().values()
    assert list(one.answers.values()) == [2, 1, 0, 2]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("n")
    page.keyboard.type("unclear 123")
    page.keyboard.press("Escape")
    page.wait_for_selector('#saved:text-is("saved")')
    page.wait_for_timeout(100)
    assert [rating.note for rating in Ratings(tmp_path).last().values()] == ["unclear 123"]
    assert page.title() == "lft audit"
    assert {url.split(audit.token)[0] for url in asked} == {f"http://127.0.0.1:{audit.port}/"}


@needs_browser
def test_who_comes_back_goes_on_where_the_answers_stopped(audit: AuditServer, browser: Any) -> None:
    page, _ = begin(browser, audit, "anna")
    first = page.inner_text("#instruction")
    for key in "1111":
        page.keyboard.press(key)
    page.wait_for_selector('#place:text-is("item 2 of 3")')
    again, _ = begin(browser, audit, "anna")
    assert again.inner_text("#place") == "item 2 of 3"
    assert again.inner_text("#instruction") != first
    other, _ = begin(browser, audit, "ben")
    assert other.inner_text("#count") == "0 of 3 rated"


@needs_browser
def test_a_rating_that_was_not_saved_is_told(audit: AuditServer, browser: Any) -> None:
    page, _ = begin(browser, audit, "anna")
    page.route("**/rate", lambda route: route.abort())
    for key in "1111":
        page.keyboard.press(key)
    page.wait_for_selector('#saved:text("not saved")')
    assert page.inner_text("#count") == "0 of 3 rated"
    page.unroute("**/rate")
    page.keyboard.press("1")
    page.wait_for_selector('#count:text("1 of 3")')


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_can_be_read(audit: AuditServer, browser: Any, scheme: str, width: int) -> None:
    page, _ = begin(browser, audit, "anna", viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    contrast = page.evaluate(
        """() => { const l = c => { const [r, g, b] = c.match(/\\d+/g).map(v => (v /= 255) <= 0.03928 ? v / 12.92 :
             ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
           const back = e => { const c = getComputedStyle(e).backgroundColor;
             return /^rgba.* 0\\)$/.test(c) ? back(e.parentElement) : c; };
           const all = [...document.querySelectorAll("body *")].filter(e => e.checkVisibility() &&
             [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
           return all.map(e => { const [a, b] = [l(getComputedStyle(e).color), l(back(e))].sort((x, y) => y - x);
             return [(a + 0.05) / (b + 0.05), e.id || e.className || e.tagName]; }); }"""
    )
    assert len(contrast) > 10
    assert [one for one in contrast if one[0] < 4.5] == []
