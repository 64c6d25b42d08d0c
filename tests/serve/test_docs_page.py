"""The documentation page: whole without any other server, open to those without a key, shown by a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serve.api import create_api
from serve.service import Service
from tests.browser import chromium
from tests.serve.helpers import client_of, serve_on_free_port


def test_page_script_and_style_come_from_the_service_itself(client: TestClient) -> None:
    page = client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self' 'sha256-")
    assert "http" not in policy
    parts = [part for part in re.findall(r'(?:src|href)="([^"]+)"', page.text) if not part.startswith("data:")]
    assert sorted(set(parts)) == ["docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "openapi.json"]
    for part in parts:
        answer = client.get(f"/{part}")
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/docs/swagger-ui-bundle.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/docs/swagger-ui.css").headers["content-type"].startswith("text/css")


def test_who_has_no_key_yet_can_read_how_to_use_one(make_service: Callable[..., Service]) -> None:
    guarded = client_of(make_service("serving.require_keys=true"))
    for path in ("/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json"):
        assert guarded.get(path).status_code == 200
    assert guarded.get("/docs/anything-else").status_code == 401


@pytest.mark.slow
def test_a_browser_without_a_network_shows_every_path_and_asks_the_service(service: Service, tmp_path: Path) -> None:
    for url in serve_on_free_port(create_api(service)):
        with chromium() as browser:
            browser.look_like(1200, 900)
            browser.open(f"{url}/docs")
            browser.wait_for("document.querySelectorAll('.opblock').length > 10")
            shown = browser.value("[...document.querySelectorAll('.opblock-summary-path')].map(e => e.dataset.path)")
            assert set(shown) == set(create_api(service).openapi()["paths"])
            browser.picture(tmp_path / "docs.png")
            browser.click("[id$=healthz_get] .opblock-summary-control")
            browser.wait_for("!!document.querySelector('.try-out__btn')")
            browser.click(".try-out__btn")
            browser.wait_for("!!document.querySelector('.execute')")
            browser.click(".execute")
            browser.wait_for("document.querySelector('.live-responses-table')?.innerText.includes('alive')")
            browser.picture(tmp_path / "docs-asked.png")
            assert not browser.complaints, "its own content security policy let everything through"
