"""Serving the page on this machine, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import webbrowser
from collections.abc import Callable
from typing import Any

from aiohttp import web

from deepbio_web.access import Access
from deepbio_web.downloads import add_downloads
from deepbio_web.page import Page
from deepbio_web.style import LOADING

__all__ = ["serve"]

HOST = "127.0.0.1"


async def serve(
    make_page: Callable[[], Page],
    *,
    port: int = 0,
    browser: bool = True,
    access: Access | None = None,
    on_address: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a page until the task is cancelled.

    Parameters
    ----------
    make_page : callable
        Makes the page; called once the event loop runs.
    port : int
        0 takes a free one.
    browser : bool
        Open the page in the user's browser.
    access : Access, optional
        By default one with a new random token.
    on_address : callable
        Is told the address, with the token, once the page can be opened.
    """
    access = access or Access()
    page = make_page()

    def prepare(backend: Any) -> None:
        backend.config.update(host=HOST, port=port)  # whatever TRAME_ARGS says
        access.guard(backend.app)
        backend.app.router.add_get("/loading.tpl", _loading)
        add_downloads(backend.app.router, page)

    def ready(**_: Any) -> None:
        address = access.address(page.server.port)
        on_address(address)
        if browser:
            webbrowser.open(address)

    page.server.cli.set_defaults(authKey=access.secret)
    page.server.controller.on_server_bind.add(prepare)
    page.server.controller.on_server_ready.add(ready)
    try:
        await _run(page, port)
    finally:
        page.close()


async def _run(page: Page, port: int) -> None:
    serving = page.server.start(
        host=HOST,
        port=port,
        exec_mode="coroutine",
        thread=True,  # signals are the command's business
        timeout=0,
        open_browser=False,
        show_connection_info=False,
        disable_logging=True,
    )
    tasks = [asyncio.ensure_future(serving), asyncio.ensure_future(page.work())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # tells what went wrong
    finally:
        with contextlib.suppress(Exception):
            await page.server.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _loading(request: web.Request) -> web.Response:
    """What is seen until the first message arrives, in place of trame's own."""
    return web.Response(text=LOADING, content_type="text/html")
