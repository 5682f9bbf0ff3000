"""A local HTTP server that answers each request by the next act of a script; the last act repeats."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

Act = Callable[[BaseHTTPRequestHandler, bytes], None]


@dataclass
class Server:
    """What it serves, how, and what it was asked."""

    content: bytes = b""
    acts: list[Act] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def ranges(self) -> list[str | None]:
        """The Range header of every request so far."""
        return [headers.get("range") for _, headers in self.requests]


def serve(server: Server) -> ThreadingHTTPServer:
    """Start it on a free port of this machine; the test is skipped where its client is missing."""
    if shutil.which("curl") is None:
        pytest.skip("needs the program curl")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
            act = server.acts[0] if len(server.acts) == 1 else server.acts.pop(0)
            act(self, server.content)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.handle_error = lambda *_: None  # type: ignore[method-assign] - clients that hang up are the point
    server.url = f"http://127.0.0.1:{made.server_port}/files/pictures.zip"
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return made


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: object) -> None:
    """One whole answer; ``Content_Length`` and others may be overridden."""
    handler.send_response(status)
    for key, value in ({"Content_Length": len(body)} | headers).items():
        if value is not None:
            handler.send_header(key.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def asked_from(handler: BaseHTTPRequestHandler) -> int:
    """First byte asked for; 0 where no range was given."""
    return int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])


def properly(handler: BaseHTTPRequestHandler, content: bytes, stop: int | None = None) -> None:
    """As a good server: it does ranges. ``stop``: break off after that many bytes of the file."""
    first = asked_from(handler)
    if first >= len(content) > 0:
        answer(handler, 416, Content_Range=f"bytes */{len(content)}")
        return
    span = {"Content_Range": f"bytes {first}-{len(content) - 1}/{len(content)}"} if first else {}
    answer(handler, 206 if first else 200, content[first:stop], Content_Length=len(content) - first, **span)


def until(stop: int) -> Act:
    """Break the connection off after ``stop`` bytes of the file."""
    return lambda handler, content: properly(handler, content, stop)


def says(status: int, body: bytes = b"", **headers: object) -> Act:
    """A fixed answer."""
    return lambda handler, content: answer(handler, status, body, **headers)
