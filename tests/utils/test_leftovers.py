"""What a killed process left half-written is removed by the next one that writes there, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fne.utils import leftovers
from fne.utils.files import write_text

WRITERS = {
    "file": "with atomic_path(folder / 'a.npz') as place: place.write_bytes(b'half'); kill()",
    "folder": "with atomic_folder(folder / 'run') as place: (place / 'a').write_text('half'); kill()",
    "long": "with atomic_path(folder / ('n' * 200 + '.json')) as place: place.write_bytes(b'half'); kill()",
}


def killed(folder: Path, what: str) -> None:
    """A process that is killed while it writes."""
    code = f"""
import os, signal
from pathlib import Path
from fne.utils.files import atomic_folder, atomic_path
folder, kill = Path({str(folder)!r}), lambda: os.kill(os.getpid(), signal.SIGKILL)
{what}
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL


@pytest.mark.parametrize("what", WRITERS.values(), ids=WRITERS)
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path, what: str) -> None:
    write_text(tmp_path / "kept.txt", "kept")
    killed(tmp_path, what)
    assert len([*tmp_path.iterdir()]) == 2
    code = f"from fne.utils.files import write_text; write_text({str(tmp_path / 'b.txt')!r}, 'b')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["b.txt", "kept.txt"]


def test_what_a_living_process_or_another_machine_writes_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / f"{leftovers.prefix(Path('a.txt'))}x1.tmp.txt"
    monkeypatch.setattr(leftovers, "machine", lambda: "0" * 8)
    there = tmp_path / f"{leftovers.prefix(Path('a.txt')).replace(str(os.getpid()), '999999999')}x2.tmp.txt"
    monkeypatch.undo()
    others = [tmp_path / name for name in (".a.txt.12345678.tmp.txt", ".hidden", "a.tmp", ".a.12-34-x.tmp")]
    for file in (mine, there, *others):
        file.write_text("")
    dead = tmp_path / f".a.txt.{leftovers.machine()}-999999999-x3.tmp.txt"
    dead.write_text("")
    leftovers.remove(tmp_path)
    assert not dead.exists() and all(file.exists() for file in (mine, there, *others))
