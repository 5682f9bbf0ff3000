"""The feature store, writing side: chunks are appended to a folder beside the store that survives a SIGKILL.

Torch-free. Every chunk is flushed to disk before one line of a journal records it (rows, bytes), so a restart keeps
exactly the chunks that are whole and the finished store does not depend on how often it was killed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from fne.encoders.store import DTYPES, MANIFEST, OFFSETS, SHARD, VALUES, digests_of, joint, partial_folder
from fne.utils.errors import bad_input
from fne.utils.files import SCHEMAS, sha256_file

JOURNAL, LOCK = "journal.jsonl", "lock"


@contextmanager
def writing(
    out: str | Path, header: Mapping[str, Any], rows: int, name: Callable[[int], str] = str
) -> Iterator[StoreWriter]:
    """Open the unfinished store of ``out``, or begin one; what was written stays when the block fails.

    Args:
        out: The store to be made.
        header: What goes into its manifest: modality, encoder, preprocessing, level, pooling, dtype,
            data_fingerprint, versions. Unfinished work is continued only where the header is the same.
        rows: How many there will be.
        name: From a row to its id, for an error.

    Raises:
        UserError: Another process is writing the same store, or the disk is full.
    """
    folder = partial_folder(Path(out))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, blocking=False), open(folder / VALUES, "a+b") as values:
            writer = StoreWriter(Path(out), header, rows, name, values)
            try:
                yield writer
            finally:
                writer.journal.close()
    except Timeout:
        # after a SIGKILL of a scheduler its orphaned job may still be at work on the very same files
        problem = "another process is extracting into this folder"
        raise bad_input(problem, file=folder, hint="wait for it, or end it") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        hint = "what is complete is kept: run again to continue"
        raise bad_input(f"cannot be written ({error.strerror})", file=out, hint=hint) from None


class StoreWriter:
    """Appends chunks to ``<out>.partial`` and makes ``out`` of it at the end; made by :func:`writing`.

    Attributes:
        done: How many rows are safely on disk.
    """

    def __init__(
        self, out: Path, header: Mapping[str, Any], rows: int, name: Callable[[int], str], values: Any
    ) -> None:
        self.out, self.rows, self.name, self.header = out, rows, name, json.loads(json.dumps(header))
        self.folder, self.values = partial_folder(out), values
        self.dtype = DTYPES[self.header["dtype"]]
        self.tokens = self.header["level"] == "tokens"
        self.done, self.dim, self._bytes = 0, 0, 0
        self._ends = array("q", [0])  # of the tokens of the rows done
        path, head = self.folder / JOURNAL, json.dumps({"header": self.header, "rows": rows})
        # What follows the last end of a line was cut by a kill.
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
        if lines and lines[0] != head:
            print(f"{self.folder}: unfinished work of another configuration is discarded", file=sys.stderr)
            lines = []
        for line in lines[1:]:
            self._count(json.loads(line))
        values.truncate(self._bytes)
        values.seek(self._bytes)
        path.write_text("".join(f"{line}\n" for line in [head, *lines[1:]]), encoding="utf-8")
        self.journal = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def append(self, chunk: np.ndarray | Sequence[np.ndarray]) -> None:
        """Add the next rows and put them on disk.

        Args:
            chunk: (n, D) at the pooled level; at the token level n arrays (t_i, D).

        Raises:
            UserError: A feature is not finite (in the dtype of the store); the message names the row's id.
        """
        if not len(chunk):
            return
        with np.errstate(over="ignore"):  # an overflow becomes inf, which is reported below with its row
            block = (np.concatenate(chunk) if self.tokens else np.asarray(chunk)).astype(self.dtype)
        lengths = [len(row) for row in chunk] if self.tokens else [1] * len(chunk)
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = int(np.searchsorted(np.cumsum(lengths), int(np.argmin(finite)), side="right"))
            hint = "values beyond 65504 do not fit float16: set dtype to float32" if self.dtype.itemsize == 2 else None
            problem = "its feature is not finite (NaN or infinite)"
            raise bad_input(problem, file=self.out, key=self.name(self.done + row), hint=hint)
        line = {"rows": len(chunk), "bytes": block.nbytes, "dim": int(block.shape[1]),
                "lengths": lengths if self.tokens else None}  # fmt: skip
        written: list[tuple[Any, Any]] = [(self.values, block.tobytes()), (self.journal, json.dumps(line) + "\n")]
        for handle, content in written:  # what a line of the journal names is on disk before it
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        self._count(line)

    def _count(self, chunk: Mapping[str, Any]) -> None:
        """Take the rows of a chunk, as its line of the journal has them, as done."""
        self.done, self.dim, self._bytes = self.done + chunk["rows"], chunk["dim"], self._bytes + chunk["bytes"]
        for length in chunk["lengths"] or []:
            self._ends.append(self._ends[-1] + length)

    def read(self, row: int) -> np.ndarray:
        """A row that is already on disk: (D,) at the pooled level, (t, D) at the token level."""
        start, end = (self._ends[row], self._ends[row + 1]) if self.tokens else (row, row + 1)
        width = self.dim * self.dtype.itemsize
        block = os.pread(self.values.fileno(), (end - start) * width, start * width)
        values = np.frombuffer(block, self.dtype).reshape(end - start, self.dim)
        return values if self.tokens else values[0]

    def finish(self, extra: Mapping[str, Any] | None = None) -> None:
        """Write the manifest and give the store its name, in the place of an older one.

        Args:
            extra: More keys for the manifest, known only at the end.
        """
        if self.done != self.rows:
            raise ValueError(f"{self.done} of {self.rows} rows were written")
        shards = digests_of(self.folder / VALUES, max(1, SHARD * self.dim * self.dtype.itemsize))
        sums, more = {"values": joint(shards)}, {"shards": {"rows": SHARD, "sha256": shards}}
        if self.tokens:
            np.save(self.folder / OFFSETS, np.array(self._ends, dtype=np.int64), allow_pickle=False)
            sums["offsets"] = sha256_file(self.folder / OFFSETS)
        sizes = {"rows": self.done, "dim": self.dim, "tokens_total": self._ends[-1] if self.tokens else self.done}
        manifest = {"schema": SCHEMAS["features"], **self.header, **sizes, "sha256": sums,
                    **(more if len(shards) > 1 else {}), **(extra or {})}  # fmt: skip
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        (self.folder / MANIFEST).write_text(text, encoding="utf-8")
        (self.folder / JOURNAL).unlink()
        (self.folder / LOCK).unlink()
        if self.out.is_dir():
            shutil.rmtree(self.out)
        os.replace(self.folder, self.out)
