"""Downloading one large file over HTTP: resumed by ranges, retried with back-off, renamed when complete."""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fne
from fne.utils.errors import bad_input
from fne.utils.progress import Progress

PIECE = 1 << 18
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same request may succeed."""
LONGEST_WAIT = 120.0
"""Seconds; what a server asks for with Retry-After is capped by it, too."""


class _Again(Exception):
    """The attempt failed in a way that may pass; ``after`` is what the server asked to wait, in seconds."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    timeout: float = 30.0,
    tries: int = 6,
    pause: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Download a file; what an earlier, interrupted call has got is kept beside ``target`` and continued.

    Args:
        url: Its address (http or https).
        target: Where it goes, once complete.
        size: Bytes it must have, where that is known.
        timeout: Seconds of silence after which a connection is given up.
        tries: Attempts in a row that may bring nothing.
        pause: Seconds before the second attempt; doubled after each further one that brings nothing.
        sleep: Waits.

    Raises:
        UserError: The server refuses, sends a web page or another length, cannot be reached, or the disk is too
            small.
    """
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with _locked(part, url) as handle:
        progress = Progress(f"download {target.name}", (size or 0) // 10**6, "MB", done=_megabytes(handle))
        idle, most = 0, handle.tell()
        while True:
            try:
                _attempt(url, handle, part, size, timeout, progress)
                break
            except _Again as problem:
                got = handle.seek(0, os.SEEK_END)
                idle, most = (0, got) if got > most else (idle + 1, most)
                if idle >= tries:
                    hint = f"{got} bytes are kept in {part}: the same command continues"
                    raise bad_input(f"cannot be downloaded: {problem}", file=url, hint=hint) from None
                wait = problem.after if problem.after is not None else pause * 2 ** max(idle - 1, 0)
                progress.add(0, f"{problem}; again in {wait:.0f} s")
                sleep(min(wait, LONGEST_WAIT))
        progress.close()
        os.replace(part, target)
        _mark(part).unlink(missing_ok=True)


@contextmanager
def _locked(part: Path, url: str) -> Iterator[IO[bytes]]:
    with open(part, "ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise bad_input("another program is downloading it", file=url, key=str(part)) from None
        yield handle


def _attempt(url: str, handle: IO[bytes], part: Path, size: int | None, timeout: float, progress: Progress) -> None:
    """One request for what is missing; returns when the file is complete.

    Raises:
        _Again: It is not, and another request may help.
    """
    offset = handle.tell()
    if size is not None and offset == size:
        return
    request = urllib.request.Request(url, headers=_headers(part, offset))
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            _receive(url, answer, handle, part, size, progress)
    except urllib.error.HTTPError as error:
        with error:
            _refused(url, error, handle)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            problem = f"the server's certificate is not trusted ({error.reason.verify_message})"
            raise bad_input(problem, file=url) from None
        raise _Again(f"cannot be reached ({error.reason})") from None
    except TimeoutError:
        raise _Again(f"silent for {timeout:g} s") from None
    except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
        raise _Again(f"connection broken ({type(error).__name__})") from None


def _headers(part: Path, offset: int) -> dict[str, str]:
    headers = {"User-Agent": f"fne/{fne.__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        # A server whose file has changed since then answers with the whole of it.
        mark = _mark(part).read_text(encoding="utf-8", errors="replace") if _mark(part).exists() else ""
        if mark and mark.isascii() and mark.isprintable():
            headers["If-Range"] = mark
    return headers


def _mark(part: Path) -> Path:
    """Where the version of the file that ``part`` is a part of is noted."""
    return part.with_name(f"{part.name}.version")


def _receive(url: str, answer: Any, handle: IO[bytes], part: Path, size: int | None, progress: Progress) -> None:
    if url.startswith("https:") and not answer.geturl().startswith("https:"):
        raise bad_input("redirected to an address without encryption", file=url, value=answer.geturl())
    if answer.headers.get_content_type() == "text/html":
        raise web_page(url, answer.geturl())
    offset = handle.tell()
    if answer.status == 206:
        first, total = _range(answer.headers.get("Content-Range", ""))
        if first != offset:
            _start_over(handle)
            raise _Again("another range came than was asked for")
    else:
        # The server does not do ranges, or its file has changed.
        _start_over(handle)
        progress.done = offset = 0
        total = _number(answer.headers.get("Content-Length", ""))
        etag = answer.headers.get("ETag", "")
        version = etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")
        _mark(part).write_text(version, encoding="utf-8")
    if size is not None and total is not None and total != size:
        _start_over(handle)
        raise bad_input("has another length than is known", file=url, value=total, allowed=[size])
    progress.total = (total or size or 0) // 10**6
    _check_space(part.parent, (total or 0) - offset)
    while piece := answer.read1(PIECE):
        if handle.tell() == 0 and is_web_page(piece):
            raise web_page(url, answer.geturl())
        handle.write(piece)
        progress.add(_megabytes(handle) - progress.done)
    handle.flush()
    if total is not None and handle.tell() != total:
        raise _Again(f"ended after {handle.tell()} of {total} bytes")
    if size is not None and handle.tell() != size:
        found = handle.tell()
        _start_over(handle)
        raise bad_input("has another length than is known", file=url, value=found, allowed=[size])


def _refused(url: str, error: urllib.error.HTTPError, handle: IO[bytes]) -> None:
    if error.code == 416 and handle.tell():
        # Asked for bytes beyond its end: what is here belongs to another, longer file.
        _start_over(handle)
        raise _Again("the part that is here does not belong to it")
    if error.code in TRANSIENT:
        after = error.headers.get("Retry-After", "")
        raise _Again(f"the server answers {error.code} {error.reason}", float(after) if after.isdecimal() else None)
    raise bad_input(f"the server answers {error.code} {error.reason}", file=url)


def _start_over(handle: IO[bytes]) -> None:
    handle.truncate(0)
    handle.seek(0)


def _range(header: str) -> tuple[int | None, int | None]:
    """First byte and length of the whole file in ``bytes FIRST-LAST/LENGTH``."""
    place, _, total = header.removeprefix("bytes ").partition("/")
    first = place.partition("-")[0]
    return _number(first), _number(total)


def _number(text: str) -> int | None:
    """A number of bytes that a server states; None where it is none that a file can have."""
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _megabytes(handle: IO[bytes]) -> int:
    return handle.tell() // 10**6


def _check_space(folder: Path, needed: int) -> None:
    check_space(folder, needed, "the rest of the download")


def check_space(folder: Path, needed: int, what: str) -> None:
    """Refuse work that the disk has no room for.

    Raises:
        UserError: Fewer bytes are free where ``folder`` lies than are needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        problem = f"the disk has no room for {what}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"
        raise bad_input(problem, file=folder)


def is_web_page(head: bytes) -> bool:
    """Do the first bytes of a file look like HTML?"""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype html", b"<html"))


def web_page(place: str | Path, address: str | None = None) -> Exception:
    """The error for a web page in the place of an archive."""
    shown = urllib.parse.urlsplit(address).netloc if address else None
    return bad_input(
        "is a web page (HTML), not an archive",
        file=place,
        hint=(f"{shown} answered; " if shown else "") + "a login, a consent page or a moved file often does this",
    )
