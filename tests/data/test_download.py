"""Downloads from a local server: interrupted, redirected, slow, refused, wrong; never a byte that is not the file's."""

from __future__ import annotations

import fcntl
import shutil
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fne.data import download as module
from fne.data.download import download
from fne.utils.errors import UserError
from tests.data.http_server import Server, answer, properly, says, serve, until, without_ranges

CONTENT = b"PK\x03\x04" + np.random.default_rng(0).bytes(700_000)


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

    def get(self, server: Server, **options) -> None:
        download(server.url, self.target, **{"timeout": 5.0, "sleep": self.waits.append} | options)

    def complete(self, content: bytes = CONTENT) -> bool:
        left = sorted(path.name for path in self.target.parent.iterdir())
        return self.target.read_bytes() == content and left == ["pictures.zip"]

    def fails(self, server: Server, message: str, **options) -> str:
        with pytest.raises(UserError, match=message) as caught:
            self.get(server, **options)
        assert not self.target.exists()
        return str(caught.value)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_plain_download(server: Server, place: Place) -> None:
    place.get(server, size=len(CONTENT))
    assert place.complete() and not place.waits and server.ranges() == [None]
    assert server.requests[0][1]["accept-encoding"] == "identity"


def test_interrupted_twice_each_part_is_asked_for_once(server: Server, place: Place) -> None:
    server.acts = [until(100_000), until(450_000), properly]
    place.get(server)
    assert place.complete()
    assert server.ranges() == [None, "bytes=100000-", "bytes=450000-"]
    assert [headers.get("if-range") for _, headers in server.requests] == [None, '"one"', '"one"']
    assert place.waits == [1.0, 1.0]  # both attempts brought something, so patience starts anew


def test_a_later_call_continues(server: Server, place: Place) -> None:
    server.acts = [until(300_000), says(503)]
    message = place.fails(server, "cannot be downloaded: the server answers 503", tries=2)
    assert f"300000 bytes are kept in {place.part}" in message
    server.acts = [properly]
    place.get(server)
    assert place.complete() and server.ranges()[-1] == "bytes=300000-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, place: Place) -> None:
    server.acts = [until(300_000), says(404)]
    place.fails(server, "404")
    server.acts, server.content, server.etag = [properly], CONTENT[::-1], '"two"'
    place.get(server)
    assert place.complete(CONTENT[::-1])


def test_a_weak_version_is_not_used(server: Server, place: Place) -> None:
    server.etag = 'W/"weak"'
    server.acts = [until(1000), properly]
    place.get(server)
    assert place.complete() and "if-range" not in server.requests[1][1]


def test_no_ranges_starts_over(server: Server, place: Place) -> None:
    server.acts = [until(300_000), without_ranges]
    place.get(server)
    assert place.complete()


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(server: Server, place: Place) -> None:
    server.acts = [lambda handler, content: answer(handler, 200, content[:5000], Content_Length=len(content))]
    place.fails(server, "ended after 5000 of 700004 bytes", tries=3)
    assert len(server.requests) == 4  # the first brought something, three in a row brought nothing more
    assert place.waits == [1.0, 1.0, 2.0]


def test_going_back_and_forth_is_no_progress(server: Server, place: Place) -> None:
    def up_to(stop):
        return lambda handler, content: answer(handler, 200, content[:stop], Content_Length=len(content))

    server.acts = [up_to(5000), up_to(4000), up_to(5000), up_to(4999), properly]
    place.fails(server, "ended after 4999 of 700004 bytes", tries=3)


def test_another_range_than_asked_is_not_taken(server: Server, place: Place) -> None:
    def wrong(handler, content):
        answer(handler, 206, content[7:], Content_Range=f"bytes 7-{len(content) - 1}/{len(content)}")

    server.acts = [until(5), wrong, properly]
    place.get(server)
    assert place.complete() and server.ranges() == [None, "bytes=5-", None]


def test_numbers_that_no_file_has_are_not_believed(server: Server, place: Place) -> None:
    def vast(handler, content):
        answer(handler, 206, content, Content_Range=f"bytes {'9' * 5000}-1/{'9' * 5000}")

    server.acts = [until(300_000), vast, lambda handler, content: answer(handler, 200, content, Content_Length=None)]
    place.get(server)
    assert place.complete()


@pytest.mark.parametrize("mark", [b"\xff\xfe", b'"one"\r\nX: y', '"\u00fc"'.encode()])
def test_a_damaged_note_of_the_version_is_not_sent(server: Server, place: Place, mark: bytes) -> None:
    server.acts = [until(300_000), says(503)]
    place.fails(server, "503", tries=1)
    place.part.with_name("pictures.zip.part.version").write_bytes(mark)
    server.acts = [properly]
    place.get(server)
    assert place.complete() and "if-range" not in server.requests[-1][1]


def test_a_part_longer_than_the_file(server: Server, place: Place) -> None:
    place.part.parent.mkdir()
    place.part.write_bytes(b"x" * (len(CONTENT) + 9))
    place.get(server)
    assert place.complete() and server.ranges() == [f"bytes={len(CONTENT) + 9}-", None]


def test_a_complete_part_asks_nothing(server: Server, place: Place) -> None:
    place.part.parent.mkdir()
    place.part.write_bytes(CONTENT)
    place.get(server, size=len(CONTENT))
    assert place.complete() and not server.requests


def test_redirects_are_followed_with_the_range(server: Server, place: Place) -> None:
    moved = says(302, Location="/mirror/other.zip?token=1")
    server.acts = [moved, until(200_000), moved, properly]
    place.get(server)
    assert place.complete()
    assert [path for path, _ in server.requests][1::2] == ["/mirror/other.zip?token=1"] * 2
    assert server.ranges() == [None, None, "bytes=200000-", "bytes=200000-"]


