"""Names of what is being written, with the owner in them, so that what a killed process left can be removed."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
from pathlib import Path

NAME = re.compile(r"\..+\.([0-9a-f]{8})-(\d{1,9})-[A-Za-z0-9_]+\.tmp(\..*)?", re.S)


@functools.cache
def machine() -> str:
    """Eight hex digits of this machine's name: a process of another one may live, whatever its number says here."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def prefix(path: Path) -> str:
    """How ``path`` is called while it is being written: hidden, by its own name (cut to what fits) and its owner."""
    own = path.name.encode()[:180].decode(errors="ignore")
    return f".{own}.{machine()}-{os.getpid()}-"


def temporary(path: Path, suffix: str = "") -> Path:
    """A new name beside ``path``, whose folder is made and freed of what killed processes left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(path.parent)
    return path.with_name(f"{prefix(path)}{secrets.token_hex(4)}.tmp{suffix}")


def remove(folder: Path) -> None:
    """Remove what killed processes of this machine left half-written in a folder; looked for once a process."""
    _remove(folder.resolve(), os.getpid())


@functools.lru_cache(maxsize=4096)
def _remove(folder: Path, _: int) -> None:
    for entry in folder.iterdir():
        owner = NAME.fullmatch(entry.name)
        if owner and owner[1] == machine() and not _is_alive(int(owner[2])):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
