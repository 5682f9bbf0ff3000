"""Downloading one large file with the program `curl`: continued where it stopped, renamed when it is complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from subprocess import DEVNULL, PIPE
from time import sleep

from filelock import FileLock, Timeout

from fne.utils.errors import UserError, bad_input
from fne.utils.progress import Progress

CHUNK = 1 << 18
BUSY = ("408", "425", "429", "500", "502", "503", "504")
"""Answers of a server after which the same request may succeed."""
BROKEN = (5, 6, 7, 16, 18, 28, 35, 52, 55, 56, 92)
"""Exit codes of curl after which it may: no name, no connection, silence, or an end before the end."""
FORBIDDEN, REFUSED, NO_RANGES, TOO_LONG = 1, 22, 33, 63
LONGEST_WAIT = 120
"""Seconds; what a server asks for with Retry-After is capped by it, too."""
REPORT = "%{stderr}%{http_code}\n%header{content-type}\n%{url_effective}\n%header{retry-after}\n%{errormsg}"


def download(url: str, target: Path, *, size: int, timeout: int = 30, tries: int = 6) -> None:
    """Download a file; what an earlier, interrupted call has received is kept beside ``target`` and continued.

    Args:
        url: Its address (http or https).
        target: Where it goes, once complete.
        size: Bytes it must have.
        timeout: Seconds of silence after which a connection is given up.
        tries: Attempts in a row that may bring nothing.

    Raises:
        UserError: curl is missing, the server refuses, sends a web page or another length, or cannot be reached,
            another program downloads the file, or the disk is too small.
    """
    if shutil.which("curl") is None:
        hint = "install it: `conda install -c conda-forge curl`, or the package curl of your system"
        raise bad_input("cannot be downloaded: the program `curl` is not on the PATH", file=url, hint=hint)
    part, lock = (target.with_name(f"{target.name}.part{ending}") for ending in ("", ".lock"))
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            part.touch()
            if part.stat().st_size > size:
                os.truncate(part, 0)  # of another, longer file
            check_space(part.parent, size - part.stat().st_size, "the rest of the download")
            _complete(url, part, size, timeout, tries)
            os.replace(part, target)
            lock.unlink()
    except Timeout:
        raise bad_input("another program is downloading it", file=url, key=str(part)) from None


def _complete(url: str, part: Path, size: int, timeout: int, tries: int) -> None:
    """Call curl until the file has its length (its own --retry drops what a broken attempt has brought)."""
    most, idle = part.stat().st_size, 0
    with Progress(f"download {part.stem}", size // 10**6, "MB", done=most // 10**6) as progress:
        while (start := part.stat().st_size) != size:
            code, (status, kind, address, after, problem) = _curl(url, part, size, timeout, progress)
            got, page, served = part.stat().st_size, is_web_page(part), status in ("200", "206")
            if page or (served and "text/html" in kind):
                os.truncate(part, 0 if page else start)
                raise web_page(url, f"{address.partition('?')[0]} answered", _kept(part))
            if got == size:
                break
            if got > size or (served and code in (0, TOO_LONG)):
                os.truncate(part, start)
                problem = "is shorter than is known" if code == 0 and got < size else "is longer than is known"
                raise bad_input(problem, file=url, allowed=[size], hint=_kept(part))
            anew = status == "416" or (served and code == NO_RANGES)
            if anew:
                os.truncate(part, 0)
            elif code in (0, REFUSED, NO_RANGES):
                os.truncate(part, start)
                problem = f"the server answers {status}"
            elif code == FORBIDDEN:
                problem = f"it leads to {address}, which is not allowed"
            most, idle = (got, 0) if got > most else (most, idle + 1)
            if idle >= tries or not (anew or code in BROKEN or status in BUSY):
                raise bad_input(f"cannot be downloaded: {problem}", file=url, hint=_kept(part))
            wait = min(int(after[:9]) if after.isdecimal() else 2 ** max(idle - 1, 0), LONGEST_WAIT)
            progress.add(0, f"{problem}; again in {wait} s")
            sleep(wait)


def _curl(url: str, part: Path, size: int, timeout: int, progress: Progress) -> tuple[int, list[str]]:
    """One request for what is missing of a part: curl's exit code, and what it tells of :data:`REPORT`."""
    schemes = "=https" if url.lower().startswith("https:") else "=http,https"
    words = ["curl", "-q", "--silent", "--fail", "--globoff", "--location", "--max-redirs", 10, "--proto", schemes,
             "--connect-timeout", timeout, "--speed-limit", 1, "--speed-time", timeout, "--max-filesize", size,
             "--continue-at", part.stat().st_size, "--write-out", REPORT, "--url", url]  # fmt: skip
    with (
        open(part, "ab") as handle,
        tempfile.TemporaryFile() as report,
        # Through a pipe: a curl that outlives this process cannot write to the part.
        subprocess.Popen([str(word) for word in words], stdin=DEVNULL, stdout=PIPE, stderr=report) as curl,
    ):
        assert curl.stdout
        try:
            while handle.tell() <= size and (piece := os.read(curl.stdout.fileno(), CHUNK)):
                handle.write(piece)
                progress.add(handle.tell() // 10**6 - progress.done)
            if handle.tell() <= size:
                curl.wait()
        finally:
            curl.kill()  # where it has not ended: more came than the file has, or Ctrl-C
        code = curl.wait()
        report.seek(0)
        summary = report.read().decode("utf-8", "replace")
    fields = summary.split("\n", 4)
    if len(fields) < 5:  # it was killed, or does not know an option
        fields = ["", "", "", "", f"curl ends with exit code {code} ({summary.strip()})"]
    return code, fields


def _kept(part: Path) -> str:
    return f"{part.stat().st_size} bytes are kept in {part}: the same command continues"


def check_space(folder: Path, needed: int, what: str) -> None:
    """Refuse work that the disk has no room for.

    Raises:
        UserError: Fewer bytes are free where ``folder`` lies than are needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        problem = f"the disk has no room for {what}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"
        raise bad_input(problem, file=folder)


def is_web_page(place: Path) -> bool:
    """Do the first bytes of a file look like HTML?"""
    with open(place, "rb") as handle:
        head = handle.read(64)
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))


def web_page(place: str | Path, *hints: str) -> UserError:
    """The error for a web page in the place of an archive."""
    often = "a login, a consent page or a moved file often does this"
    return bad_input("is a web page (HTML), not an archive", file=place, hint="; ".join((*hints, often)))
