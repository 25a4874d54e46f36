"""Tiny packages, an index of packages and a proxy, so that real installations take a second and no network.

The package `deepbio_imaging` here is a stand-in of a few lines, whose `python -m deepbio doctor --json`
answers; what is real is uv, the environment, and everything between them.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

import pytest

DOCTOR = """
import json, sys
assert sys.argv[1:] == ["doctor", "--json"], sys.argv
print("Something that a library prints")
print(json.dumps(REPORT))
"""
FINE = {"ok": True, "findings": []}


def uv_folder() -> Path:
    """Where uv is: on the PATH, or beside this Python."""
    found = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if not found:
        pytest.skip("uv is not installed (pip install uv)")
    return Path(found).parent


def wheel(folder: Path, name: str, version: str, files: dict[str, str], metadata: str = "") -> Path:
    """Write a wheel of pure Python."""
    info = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n{metadata}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for member, text in content.items():
            entry = zipfile.ZipInfo(member)
            entry.external_attr = (0o100755 if ".data/scripts/" in member else 0o100644) << 16
            file.writestr(entry, text)
    return path


def wheels(folder: Path, version: str = "9.1", report: dict[str, object] = FINE) -> Path:
    """A folder with all that DeepBio needs, as a hospital without network would be given it."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel(
        folder,
        "deepbio_imaging",
        version,
        {
            "deepbio/__init__.py": f'__version__ = "{version}"\n',
            "deepbio/__main__.py": f"REPORT = {report!r}\n{DOCTOR}",
            "deepbio/worker.py": "",
        },
        "Requires-Dist: onnxruntime\nProvides-Extra: slicer\nProvides-Extra: torch\nProvides-Extra: openvino\n"
        "Requires-Dist: appose; extra == 'slicer'\n",
    )
    wheel(folder, "appose", "0.10", {"appose/__init__.py": ""})
    wheel(folder, "onnxruntime", "1.30", {"onnxruntime/__init__.py": ""})
    return folder


class Server:
    """Serves a folder of wheels as a package index; as a proxy it answers for every host.

    `seen` has the requested addresses. Names in `held` are not sent before `release` is called.
    """

    def __init__(self, folder: Path, held: tuple[str, ...] = ()) -> None:
        self.folder, self.held, self.seen = folder, held, []
        self.asked, self._go = threading.Event(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                outer.answer(self, body=False)

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler, body: bool = True) -> None:
        self.seen.append(request.path)
        path = urlparse(request.path).path
        if path.startswith("/simple/"):
            name = path.split("/")[2].replace("-", "_")
            links = [
                f'<a href="/files/{one.name}">{one.name}</a>' for one in self.folder.glob(f"{name}-*.whl")
            ]
            self._send(request, "".join(links).encode(), "text/html", body, found=bool(links))
            return
        file = self.folder / Path(path).name
        if file.name.startswith(self.held):
            self.asked.set()
            self._go.wait(30)
        self._send(
            request, file.read_bytes() if file.is_file() else b"", "application/zip", body, file.is_file()
        )

    def _send(
        self, request: BaseHTTPRequestHandler, content: bytes, kind: str, body: bool, found: bool
    ) -> None:
        try:
            request.send_response(200 if found else 404)
            request.send_header("Content-Type", kind)
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            if body:
                request.wfile.write(content)
        except OSError:  # the asker was ended
            return


def left(folder: Path) -> list[str]:
    """Names of what is in a folder; none if there is no such folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
