"""Who may ask: Host and Origin against lists, the token in constant time, and headers that keep the page to itself."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from render.errors import UnauthenticatedError

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "connect-src 'self' ws: wss:",
        "img-src 'self' blob: data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def token_check(token: str | None) -> Callable[[str], None]:
    """Return a function that raises UnauthenticatedError for any token but this; for none if there is none."""

    def check(given: str) -> None:
        # Compared as bytes: compare_digest takes no text beyond ASCII.
        if token is not None and not hmac.compare_digest(given.encode(), token.encode()):
            raise UnauthenticatedError("wrong token" if given else "a token is needed")

    return check


class Door:
    """ASGI middleware: refuses foreign hosts and origins, and adds the security headers.

    A page of another site can make a browser send requests here, but it can't choose their Host header (a name that
    was rebound by DNS shows there) nor, on a websocket, their Origin. An image or a frame in such a page comes without
    an Origin, but says what it is by Sec-Fetch-Site and -Dest: it could not be seen, yet cost a picture each.

    Parameters
    ----------
    app
        What is behind the door.
    allowed_hosts
        Host names besides the loopback ones, with or without a port; without one any port is meant.
    allowed_origins
        Origins of pages that may ask, besides this server's own: ``https://viewer.example``. They may read answers
        (CORS), with the token in their header.
    """

    def __init__(self, app: ASGIApp, *, allowed_hosts: Iterable[str] = (), allowed_origins: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = LOOPBACK_HOSTS | {host.lower() for host in allowed_hosts}
        self._origins = {origin.lower().rstrip("/") for origin in allowed_origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if listed is not None:
                    headers["Access-Control-Allow-Origin"] = listed
                    headers["Access-Control-Allow-Headers"] = "Authorization"
                    headers["Cross-Origin-Resource-Policy"] = "cross-origin"
                    headers.add_vary_header("Origin")
            await send(message)

        request = Headers(scope=scope)
        origin = request.get("origin", "")
        listed = origin if origin.lower() in self._origins else None
        refusal = self._refusal(request, is_websocket=scope["type"] == "websocket")
        if refusal is None and listed is not None and scope.get("method") == "OPTIONS":
            await Response(status_code=204)(scope, receive, send_with_headers)  # what a browser asks first
        elif refusal is None:
            await self._app(scope, receive, send_with_headers)
        else:
            await refusal(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers, *, is_websocket: bool) -> PlainTextResponse | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_allowed(hosts[0].lower()):
            return PlainTextResponse("this Host is not served here: see --allow-host\n", 421)
        origins = headers.getlist("origin")
        # Programs send no Origin; browsers always do on a websocket, and on a page's own requests to another site.
        if origins and not self._is_own(origins, hosts[0]):
            what = "open the stream" if is_websocket else "ask here"
            return PlainTextResponse(f"this Origin may not {what}: see --allow-origin\n", 403)
        if (
            not origins
            and headers.get("sec-fetch-site") == "cross-site"
            and headers.get("sec-fetch-dest") != "document"
        ):
            return PlainTextResponse("pages of other sites may link here, not embed\n", 403)
        return None

    def _is_allowed(self, host: str) -> bool:
        return host in self._hosts or _without_port(host) in self._hosts

    def _is_own(self, origins: list[str], host: str) -> bool:
        origin = origins[0].lower()
        if len(origins) != 1:
            return False
        if origin in self._origins:
            return True
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc == host.lower()


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isascii() and port.isdigit() else host
