"""The feature store, writing side: chunks are appended to a folder beside the store that survives a SIGKILL.

Torch-free. Every chunk is flushed to disk before one line of a journal records it (rows, bytes, SHA-256), so a
restart keeps exactly the chunks that are whole and the finished store does not depend on how often it was killed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from fne.encoders.store import DTYPES, MANIFEST, OFFSETS, VALUES, partial_folder
from fne.utils.errors import bad_input
from fne.utils.files import SCHEMAS, sha256_file

JOURNAL, LOCK = "journal.jsonl", "lock"


@contextmanager
def writing(out: str | Path, header: Mapping[str, Any], ids: Sequence[str]) -> Iterator[StoreWriter]:
    """Open the unfinished store of ``out``, or begin one; what was written stays when the block fails.

    Args:
        out: The store to be made.
        header: What goes into its manifest: modality, encoder, preprocessing, level, pooling, dtype,
            data_fingerprint, versions. Unfinished work is continued only where the header is the same.
        ids: Ids of all rows, to name one in an error.

    Raises:
        UserError: Another process is writing the same store, the disk is full, or there is no permission.
    """
    writer = None
    try:
        writer = StoreWriter(Path(out), header, ids)
        yield writer
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        hint = "what is complete is kept: run again to continue" if writer is not None and writer.done else None
        raise bad_input(f"cannot be written ({error.strerror})", file=out, hint=hint) from None
    finally:
        if writer is not None:
            writer.close()


class StoreWriter:
    """Appends chunks to ``<out>.partial`` and makes ``out`` of it at the end; made by :func:`writing`.

    Attributes:
        done: How many rows are safely on disk.
    """

    def __init__(self, out: Path, header: Mapping[str, Any], ids: Sequence[str]) -> None:
        self.out, self.ids, self.header = out, ids, json.loads(json.dumps(header))
        self.folder = partial_folder(out)
        self.dtype = DTYPES[self.header["dtype"]]
        self.tokens = self.header["level"] == "tokens"
        self.done, self.dim, self._bytes = 0, 0, 0
        self._ends: list[int] = [0]  # of the tokens of the rows done
        self._values: BinaryIO | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / LOCK, blocking=False)
        try:
            self._lock.acquire()
            self._restore()
        except Timeout:
            # after a SIGKILL of a scheduler its orphaned job may still be at work on the very same files
            problem = "another process is extracting into this folder"
            raise bad_input(problem, file=self.folder, hint="wait for it, or end it") from None
        except BaseException:
            self.close()
            raise

    def _restore(self) -> None:
        lines, head = (
            self._journal_lines(),
            {"schema": SCHEMAS["features"], "header": self.header, "rows": len(self.ids)},
        )
        if lines and lines[0] != head:
            print(f"{self.folder}: unfinished work of another configuration is discarded", file=sys.stderr)
            lines = []
            for name in (VALUES, OFFSETS, MANIFEST):
                (self.folder / name).unlink(missing_ok=True)
        self._values = open(self.folder / VALUES, "r+b" if (self.folder / VALUES).exists() else "w+b")  # noqa: SIM115
        valid = self._verify(lines[1:])
        self._values.truncate(self._bytes)
        self._values.seek(self._bytes)
        temporary = self.folder / (JOURNAL + ".tmp")
        kept = [json.dumps(line) + "\n" for line in (head, *lines[1 : 1 + valid])]
        temporary.write_text("".join(kept), encoding="utf-8")
        os.replace(temporary, self.folder / JOURNAL)
        self._journal = open(self.folder / JOURNAL, "a", encoding="utf-8")  # noqa: SIM115

    def _journal_lines(self) -> list[Any]:
        path, lines = self.folder / JOURNAL, []
        if not path.is_file():
            return []
        for line in path.read_bytes().split(b"\n")[:-1]:  # what follows the last newline was cut by a kill
            try:
                lines.append(json.loads(line))
            except ValueError:  # a torn line: what follows it is not trusted either
                break
        return lines

    def _verify(self, chunks: list[dict[str, Any]]) -> int:
        """Count the chunks whose bytes are what the journal says, and take their rows as done."""
        assert self._values is not None
        for number, chunk in enumerate(chunks):
            if hashlib.sha256(self._values.read(chunk["bytes"])).hexdigest() != chunk["sha256"]:
                return number
            self._count(chunk)
        return len(chunks)

    def append(self, chunk: np.ndarray | Sequence[np.ndarray]) -> None:
        """Add the next rows and put them on disk.

        Args:
            chunk: (n, D) at the pooled level; at the token level n arrays (t_i, D).

        Raises:
            UserError: A feature is not finite (in the dtype of the store); the message names the row's id.
        """
        rows = list(chunk) if self.tokens else [np.asarray(row)[None] for row in chunk]
        if not rows:
            return
        if self.done + len(rows) > len(self.ids):
            raise ValueError(f"{len(self.ids)} rows were announced")
        with np.errstate(over="ignore"):  # an overflow becomes inf, which is reported below with its row
            block = np.concatenate(rows).astype(self.dtype)
        lengths = [len(row) for row in rows]
        if self.dim and block.shape[1] != self.dim:
            raise ValueError(f"features of width {block.shape[1]} after features of width {self.dim}")
        self._check_finite(block, lengths)
        data = block.tobytes()
        assert self._values is not None
        self._values.write(data)
        self._values.flush()
        os.fsync(self._values.fileno())
        line = {"rows": len(rows), "bytes": len(data), "dim": int(block.shape[1]),
                "sha256": hashlib.sha256(data).hexdigest(), "lengths": lengths if self.tokens else None}  # fmt: skip
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._count(line)

    def _count(self, chunk: Mapping[str, Any]) -> None:
        """Take the rows of a chunk, as its line of the journal has them, as done."""
        self.done, self.dim, self._bytes = self.done + chunk["rows"], chunk["dim"], self._bytes + chunk["bytes"]
        for length in chunk["lengths"] or []:
            self._ends.append(self._ends[-1] + length)

    def _check_finite(self, block: np.ndarray, lengths: list[int]) -> None:
        finite = np.isfinite(block).all(axis=1)
        if finite.all():
            return
        row = int(np.searchsorted(np.cumsum(lengths), int(np.argmin(finite)), side="right"))
        hint = "values beyond 65504 do not fit float16: set dtype to float32" if self.dtype.itemsize == 2 else None
        problem = "its feature is not finite (NaN or infinite)"
        raise bad_input(problem, file=self.out, key=self.ids[self.done + row], hint=hint)

    def read(self, row: int) -> np.ndarray:
        """A row that is already on disk: (D,) at the pooled level, (t, D) at the token level."""
        assert self._values is not None
        start, end = (self._ends[row], self._ends[row + 1]) if self.tokens else (row, row + 1)
        width = self.dim * self.dtype.itemsize
        block = os.pread(self._values.fileno(), (end - start) * width, start * width)
        values = np.frombuffer(block, self.dtype).reshape(end - start, self.dim)
        return values if self.tokens else values[0]

    def finish(self, extra: Mapping[str, Any] | None = None) -> None:
        """Write the manifest and give the store its name, in the place of an older one.

        Args:
            extra: More keys for the manifest, known only at the end.
        """
        if self.done != len(self.ids):
            raise ValueError(f"{self.done} of {len(self.ids)} rows were written")
        sums = {"values": sha256_file(self.folder / VALUES)}
        if self.tokens:
            np.save(self.folder / OFFSETS, np.array(self._ends, dtype=np.int64), allow_pickle=False)
            sums["offsets"] = sha256_file(self.folder / OFFSETS)
        sizes = {"rows": self.done, "dim": self.dim, "tokens_total": self._ends[-1] if self.tokens else self.done}
        manifest = {"schema": SCHEMAS["features"], **self.header, **sizes, "sha256": sums, **(extra or {})}
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        (self.folder / MANIFEST).write_text(text, encoding="utf-8")
        assert self._values is not None
        self._values.close()
        self._journal.close()
        (self.folder / JOURNAL).unlink()
        (self.folder / LOCK).unlink()
        if self.out.is_dir():
            shutil.rmtree(self.out)
        os.replace(self.folder, self.out)

    def close(self) -> None:
        """Let go of the files; unfinished work stays for the next time."""
        for handle in (self._values, getattr(self, "_journal", None)):
            if handle is not None:
                handle.close()
        self._lock.release()
