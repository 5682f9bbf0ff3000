"""Downloading one large file with the program `curl`: continued where it stopped, renamed when it is complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from fne.utils.errors import bad_input

TRIES = 5
"""Calls of curl that may break off before a download is given up, each with tries of its own."""
BUSY = {5, 6, 7, 16, 18, 28, 35, 52, 55, 56, 92}
"""Exit codes of curl after which the same call may succeed: no connection, silence, or an end before the end."""
NO_RANGES = 33
"""The server cannot continue a file."""


def download(url: str, target: Path, *, size: int, timeout: int = 30) -> None:
    """Download a file; what an earlier, interrupted call has received is kept beside ``target`` and continued.

    Args:
        url: Its address (http or https).
        target: Where it goes, once complete.
        size: Bytes it must have.
        timeout: Seconds of silence after which a connection is given up.

    Raises:
        UserError: curl is missing, the server refuses, sends another length, or cannot be reached, another program
            downloads the file, or the disk is too small.
    """
    if shutil.which("curl") is None:
        hint = "install it: `conda install -c conda-forge curl`, or the package curl of your system"
        raise bad_input("cannot be downloaded: the program `curl` is not on the PATH", file=url, hint=hint)
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{part}.lock", timeout=0) as lock:
            part.touch()
            check_space(part.parent, size - part.stat().st_size, "the rest of the download")
            _complete(url, part, size, timeout)
            os.replace(part, target)
            Path(lock.lock_file).unlink()
    except Timeout:
        raise bad_input("another program is downloading it", file=url, key=str(part)) from None


def _complete(url: str, part: Path, size: int, timeout: int) -> None:
    """Call curl until the file has its length (its own --retry drops what a broken attempt has brought)."""
    schemes = "=https" if url.startswith("https:") else "=http,https"
    shown = ["--progress-bar"] if sys.stderr.isatty() else ["--silent"]
    words = ["curl", "-q", *shown, "--show-error", "--fail", "--globoff", "--location", "--proto", schemes,
             "--connect-timeout", timeout, "--speed-limit", 1, "--speed-time", timeout, "--max-filesize", size,
             "--retry", TRIES, "--continue-at", "-", "--output", part, "--url", url]  # fmt: skip
    code = 0
    for _ in range(TRIES):
        if part.stat().st_size == size:
            return
        code = subprocess.run([str(word) for word in words], check=False, stdin=subprocess.DEVNULL).returncode
        if code == NO_RANGES:
            part.write_bytes(b"")
        elif code not in BUSY:
            break
    kept = part.stat().st_size
    if kept != size:
        if code == 0 or kept > size:
            part.unlink()
            raise bad_input("the server sends another file, of another length", file=url, value=kept, allowed=[size])
        hint = f"see what curl says above; {kept} bytes are kept in {part}: the same command continues"
        raise bad_input(f"curl could not download it (exit code {code})", file=url, hint=hint)


def check_space(folder: Path, needed: int, what: str) -> None:
    """Refuse work that the disk has no space for.

    Raises:
        UserError: Fewer bytes are free where ``folder`` lies than are needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        problem = f"the disk has no space for {what}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"
        raise bad_input(problem, file=folder)
