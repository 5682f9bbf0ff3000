"""Run records: true to machine, code and inputs; the log of readings of the test split only grows."""

from __future__ import annotations

import hashlib
import json
import platform
import socket
import subprocess
from datetime import datetime, timedelta
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import pytest

from fne.utils import provenance
from fne.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_record_holds_what_it_promises_and_is_json(tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes(b"content")
    started = provenance.now() - timedelta(seconds=90)
    access = {"time": "t", "variant": "fne", "block": "0-4", "purpose": "rank"}
    result = provenance.record(
        started, device="cpu", inputs={"file": tmp_path / "in.bin", "known": "abc"}, test_accesses=[access]
    )
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["python"] == platform.python_version()
    assert result["packages"]["numpy"] == metadata.version("numpy") and "fne" in result["packages"]
    assert result["inputs"] == {"file": hashlib.sha256(b"content").hexdigest(), "known": "abc"}
    assert result["test_accesses"] == [access] and result["device"] == "cpu"
    assert 90 <= result["seconds"] < 120
    first, last = (datetime.fromisoformat(result[key]) for key in ("started", "finished"))
    assert first.utcoffset() == timedelta(0) and 89 <= (last - first).total_seconds() <= 120
    assert result["source"] == provenance.source_digest() and len(result["source"]) == 64
    assert 5 < result["peak_memory_mb"] < 1_000_000


def test_record_names_neither_host_nor_user() -> None:
    text = json.dumps(provenance.record(provenance.now()))
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text.replace('"/"', "")


def test_commit_and_dirt(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    assert provenance.git_state(package) == (None, None)
    git(tmp_path, "init", "-q")
    (package / "a.py").write_text("1")
    assert provenance.git_state(package) == (None, None), "nothing committed"
    (tmp_path / "other").write_text("1")
    git(tmp_path, "add", "other")
    git(tmp_path, "commit", "-qm", "x")
    assert provenance.git_state(package) == (None, None), "a repository that does not track the package"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "y")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.git_state(package) == (commit, False)
    (tmp_path / "untracked").write_text("1")
    assert provenance.git_state(package) == (commit, False)
    (package / "a.py").write_text("2")
    assert provenance.git_state(package) == (commit, True)


def write_some(log: Path, block: str) -> None:
    for _ in range(50):
        provenance.log_reading(log, variant="fne", block=block, purpose="rank")


def test_the_log_grows_even_under_several_writers(tmp_path: Path) -> None:
    log = tmp_path / "results" / "paper" / "readings.test.jsonl"
    assert provenance.read_readings(log) == []
    entry = provenance.log_reading(log, variant="fne", block="0-4", purpose="rank")
    assert provenance.read_readings(log) == [entry] and entry["purpose"] == "rank"
    workers = [get_context("spawn").Process(target=write_some, args=(log, str(block))) for block in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    entries = provenance.read_readings(log)
    assert len(entries) == 151 and entries[0] == entry
    assert sorted(e["block"] for e in entries[1:]) == sorted(str(b) for b in range(3) for _ in range(50))


def test_a_damaged_log_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"time": "t"}\nhalf a li')
    with pytest.raises(UserError, match="line 2"):
        provenance.read_readings(log)