def test_redirects_without_end(server: Server, place: Place) -> None:
    server.acts = [says(302, Location="/files/pictures.zip")]
    place.fails(server, "the server answers 302")


def test_a_redirect_to_a_local_file_is_not_followed(server: Server, place: Place, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    server.acts = [says(302, Location=f"file://{tmp_path}/secret")]
    place.fails(server, "the server answers 302")


def test_a_redirect_away_from_encryption_is_refused(server: Server, place: Place, monkeypatch) -> None:
    real = module.urllib.request.urlopen

    def plain(request, timeout):
        request.full_url = request.full_url.replace("https:", "http:")
        return real(request, timeout=timeout)

    monkeypatch.setattr(module.urllib.request, "urlopen", plain)
    server.url = server.url.replace("http:", "https:")
    place.fails(server, "redirected to an address without encryption; got 'http://127")


def test_a_slow_answer_is_waited_for(server: Server, place: Place) -> None:
    def slowly(handler, content):
        answer(handler, 200, Content_Length=len(content))
        for start in range(0, len(content), 70_001):
            handler.wfile.write(content[start : start + 70_001])
            handler.wfile.flush()
            threading.Event().wait(0.02)

    server.acts = [slowly]
    place.get(server, timeout=2.0)
    assert place.complete() and len(server.requests) == 1


def test_silence_ends_the_attempt_and_keeps_what_came(server: Server, place: Place) -> None:
    over = threading.Event()

    def falls_silent(handler, content):
        answer(handler, 200, content[:400_000], Content_Length=len(content), ETag=handler.etag)
        over.wait(20)

    server.acts = [falls_silent, properly]
    place.get(server, timeout=0.3)
    over.set()
    assert place.complete() and server.ranges() == [None, "bytes=400000-"]


def test_chunks_that_break_off(server: Server, place: Place) -> None:
    def chunks(handler, content, end=b""):
        handler.protocol_version = "HTTP/1.1"
        answer(handler, 200, Content_Length=None, Transfer_Encoding="chunked", ETag=handler.etag)
        handler.wfile.write(f"{len(content):x}\r\n".encode() + content + end)

    end = b"\r\nffff\r\n" + CONTENT[100_000:100_003]  # a chunk of which three bytes come
    server.acts = [lambda handler, content: chunks(handler, content[:100_000], end), properly]
    place.get(server)
    assert place.complete() and server.ranges()[1] == "bytes=100003-"
    server.acts = [lambda handler, content: chunks(handler, content, b"\r\n0\r\n\r\n")]
    place.target.unlink()
    place.get(server, size=len(CONTENT))
    assert place.complete()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_servers_are_asked_again(server: Server, place: Place, status: int) -> None:
    server.acts = [says(status), says(status), says(status), properly]
    place.get(server)
    assert place.complete() and place.waits == [1.0, 2.0, 4.0]


def test_the_wait_that_a_server_asks_for(server: Server, place: Place) -> None:
    server.acts = [says(429, Retry_After=7), says(503, Retry_After=86_400), says(503, Retry_After="later"), properly]
    place.get(server)
    assert place.complete() and place.waits == [7.0, module.LONGEST_WAIT, 4.0]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusals_are_final(server: Server, place: Place, status: int) -> None:
    server.acts = [says(status, b"<html>gone</html>", Content_Type="text/html")]
    place.fails(server, f"pictures.zip: the server answers {status}")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "act",
    [
        says(200, b"<!DOCTYPE html><title>Sign in</title>", Content_Type="text/html; charset=utf-8"),
        says(200, b"PK but called a page", Content_Type="text/html"),
        says(200, b"\r\n  <HTML><body>quota exceeded</body></html>", Content_Type="application/zip"),
        says(200, b"\xef\xbb\xbf<!doctype HTML>", Content_Length=None),
    ],
)
def test_a_web_page_is_named_as_such(server: Server, place: Place, act) -> None:
    server.acts = [act]
    message = place.fails(server, r"is a web page \(HTML\), not an archive; 127.0.0.1:\d+ answered")
    assert server.url in message and len(server.requests) == 1
    assert place.part.stat().st_size == 0


@pytest.mark.parametrize("length", [len(CONTENT) - 1, len(CONTENT) + 1])
@pytest.mark.parametrize("told", [True, False])
def test_a_length_that_is_known_to_be_wrong(server: Server, place: Place, length: int, told: bool) -> None:
    body = (CONTENT + b"!")[:length]
    server.acts = [says(200, body, Content_Length=length if told else None)]
    message = f"another length than is known; got {length}; allowed: {len(CONTENT)}"
    place.fails(server, message, size=len(CONTENT))
    assert place.part.stat().st_size == 0


def test_nobody_there(server: Server, place: Place) -> None:
    server.url = "http://127.0.0.1:9/pictures.zip"
    place.fails(server, "cannot be reached", tries=2)
    assert place.waits == [1.0]


def test_no_room_on_the_disk(server: Server, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, len(CONTENT) - 1))
    place.fails(server, "no room for the rest of the download: 0.0 GB needed")
    server.acts = [properly]
    place.part.write_bytes(CONTENT[:10])
    place.get(server)  # ten bytes fewer are needed now
    assert place.complete()


def test_two_programs_at_once(server: Server, place: Place) -> None:
    place.part.parent.mkdir()
    with open(place.part, "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        place.fails(server, "another program is downloading it")
    assert not server.requests
