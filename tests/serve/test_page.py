"""The chat page: it asks nobody but its own service, and a person in a real browser can talk, judge, go on, begin."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serve.api import create_api
from serve.service import Service
from serve.store import feedback, sessions
from serve.store.sessions import Session
from tests.browser import Browser, chromium
from tests.serve.helpers import client_of, make_key, serve_on_free_port, slow_down

DONE = "!document.querySelector('[aria-busy]') && document.querySelectorAll('.thumbs').length === {}"


def test_the_page_is_whole_and_only_what_is_in_it_runs(client: TestClient) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("text/html")
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert not re.findall(r"(?:src|href)=\"(?!data:|#|/docs)", answer.text)
    assert "innerHTML" not in answer.text


def test_the_page_is_shown_to_those_without_a_key_and_says_nothing(make_service: Callable[..., Service]) -> None:
    guarded = client_of(make_service("serving.require_keys=true"))
    assert guarded.get("/").text == client_of(make_service()).get("/").text
    assert guarded.get("/v1/models").status_code == 401


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A real one."""
    with chromium() as tab:
        yield tab


def say(browser: Browser, text: str) -> None:
    """As a person does."""
    browser.click("#text")
    browser.type(text)
    browser.press("Enter")


def sessions_of(service: Service, owner: str) -> list[Session]:
    """What the server keeps for a key."""
    return service.database.work(lambda rows: sessions.listed(rows, owner, time.time(), 9, None))


def turns_of(service: Service, session: str) -> list[str]:
    """What it keeps of a conversation."""
    return [turn.text for turn in service.database.work(lambda rows: sessions.turns_from(rows, session, 0, 9))]


@pytest.mark.slow
def test_a_person_talks_judges_goes_on_stops_and_begins_anew(
    make_service: Callable[..., Service], browser: Browser, tmp_path: Path
) -> None:
    service = make_service("serving.require_keys=true")
    key = make_key(service)
    owner = key.split("-")[1]
    slow_down(service, 0.02)
    for url in serve_on_free_port(create_api(service)):
        browser.look_like(1200, 800)
        browser.open(url)
        browser.wait_for("document.querySelector('#key-dialog').open")
        browser.type("rj-wrong-key")
        browser.press("Enter")
        browser.wait_for("document.querySelector('#key-why').textContent.includes('no such API key')")
        browser.type(key)
        browser.press("Enter")
        browser.wait_for("document.querySelector('#model').textContent === 'chat, version 3'")

        say(browser, "Hello! <b>How</b> are you?")
        browser.wait_for("document.querySelector('[aria-busy] .words')?.textContent.length > 0")  # as it is written
        browser.wait_for(DONE.format(1))
        shown = browser.value("[...document.querySelectorAll('.words')].map(e => e.textContent)")
        assert shown[0] == "Hello! <b>How</b> are you?"
        (session,) = [one.id for one in sessions_of(service, owner)]
        assert turns_of(service, session) == shown
        browser.click(".thumb.down")
        browser.wait_for("document.querySelector('.thumb.down').getAttribute('aria-pressed') === 'true'")
        (opinion,) = service.database.work(lambda rows: list(feedback.everything(rows)))
        assert (opinion.thumb, opinion.reply) == ("down", shown[1])

        browser.open(url)  # again: the key and the conversation are still there
        browser.wait_for(DONE.format(1))
        say(browser, "And you?")
        browser.wait_for(DONE.format(2))
        assert len(turns_of(service, session)) == 4

        slow_down(service, 0.2)
        say(browser, "Never mind.")
        browser.wait_for("document.querySelector('[aria-busy] .words')?.textContent.length > 0")
        browser.click("#send")  # which says Stop now
        browser.wait_for("document.querySelectorAll('.lost').length === 2")
        assert browser.value("document.querySelector('#text').value") == "Never mind."
        assert len(turns_of(service, session)) == 4

        for width, dark in ((1200, False), (1200, True), (390, False), (390, True)):
            browser.look_like(width, 800, dark=dark)
            browser.picture(tmp_path / f"page-{width}-{'dark' if dark else 'light'}.png")
            assert browser.value("document.documentElement.scrollWidth <= innerWidth"), "it is wider than its window"
        browser.click("#delete")
        browser.wait_for("document.querySelector('#delete').textContent === 'Really delete?'")
        assert len(turns_of(service, session)) == 4
        browser.click("#text")  # somebody thinks again
        browser.wait_for("document.querySelector('#delete').textContent === 'Delete'")
        browser.click("#delete")
        browser.picture(tmp_path / "page-delete.png")
        browser.click("#delete")
        browser.wait_for("!document.querySelector('#log').firstChild && !document.querySelector('#welcome').hidden")
        assert not sessions_of(service, owner)
    # Nothing was complained about but the two requests that had no key, and a wrong one.
    assert all("401" in complaint for complaint in browser.complaints), browser.complaints
    assert len(browser.complaints) == 2
