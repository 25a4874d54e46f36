"""Who may talk to the page: only a browser that has the token, and only under a name of this machine.

The page shows medical images and runs models, so that being reachable on a port is not enough:

* it listens on 127.0.0.1 only;
* the address that ``deepbio view`` opens carries a random token, which is exchanged for a cookie; without
  either of them every request is refused, also the one that opens the websocket;
* the ``Host`` header has to name this machine, so that no foreign name can be pointed at it (DNS
  rebinding), and the ``Origin`` header has to be this page, so that no other page can use the cookie;
* the browser is told to load nothing from anywhere else.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

__all__ = ["Access"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_NAMES = (
    "127.0.0.1",
    "localhost",
    "::1",
)  # any port: a tunnel (ssh -L) may use another one on the user's side
_HEADERS = {
    # trame compiles its templates in the browser: that is why scripts need 'unsafe-eval'
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; font-src 'self' data:; "
        "connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_REFUSED = (
    "<!doctype html><meta charset='utf-8'><title>DeepBio</title>"
    "<body style='font: 16px/1.5 sans-serif; max-width: 34em; margin: 4em auto; padding: 0 1em'>"
    "<h1 style='font-size: 1.3em'>{title}</h1><p>{text}</p></body>"
)


class Access:
    """The token of one page, and the check that every request passes.

    Parameters
    ----------
    token : str, optional
        What a browser has to show once; by default 256 random bits.
    """

    def __init__(self, token: str = "") -> None:
        self.token = token or secrets.token_urlsafe(32)
        self.secret = secrets.token_urlsafe(
            32
        )  # what trame's own protocol asks for, in place of a known word
        # Browsers keep one jar of cookies for all ports of a host; each page needs a name of its own.
        self.cookie = f"deepbio-{hashlib.sha256(self.token.encode()).hexdigest()[:12]}"

    def address(self, port: int) -> str:
        """Return what a user opens."""
        return f"http://127.0.0.1:{port}/?token={self.token}"

    def guard(self, app: web.Application) -> None:
        """Put the check before everything that `app` serves; call it before the server starts."""

        @web.middleware
        async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                response = self._refusal(request) or self._entrance(request) or await handler(request)
            except web.HTTPException as answer:
                answer.headers.update(_HEADERS)
                raise
            if not response.prepared:  # a websocket has sent its headers already
                response.headers.update(_HEADERS)
            return response

        async def session(request: web.Request) -> web.Response:
            """Tell trame's client where to connect; it asks here first."""
            return web.json_response({"sessionURL": "ws://USE_HOST/ws", "secret": self.secret})

        async def alive(request: web.Request) -> web.Response:
            return web.Response(status=204, headers={"Cache-Control": "no-store"})

        app.middlewares.insert(0, checked)
        app.router.add_post("/paraview/", session)
        app.router.add_get("/alive", alive)

    def _refusal(self, request: web.Request) -> web.Response | None:
        host = _host_name(request.headers.get("Host", ""))
        if host not in _NAMES:
            return _refused(
                403,
                "Not under this name",
                "Open the page under 127.0.0.1 or localhost, not under another name.",
            )
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
            return _refused(403, "Not from another page", "This page answers only itself.")
        if not (self._is_token(request.query.get("token", "")) or self._has_cookie(request)):
            return _refused(
                401,
                "This page needs its token",
                "Open the whole address that <code>deepbio view</code> has printed, with <code>?token=</code> "
                "and what follows. A page that was opened with it can be loaded again without.",
            )
        return None

    def _entrance(self, request: web.Request) -> web.Response | None:
        """Exchange the token for the cookie, so that it does not stay in the address bar."""
        if request.path != "/" or request.method != "GET":
            return None
        response = web.Response(status=303, headers={"Location": "index.html", "Cache-Control": "no-store"})
        response.set_cookie(self.cookie, self.token, httponly=True, samesite="Strict", path="/")
        return response

    def _has_cookie(self, request: web.Request) -> bool:
        return self._is_token(request.cookies.get(self.cookie, ""))

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())


def _host_name(header: str) -> str:
    """Host of a ``Host`` header, without the port; "" when it is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:  # "[::1" and the like
        return ""


def _refused(status: int, title: str, text: str) -> web.Response:
    return web.Response(
        status=status,
        text=_REFUSED.format(title=title, text=text),
        content_type="text/html",
        headers={"Cache-Control": "no-store"},
    )
