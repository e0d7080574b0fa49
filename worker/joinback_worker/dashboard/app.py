"""The pages, by address. They only answer GET and HEAD."""

from collections.abc import Callable, Collection, Coroutine
from typing import Any

from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from joinback.errors import ConfigurationError
from joinback_worker.connection.connect import connect

from .bounded import Bounded
from .desk import Desk
from .doors import Doors
from .place import EVERY_S_DEFAULT, Place
from .render import STATIC, rendered
from .troubles import FORESEEN, Trouble, trouble_of
from .views import application, dead, doctor, key, overview

Look = Callable[[Desk, Place], Coroutine[Any, Any, dict[str, Any]]]
VIEWS: dict[str, tuple[str, Look]] = {
    "/": ("overview.html", overview.look),
    "/application": ("application.html", application.look),
    "/dead": ("dead.html", dead.look),
    "/key": ("key.html", key.look),
    "/doctor": ("doctor.html", doctor.look),
}
LIVE = frozenset({"/"})
"""The pages that refresh by themselves. They cost some small commands per application. The others would cost more:
the figures of days need the sink, and the page of dead letters reads all letters.
"""


def app(desk: Desk, *, password: str | None = None, names: Collection[str] = (), root: str = "") -> ASGIApp:
    """Return the dashboard. `names` are the host names it answers to, beside loopback. `root` is before each path."""
    ask = Bounded().ask

    def page(path: str) -> Route:
        template, look = VIEWS[path]

        async def show(request: Request) -> Response:
            place = Place.of(request)
            try:
                place.check()
                every_s = place.every_s if path in LIVE else 0
                # Viewers that refresh at different intervals share one answer.
                facts = await ask(place.with_(every=None), lambda: look(desk, place))
            except FORESEEN as error:
                return _trouble(place, trouble_of(error))
            about = {"place": place, "every_s": every_s, "is_live": path in LIVE}
            return HTMLResponse(rendered(template, **about, **facts))

        return Route(path, show, methods=["GET"])

    async def ready(_: Request) -> Response:
        redis = connect(desk.settings)
        try:
            await redis.execute_command("PING")
        except (RedisError, OSError):
            return PlainTextResponse("Redis does not answer\n", 503)
        finally:
            await redis.aclose()
        return PlainTextResponse("ready\n")

    async def not_served(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code != 404:
            return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)
        return _trouble(Place.of(request), Trouble(status=404, title="Not found", says="There is no such page."))

    async def unforeseen(request: Request, _: Exception) -> Response:
        # The server logs the error.
        says = "See the log of the dashboard."
        return _trouble(Place.of(request), Trouble(status=500, title="An error of the dashboard", says=says))

    pages = Starlette(
        routes=[
            *map(page, VIEWS),
            Route("/healthz", lambda _: PlainTextResponse("alive\n"), methods=["GET"]),
            Route("/readyz", ready, methods=["GET"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={HTTPException: not_served, Exception: unforeseen},
    )
    # A redirect would contain a scheme and a host, and a proxy in front may have others.
    pages.router.redirect_slashes = False
    return Doors(pages, names=names, password=password, root=root)


def _trouble(place: Place, trouble: Trouble) -> Response:
    try:
        every_s = place.every_s if place.path in LIVE else 0
    except ConfigurationError:
        every_s = EVERY_S_DEFAULT
    about = {"place": place, "every_s": every_s, "is_live": place.path in LIVE, "trouble": trouble}
    return HTMLResponse(rendered("trouble.html", **about), trouble.status)
