"""The page's addresses: HTML, scripts, the stream of events, samples, the snapshot itself. An ASGI application.

Checks every request with `access.py` before anything else sees it.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.ventilator.dashboard.access import HEADERS, Access
from penstock.ventilator.dashboard.events import Events

#: How the page's files are served, by their endings.
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
#: Longest name of a stream that is looked up (letters).
_LONGEST_NAME = 256

#: Returns the last snapshot as JSON; none while the sources are listed.
Latest = Callable[[], str | None]
#: Returns samples of a stream as values for JSON.
ShowSamples = Callable[[str], Awaitable[dict[str, Any]]]


def make_app(access: Access, events: Events, latest: Latest, samples: ShowSamples) -> ASGIApp:
    """Return the application."""

    async def status(_: Request) -> Response:
        if (text := latest()) is None:
            return JSONResponse({"why": "listing the sources"}, HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(text, media_type="application/json")

    async def show_samples(request: Request) -> Response:
        stream = request.query_params.get("stream", "")
        if not 0 < len(stream) <= _LONGEST_NAME:
            return JSONResponse({"why": "name a stream: /samples?stream=train"}, HTTPStatus.BAD_REQUEST)
        return JSONResponse(await samples(stream))

    routes = [
        Route("/events", events),
        Route("/status", status),
        Route("/samples", show_samples),
        *(Route(path, _serve(content, kind)) for path, content, kind in _assets()),
    ]
    return Guard(Starlette(routes=routes), access)


class Guard:
    """Answers only requests that `access.py` allows, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Protect `app`."""
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            return
        await self._choose(scope)(scope, receive, _with_headers(send))

    def _choose(self, scope: Scope) -> ASGIApp:
        request = Request(scope)
        match self._access.judge(request.headers, request.query_params.get("token", "")):
            case "wrong host":
                return PlainTextResponse(
                    "This host is not known by that name here. Use its address or host name, or start the ventilator "
                    "with --dashboard-hosts NAME.\n",
                    HTTPStatus.FORBIDDEN,
                )
            case "no token":
                return PlainTextResponse(
                    "This dashboard wants its token: open the address that was printed when it started, "
                    "http://…/?token=…; with a --dashboard-token-file, the token is what that holds.\n",
                    HTTPStatus.UNAUTHORIZED,
                    {"WWW-Authenticate": "Bearer"},
                )
            case "remember" if scope["path"] == "/":  # the token leaves the address bar and the history
                return RedirectResponse("/", HTTPStatus.SEE_OTHER, {"Set-Cookie": self._access.cookie()})
            case _:
                return self._app


def _with_headers(send: Send) -> Send:
    extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return with_headers


def _assets() -> list[tuple[str, bytes, str]]:
    """Return the page's own files: path, content and type. Read once; nothing else can be asked for."""
    found = []
    for file in sorted(files("penstock.ventilator.dashboard").joinpath("assets").iterdir(), key=lambda file: file.name):
        ending = "." + file.name.rpartition(".")[2]
        if ending in _TYPES:
            path = "/" if file.name == "index.html" else f"/assets/{file.name}"
            found.append((path, file.read_bytes(), _TYPES[ending]))
    return found


def _serve(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(_: Request) -> Response:
        return Response(content, media_type=kind)

    return serve
