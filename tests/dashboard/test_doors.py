"""Who is let in, and what a browser may do with the page."""

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.testclient import TestClient

from joinback.settings import Settings
from joinback_worker.dashboard.app import VIEWS, app
from joinback_worker.dashboard.desk import Desk
from joinback_worker.dashboard.doors import POLICY
from joinback_worker.dashboard.place import Place

PASSWORD = "correct horse: battery"


def visitor(password: str | None = None, host: str = "127.0.0.1:8420", names: tuple[str, ...] = ()) -> TestClient:
    pages = app(Desk(settings=Settings(sink_url="stdout:")), password=password, names=names)
    return TestClient(pages, base_url=f"http://{host}", follow_redirects=False)


def login(password: str, user: str = "anybody", scheme: str = "Basic") -> dict[str, str]:
    return {"Authorization": f"{scheme} {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def test_the_policy_lets_nothing_in_that_is_not_ours() -> None:
    """Neither inline script nor style, nor anything from another host; every answer has it, errors too."""
    parts = dict(part.strip().split(" ", 1) for part in POLICY.split(";"))
    assert parts["default-src"] == "'none'"
    assert {parts["script-src"], parts["style-src"], parts["connect-src"], parts["form-action"]} == {"'self'"}
    assert {parts["frame-ancestors"], parts["base-uri"]} == {"'none'"}
    assert "unsafe" not in POLICY
    known, strange = visitor(), visitor(host="evil.example")
    for answer in (
        known.get("/application?application=a"), known.get("/nowhere"), known.post("/"), known.get("/healthz"),
        known.get("/static/style.css"), strange.get("/"), visitor(PASSWORD).get("/"),
    ):  # fmt: skip
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_pages_are_not_kept_by_a_browser() -> None:
    """They hold what people said; style and script may be kept, and are asked for anew."""
    assert visitor().get("/application?application=a").headers["cache-control"] == "no-store"
    assert visitor().get("/static/style.css").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", [*VIEWS, "/healthz", "/readyz", "/static/style.css", "/nowhere"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_only_get_and_head_are_answered(path: str, method: str) -> None:
    """Nothing can be changed by the dashboard, so nothing else is understood."""
    assert visitor().request(method, path).status_code in ((404, 405) if path == "/nowhere" else (405,))


def test_head_is_a_get_without_its_body() -> None:
    """As proxies and probes ask."""
    answer = visitor().head("/healthz")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8420", "localhost:8420", "LOCALHOST", "[::1]:8420", "127.8.9.1"]
)
def test_this_machine_is_known_by_all_its_names(host: str) -> None:
    """Loopback's own names need not be told."""
    assert visitor(host="127.0.0.1").get("/static/style.css", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.7", ""]
)
def test_a_name_that_was_made_to_point_here_is_refused(host: str) -> None:
    """DNS rebinding: a page's own name may lead to 127.0.0.1, but its Host gives it away."""
    answer = visitor().get("/static/style.css", headers={"Host": host})
    assert answer.status_code == 421
    assert "--name" in answer.text


def test_a_proxys_name_can_be_told() -> None:
    """`--name` lets it in, with any port, whatever its case."""
    for host in ("Dashboard.example", "dashboard.example:443"):
        answer = visitor(names=("dashboard.EXAMPLE",)).get("/static/style.css", headers={"Host": host})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ({}, 200),
    ],
)
def test_another_site_may_link_but_not_fetch(headers: Mapping[str, str], status: int) -> None:
    """Else any page in the same browser could make the stores work."""
    assert visitor().get("/static/style.css", headers=headers).status_code == status


def test_the_password_is_asked_for() -> None:
    """Without it nothing is shown, not even the style; with it everything, whatever the user's name."""
    asked = visitor(PASSWORD)
    assert asked.get("/static/style.css").status_code == 401
    assert asked.get("/static/style.css").headers["www-authenticate"].startswith("Basic ")
    for user in ("joinback", "", "ünï"):
        assert asked.get("/static/style.css", headers=login(PASSWORD, user)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        login(""), login(PASSWORD + " "), login(PASSWORD[:-1]), login(PASSWORD, scheme="Bearer"),
        {"Authorization": ""}, {"Authorization": "Basic"}, {"Authorization": "Basic !!!"},
        {"Authorization": "Basic YQ"}, {"Authorization": f"Basic {PASSWORD}"}, {"Authorization": b"Basic \xff"},
    ],
)  # fmt: skip
def test_a_wrong_login_is_refused(headers: Mapping[str, str | bytes]) -> None:
    """In any form, with no error of ours."""
    assert visitor(PASSWORD).get("/static/style.css", headers=headers).status_code == 401


def test_probes_know_no_password_and_learn_nothing() -> None:
    """A platform asks by address, without a login; it is told one word."""
    probed = visitor(PASSWORD, host="10.0.0.7:8420")
    assert (probed.get("/healthz").status_code, probed.get("/healthz").text) == (200, "alive\n")
    answer = probed.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "Redis does not answer\n")


def test_a_mistake_of_ours_is_a_page_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where to look, shows nothing of what failed, and has the policy of every answer."""

    async def broken(_: Desk, __: Place) -> dict[str, Any]:
        raise ZeroDivisionError(PASSWORD)

    monkeypatch.setitem(VIEWS, "/", ("overview.html", broken))
    pages = app(Desk(settings=Settings(sink_url="stdout:")))
    answer = TestClient(pages, base_url="http://127.0.0.1", raise_server_exceptions=False).get("/")
    assert answer.status_code == 500
    assert "See the log of the dashboard." in answer.text
    assert PASSWORD not in answer.text
    assert answer.headers["content-security-policy"] == POLICY
