"""Who is let in: real requests over a real socket, without any view."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="the extra 'web' is not installed")
from aiohttp import web  # noqa: E402

from deepbio_web.access import Access  # noqa: E402

Visit = Callable[[Any, str], Awaitable[None]]


def visiting(visit: Visit, access: Access) -> None:
    """Serve a small site behind the guard and let `visit(client, base address)` look at it."""

    async def secret(request: web.Request) -> web.Response:
        return web.Response(text="the patient's image")

    async def socket(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        await opened.send_str("welcome")
        await opened.close()
        return opened

    async def main() -> None:
        app = web.Application()
        access.guard(app)
        app.router.add_get("/index.html", secret)
        app.router.add_get("/ws", socket)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address
            async with aiohttp.ClientSession(cookie_jar=jar) as client:
                await visit(client, f"http://127.0.0.1:{port}")
        finally:
            await runner.cleanup()

    asyncio.run(main())


@pytest.fixture
def access() -> Access:
    return Access()


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {Access().token for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 43  # 256 bits


def test_without_the_token_nothing_is_served(access: Access) -> None:
    async def visit(client: Any, base: str) -> None:
        for path in (
            "/",
            "/index.html",
            "/ws",
            "/alive",
            "/nothing",
            "/?token=",
            "/?token=wrong",
            f"/?token={access.token}x",
        ):
            async with client.get(base + path) as answer:
                assert answer.status == 401, path
                assert "token" in await answer.text()
        async with client.post(base + "/paraview/") as answer:
            assert answer.status == 401
            assert access.secret not in await answer.text()

    visiting(visit, access)


def test_the_token_becomes_a_cookie_and_leaves_the_address(access: Access) -> None:
    async def visit(client: Any, base: str) -> None:
        async with client.get(f"{base}/?token={access.token}", allow_redirects=False) as answer:
            assert answer.status == 303
            assert answer.headers["Location"] == "index.html"
            cookie = answer.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
        async with client.get(f"{base}/index.html") as answer:
            assert answer.status == 200
            assert await answer.text() == "the patient's image"
        async with client.get(base) as answer:  # opened again without the token
            assert answer.status == 200
            assert str(answer.url) == f"{base}/index.html"

    visiting(visit, access)


def test_the_websocket_needs_it_too(access: Access) -> None:
    async def visit(client: Any, base: str) -> None:
        address = base.replace("http", "ws") + "/ws"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(address)
        assert refused.value.status == 401
        async with client.ws_connect(f"{address}?token={access.token}") as opened:
            assert await opened.receive_str() == "welcome"

    visiting(visit, access)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.1.7", "0.0.0.0", "", "[::1"],
)
def test_under_a_foreign_name_even_the_token_does_not_help(access: Access, host: str) -> None:
    async def visit(client: Any, base: str) -> None:
        async with client.get(f"{base}/?token={access.token}", headers={"Host": host}) as answer:
            assert answer.status in (400, 403), host
            assert "Set-Cookie" not in answer.headers

    visiting(visit, access)


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:9000"])
def test_a_tunnel_may_use_another_port(access: Access, host: str) -> None:
    async def visit(client: Any, base: str) -> None:
        headers = {"Host": host, "Origin": f"http://{host}"}
        async with client.get(f"{base}/index.html?token={access.token}", headers=headers) as answer:
            assert answer.status == 200

    visiting(visit, access)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:1", "http://localhost", "null", "file://"]
)
def test_other_pages_cannot_use_the_cookie(access: Access, origin: str) -> None:
    async def visit(client: Any, base: str) -> None:
        async with client.get(f"{base}/?token={access.token}") as answer:
            assert answer.status == 200
        for path in ("/index.html", "/ws"):
            async with client.get(base + path, headers={"Origin": origin}) as answer:
                assert answer.status == 403, path
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(base.replace("http", "ws") + "/ws", headers={"Origin": origin})
        assert refused.value.status == 403

    visiting(visit, access)


def test_the_browser_is_told_to_load_nothing_from_elsewhere(access: Access) -> None:
    async def visit(client: Any, base: str) -> None:
        for path in ("/index.html", "/nothing"):
            async with client.get(f"{base}{path}?token={access.token}") as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'self'" in policy
                assert "connect-src 'self'" in policy
                assert "http" not in policy
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"

    visiting(visit, access)


def test_two_pages_have_cookies_of_their_own() -> None:
    assert Access().cookie != Access().cookie
