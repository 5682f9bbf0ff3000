"""Downloads by curl from a local server: interrupted, redirected, slow, refused, wrong; never a byte not the file's."""

from __future__ import annotations

import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from fne.data import download as module
from fne.data.download import download
from fne.utils.errors import UserError
from tests.data.http_server import Server, answer, properly, says, serve, until, without_ranges

CONTENT = b"PK\x03\x04" + np.random.default_rng(0).bytes(700_000)
SIZE = len(CONTENT)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of CONTENT that behaves well unless told otherwise."""
    monkeypatch.setenv("no_proxy", "*")
    made = Server(CONTENT, acts=[properly])
    http = serve(made)
    yield made
    http.shutdown()
    http.server_close()


class Place:
    """Where a download goes, and how long it was waited for."""

    def __init__(self, folder: Path) -> None:
        self.target, self.waits = folder / "deep" / "pictures.zip", []
        self.part = self.target.with_name("pictures.zip.part")

    def has_part(self, content: bytes) -> None:
        self.part.parent.mkdir(exist_ok=True)
        self.part.write_bytes(content)

    def get(self, server: Server, **options) -> None:
        download(server.url, self.target, **{"size": SIZE, "timeout": 5} | options)

    def complete(self) -> bool:
        left = sorted(path.name for path in self.target.parent.iterdir())
        return self.target.read_bytes() == CONTENT and left == ["pictures.zip"]

    def fails(self, server: Server, message: str, kept: int = 0, **options) -> str:
        with pytest.raises(UserError, match=message) as caught:
            self.get(server, **options)
        assert not self.target.exists() and self.part.read_bytes() == CONTENT[:kept]
        summary = str(caught.value)
        assert server.url in summary and f"{kept} bytes are kept in {self.part}: the same command continues" in summary
        return summary


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    monkeypatch.setattr(module, "sleep", made.waits.append)
    return made


def test_a_plain_download(server: Server, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.get(server)
    assert place.complete() and not place.waits and server.ranges() == [None]
    assert "accept-encoding" not in server.requests[0][1]
    assert capsys.readouterr().err.startswith("download pictures.zip: 0/0 MB, ")


def test_curl_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="https://x/y.zip: .*the program `curl` is not on the PATH; install it: .conda"):
        download("https://x/y.zip", tmp_path / "y.zip", size=9)
    assert not list(tmp_path.iterdir())


def test_a_curl_that_knows_no_option(server: Server, place: Place, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "curl").write_text("#!/bin/sh\necho 'curl: option --x: is unknown' >&2\nexit 2\n")
    (tmp_path / "curl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    place.fails(server, r"curl ends with exit code 2 \(curl: option --x: is unknown\)")


def test_settings_of_the_user_do_not_matter_but_the_proxy_does(
    server: Server, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".curlrc").write_text("user-agent = x\nrange = 0-5\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CURL_HOME", str(tmp_path))
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/files/pictures.zip"))
    download("http://pictures.invalid/[1-3]{a,b}.zip", place.target, size=SIZE)
    (requested,) = server.requests
    assert place.complete() and requested[0] == "http://pictures.invalid/[1-3]{a,b}.zip" and "range" not in requested[1]


def test_interrupted_twice_each_part_is_asked_for_once(server: Server, place: Place) -> None:
    server.acts = [until(100_000), until(450_000), properly]
    place.get(server)
    assert place.complete()
    assert server.ranges() == [None, "bytes=100000-", "bytes=450000-"]
    assert place.waits == [1, 1]  # both attempts brought something, so patience starts anew


def test_a_later_call_continues(server: Server, place: Place) -> None:
    server.acts = [until(300_000), says(503)]
    place.fails(server, "cannot be downloaded: the server answers 503", 300_000, tries=2)
    server.acts = [properly]
    place.get(server)
    assert place.complete() and server.ranges()[-1] == "bytes=300000-"


# What runs in the background ignores Ctrl-C, and so would its children.
SCRIPT = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
SCRIPT += "from fne.data.download import download; from pathlib import Path; "
SCRIPT += "download(sys.argv[1], Path(sys.argv[2]), size=int(sys.argv[3]))"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_and_continued(server: Server, place: Place, number: int) -> None:
    reached, over = threading.Event(), threading.Event()

    def pauses(handler, content):
        answer(handler, 200, content[:400_000], Content_Length=len(content))
        reached.set()
        over.wait(60)
        handler.wfile.write(content[400_000:])

    server.acts = [pauses, properly]
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.url, place.target, str(SIZE)], stderr=subprocess.DEVNULL
    ) as child:
        assert reached.wait(60)
        while not place.part.exists() or place.part.stat().st_size < 300_000:
            time.sleep(0.02)
        child.send_signal(number)
        assert child.wait() == -number
    got = place.part.stat().st_size
    over.set()  # what a curl that is left over receives now goes nowhere
    place.get(server)
    assert place.complete() and server.ranges() == [None, f"bytes={got}-"]


@pytest.mark.parametrize("length", [300_000, SIZE - 1])
def test_no_ranges_starts_over(server: Server, place: Place, length: int) -> None:
    place.has_part(b"x" * length)
    server.acts = [without_ranges]
    place.get(server)
    assert place.complete() and server.ranges() == [f"bytes={length}-", None]


def up_to(stop):
    return lambda handler, content: answer(handler, 200, content[:stop], Content_Length=len(content))


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(server: Server, place: Place) -> None:
    server.acts = [up_to(5000)]
    place.fails(server, "transfer closed with 695004 bytes remaining|support byte ranges", kept=5000, tries=4)
    assert server.ranges() == [None, "bytes=5000-"] * 2 + [None]
    assert place.waits == [1, 1, 2, 4]  # the first brought something, four in a row brought nothing more


def test_another_range_than_asked_is_not_taken(server: Server, place: Place) -> None:
    def wrong(handler, content):
        answer(handler, 206, content[7:], Content_Range=f"bytes 7-{len(content) - 1}/{len(content)}")

    server.acts = [until(5), wrong, properly]
    place.get(server)
    assert place.complete() and server.ranges() == [None, "bytes=5-", None]


@pytest.mark.parametrize("more", [1, 9_000_000])
def test_a_part_longer_than_the_file(server: Server, place: Place, more: int) -> None:
    place.has_part(b"x" * (SIZE + more))
    place.get(server)
    assert place.complete() and server.ranges() == [None]


def test_a_part_longer_than_what_the_server_has(server: Server, place: Place) -> None:
    place.has_part(b"x" * 900)
    server.acts = [says(416, b"out of range"), properly]
    place.get(server)
    assert place.complete() and server.ranges() == ["bytes=900-", None]


def test_a_complete_part_asks_nothing(server: Server, place: Place) -> None:
    place.has_part(CONTENT)
    place.get(server)
    assert place.complete() and not server.requests


def test_redirects_are_followed_with_the_range(server: Server, place: Place) -> None:
    moved = says(302, b"<html>moved", Content_Type="text/html", Location="/mirror/other.zip?token=1")
    server.acts = [moved, until(200_000), moved, properly]
    place.get(server)
    assert place.complete()
    assert [path for path, _ in server.requests][1::2] == ["/mirror/other.zip?token=1"] * 2
    assert server.ranges() == [None, None, "bytes=200000-", "bytes=200000-"]


def test_redirects_without_end(server: Server, place: Place) -> None:
    place.has_part(CONTENT[:77])
    server.acts = [says(302, b"<html>", Content_Type="text/html", Location="/files/pictures.zip")]
    place.fails(server, "cannot be downloaded: Maximum .10. redirects followed", kept=77)
    assert len(server.requests) == 11


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x"])
def test_a_redirect_to_another_kind_of_address_is_not_followed(server: Server, place: Place, address: str) -> None:
    server.acts = [says(302, Location=address)]
    place.fails(server, f"it leads to {address}, which is not allowed")


@pytest.mark.parametrize("status", [204, 302, 304])
def test_a_redirect_to_nowhere_and_other_empty_answers(server: Server, place: Place, status: int) -> None:
    place.has_part(CONTENT[:77])
    server.acts = [says(status, b"see there" if status == 302 else b"")]
    place.fails(server, f"the server answers {status}", kept=77)


@pytest.fixture
def encrypted(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Another server, of https, whose certificate nobody knows."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost".split()
    try:
        subprocess.run(["openssl", *words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("the program openssl is not on the PATH")
    made = Server(CONTENT, acts=[properly])
    http = serve(made)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    made.url = made.url.replace("http://127.0.0.1", "https://localhost")
    yield made
    http.shutdown()
    http.server_close()


def test_a_certificate_that_nobody_knows(encrypted: Server, place: Place) -> None:
    place.fails(encrypted, "cannot be downloaded: SSL certificate problem: self.signed certificate")
    assert not encrypted.requests and not place.waits


def test_encrypted(server: Server, encrypted: Server, place: Place, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "certificate.pem"))
    encrypted.acts = [says(302, Location=server.url), properly]
    place.fails(encrypted, f"it leads to {server.url}, which is not allowed")
    assert not server.requests
    place.get(encrypted)
    assert place.complete()


def test_silence_ends_the_attempt_and_keeps_what_came(server: Server, place: Place) -> None:
    over = threading.Event()

    def falls_silent(handler, content):
        answer(handler, 200, content[:400_000], Content_Length=len(content))
        over.wait(60)

    server.acts = [falls_silent, properly]
    place.get(server, timeout=1)
    over.set()
    assert place.complete() and server.ranges() == [None, "bytes=400000-"]


def test_chunks_that_break_off(server: Server, place: Place) -> None:
    def chunks(handler, content, end=b""):
        handler.protocol_version = "HTTP/1.1"
        answer(handler, 200, Content_Length=None, Transfer_Encoding="chunked")
        handler.wfile.write(f"{len(content):x}\r\n".encode() + content + end)

    end = b"\r\nffff\r\n" + CONTENT[100_000:100_003]  # a chunk of which three bytes come
    server.acts = [lambda handler, content: chunks(handler, content[:100_000], end), properly]
    place.get(server)
    assert place.complete() and server.ranges()[1] == "bytes=100003-"
    server.acts = [lambda handler, content: chunks(handler, content, b"\r\n0\r\n\r\n")]
    place.target.unlink()
    place.get(server)
    assert place.complete()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_servers_are_asked_again(server: Server, place: Place, status: int) -> None:
    server.acts = [says(status, b"<html>", Content_Type="text/html")] * 3 + [properly]
    place.get(server)
    assert place.complete() and place.waits == [1, 2, 4]


def test_the_wait_that_a_server_asks_for(server: Server, place: Place) -> None:
    waits = [7, "9" * 6000, "later"]
    server.acts = [says(503, Retry_After=wait) for wait in waits] + [properly]
    place.get(server)
    assert place.complete() and place.waits == [7, module.LONGEST_WAIT, 4]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusals_are_final(server: Server, place: Place, status: int) -> None:
    place.has_part(CONTENT[:77])
    server.acts = [says(status, b"<html>gone</html>", Content_Type="text/html")]
    place.fails(server, f"pictures.zip: cannot be downloaded: the server answers {status}", kept=77)
    assert len(server.requests) == 1


@pytest.mark.parametrize("stop", [None, 30])
@pytest.mark.parametrize(
    "act",
    [
        says(200, b"<!DOCTYPE html><title>Sign in</title>", Content_Type="text/html; charset=utf-8"),
        says(200, b"PK but called a page", Content_Type="text/html"),
        says(200, b"\r\n  <HTML><body>quota exceeded</body></html>", Content_Type="application/zip"),
        says(200, b"\xef\xbb\xbf<!doctype HTML>", Content_Length=None),
        says(200, b"<html>", Content_Length=300),
        says(200, b"<html>".ljust(SIZE)),
        says(200, b"<html>".ljust(SIZE + 1), Content_Length=None),
    ],
)
def test_a_web_page_is_named_as_such(server: Server, place: Place, act, stop) -> None:
    server.acts = [act]
    place.fails(server, r"is a web page \(HTML\), not an archive")
    assert len(server.requests) == 1


def test_a_web_page_at_another_address(server: Server, place: Place) -> None:
    server.acts = [says(302, Location="/login?from=1"), says(200, b"<html>")]
    place.fails(server, rf"\(HTML\), not an archive; {server.url.replace('files/pictures.zip', 'login')} answered; ")


def test_a_part_that_is_a_page_is_dropped(server: Server, place: Place) -> None:
    place.has_part(b"<html>")
    place.fails(server, r"is a web page")
    place.get(server)
    assert place.complete()


@pytest.mark.parametrize("first", [0, 77])
@pytest.mark.parametrize("length", [SIZE - 1, SIZE + 1, SIZE + 3_000_000])
@pytest.mark.parametrize("declared", [True, False])
def test_another_length_than_is_known(server: Server, place: Place, first: int, length: int, declared: bool) -> None:
    place.has_part(CONTENT[:first])
    server.content = CONTENT.ljust(length)[:length]
    span = {"Content_Range": f"bytes {first}-{length - 1}/{length}"} if first else {}
    body = server.content[first:]
    server.acts = [says(206 if first else 200, body, Content_Length=len(body) if declared else None, **span)]
    kind = "longer" if length > SIZE else "shorter"
    place.fails(server, f"pictures.zip: is {kind} than is known; allowed: {SIZE}", kept=first)


def test_an_answer_without_end(server: Server, place: Place) -> None:
    def endless(handler, content):
        answer(handler, 200, content, Content_Length=None)
        while True:  # until the client hangs up
            handler.wfile.write(content)

    server.acts = [endless]
    place.fails(server, "is longer than is known")


def test_nobody_there(server: Server, place: Place) -> None:
    server.url = "http://127.0.0.1:9/pictures.zip"
    place.fails(server, "cannot be downloaded: Failed to connect to 127.0.0.1 port 9", tries=2)
    assert place.waits == [1]


def test_no_room_on_the_disk(server: Server, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, SIZE - 1))
    with pytest.raises(UserError, match="no room for the rest of the download: 0.0 GB needed"):
        place.get(server)
    assert not server.requests
    place.has_part(CONTENT[:10])
    place.get(server)  # ten bytes fewer are needed now
    assert place.complete()


def test_two_programs_at_once(server: Server, place: Place) -> None:
    place.part.parent.mkdir()
    with FileLock(f"{place.part}.lock"), pytest.raises(UserError, match="pictures.zip.part: another program is down"):
        place.get(server)
    assert not server.requests and not place.part.exists()
    place.get(server)
    assert place.complete()
