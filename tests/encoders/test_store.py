"""The store: what was written is what is read, and nothing damaged is ever read."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fne.encoders import store
from fne.encoders.store import Features, partial_folder
from fne.encoders.writer import writing
from fne.training.data import Items
from fne.utils.errors import UserError

ENCODER = {
    "checkpoint": "tiny",
    "sha256": "0" * 64,
    "section": {"checkpoint": "tiny", "pooling": "mean", "level": "pooled"},
}


def header(level: str = "pooled", dtype: str = "float32", **more: Any) -> dict[str, Any]:
    return {"modality": "image", "encoder": ENCODER, "preprocessing": {}, "level": level, "pooling": "mean",
            "dtype": dtype, "data_fingerprint": "f" * 64, "versions": {}, **more}  # fmt: skip


def ids(n: int) -> tuple[int, Callable[[int], str]]:
    return n, "row-{}".format


def pooled_rows(n: int = 23, dim: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, dim)).astype(np.float32)


def token_rows(n: int = 23, dim: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.normal(size=(int(length), dim)).astype(np.float32) for length in rng.integers(1, 7, n)]


def write(out: Path, rows: Any, chunk: int = 4, **settings: Any) -> Path:
    level = "tokens" if isinstance(rows, list) else "pooled"
    with writing(out, header(level, **settings), *ids(len(rows))) as writer:
        while writer.done < len(rows):
            writer.append(rows[writer.done : writer.done + chunk])
        writer.finish({"note": 1})
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_pooled_rows_come_back_in_any_order(tmp_path: Path, dtype: str) -> None:
    rows = pooled_rows()
    features = Features.open(write(tmp_path / "s", rows, dtype=dtype), "f" * 64, modality="image")
    assert (len(features), features.dim, features.level) == (23, 5, "pooled")
    requested = [22, 0, 7, 7]
    got = features.rows(requested)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, rows[requested].astype(dtype).astype(np.float32))
    np.testing.assert_array_equal(features.rows(slice(None)), rows.astype(dtype).astype(np.float32))
    assert features.values.itemsize == (2 if dtype == "float16" else 4)


def test_tokens_come_back_padded_with_their_mask(tmp_path: Path) -> None:
    rows = token_rows()
    features = Features.open(write(tmp_path / "s", rows))
    requested = [5, 0, 22, 5]
    tokens, mask = features.padded(requested)
    longest = max(len(rows[index]) for index in requested)
    assert tokens.shape == (4, longest, 5) and mask.shape == (4, longest)
    for place, index in enumerate(requested):
        for position in range(longest):
            if position < len(rows[index]):
                assert mask[place, position]
                np.testing.assert_array_equal(tokens[place, position], rows[index][position])
            else:
                assert not mask[place, position] and not tokens[place, position].any()
    empty, none = features.padded([])
    assert empty.shape == (0, 0, 5) and none.shape == (0, 0)
    assert features.manifest["tokens_total"] == sum(map(len, rows))


def damage_size(folder: Path) -> None:
    path = folder / "values.bin"
    path.write_bytes(path.read_bytes()[:-3])


def damage_bit(folder: Path) -> None:
    data = bytearray((folder / "values.bin").read_bytes())
    data[17] ^= 1
    (folder / "values.bin").write_bytes(data)


def damage_offsets(folder: Path) -> None:
    np.save(folder / "offsets.npy", np.arange(24))


def edit(**changes: Any) -> Any:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest.update(changes)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return damage


def remove(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_size, "cut short, or longer"),
        (damage_bit, "SHA-256 differs"),
        (damage_offsets, "SHA-256 differs"),
        (remove("values.bin"), "missing"),
        (remove("offsets.npy"), "missing"),
        (remove("manifest.json"), "no such file"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "another schema"),
        (edit(schema=2), "another schema"),
        (edit(rows="23"), "rows: wrong kind; got '23'; allowed: an integer"),
        (edit(dim=4), "cut short, or longer"),
        (edit(level="token"), "did you mean 'tokens'"),
        (edit(dtype="float64"), "did you mean 'float16'"),
    ],
)
def test_a_damaged_store_is_refused(tmp_path: Path, damage: Any, said: str) -> None:
    folder = write(tmp_path / "s", token_rows())
    Features.open(folder)
    damage(folder)
    with pytest.raises(UserError, match=said) as caught:
        Features.open(folder)
    assert str(folder) in str(caught.value)


@pytest.fixture
def in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """23 rows in shards of 4."""
    monkeypatch.setattr("fne.encoders.writer.SHARD", 4)
    return write(tmp_path / "s", pooled_rows())


def test_shards_have_digests_of_their_own_and_the_bad_one_is_named(in_shards: Path) -> None:
    file, size = in_shards / "values.bin", 4 * 5 * 4
    content = file.read_bytes()
    expected = [hashlib.sha256(content[start : start + size]).hexdigest() for start in range(0, len(content), size)]
    manifest = Features.open(in_shards).manifest
    assert manifest["shards"] == {"rows": 4, "sha256": expected} and len(expected) == 6
    assert manifest["sha256"]["values"] == hashlib.sha256("\n".join(expected).encode()).hexdigest()
    for altered, said in (
        (content[: size * 2 + 7] + b"\0" + content[size * 2 + 8 :], "SHA-256 differs.*shard 3 of 6, rows 8 to 11"),
        (content[:-1] + b"\0", "SHA-256 differs.*shard 6 of 6, rows 20 to 22"),
        (content[: size * 4 + 9], "cut short.*shard 5 of 6, rows 16 to 19"),
    ):
        file.write_bytes(altered)
        with pytest.raises(UserError, match=said):
            Features.open(in_shards)
    file.write_bytes(content)
    edit(shards={"rows": 4, "sha256": expected[::-1]})(in_shards)
    with pytest.raises(UserError, match="shards: does not agree with itself"):
        Features.open(in_shards)


def test_values_are_verified_once_and_again_when_the_file_changes(
    in_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fne.utils.digests.YOUNG", -1e9)
    read: list[Path] = []
    plain = store.digests_of
    monkeypatch.setattr(store, "digests_of", lambda path, size: read.append(path) or plain(path, size))
    file = in_shards / "values.bin"
    cache = tmp_path / "cache"
    for _ in range(3):
        Features.open(in_shards, cache=cache)
    assert read == [file]
    before = file.stat()
    damage_bit(in_shards)  # of the same size, and as if of the same time
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    kept = cache / "s.json"
    for content in (kept.read_text(), kept.read_text().replace('"', "'"), "[]"):  # what cannot be trusted is not
        kept.write_text(content)
        with pytest.raises(UserError, match="shard 1 of 6"):
            Features.open(in_shards, cache=cache)


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ({"data_fingerprint": "e" * 64}, "data_fingerprint: not the features"),
        ({"modality": "text"}, "modality: not the features"),
        ({"encoder": {"pooling": "cls"}}, "another encoder"),
        ({"encoder": {"checkpoint": "/elsewhere/large"}}, "another encoder"),
    ],
)
def test_features_of_something_else_are_refused(tmp_path: Path, expected: dict[str, Any], said: str) -> None:
    folder = write(tmp_path / "s", pooled_rows())
    Features.open(folder, "f" * 64, modality="image", encoder={"checkpoint": "/moved/to/tiny", "pooling": "mean"})
    with pytest.raises(UserError, match=said):
        Features.open(folder, **expected)


KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from fne.encoders import writer
from tests.encoders.test_store import pooled_rows, token_rows, write
when, point, level = int(sys.argv[1]), sys.argv[2], sys.argv[3]
calls = 0
plain = getattr(os, point)
def die(*arguments):
    global calls
    calls += 1
    if calls == when:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*arguments)
setattr(os, point, die)
write(Path(sys.argv[4]), token_rows() if level == "tokens" else pooled_rows())
"""


@pytest.mark.parametrize("level", ["pooled", "tokens"])
@pytest.mark.parametrize(
    # every chunk syncs values, then the journal: 5 is within the third chunk's values, 8 in the fourth's journal
    ("when", "point", "kept"),
    [(1, "fsync", 0), (5, "fsync", 8), (8, "fsync", 16), (1, "replace", 23)],
)
def test_a_store_survives_sigkill(tmp_path: Path, level: str, when: int, point: str, kept: int) -> None:
    rows = token_rows() if level == "tokens" else pooled_rows()
    whole, out = contents(write(tmp_path / "whole", rows)), tmp_path / "killed"
    code = KILLED.format(root=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", code, str(when), point, level, str(out)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists() and partial_folder(out).is_dir()
    if point == "fsync":
        with writing(out, header(level), *ids(23)) as writer:
            assert writer.done == kept
    assert contents(write(out, rows)) == whole
    assert not partial_folder(out).exists()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="resident memory is read from /proc")
def test_of_a_large_file_few_pages_stay_resident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "HELD", 1 << 24)
    rows = np.random.default_rng(0).normal(size=(1 << 14, 512)).astype(np.float32)  # 32 MB, twice what may be held
    features = Features.open(write(tmp_path / "store", rows, chunk=1 << 14))
    items = Items.load(features, np.arange(len(rows)))

    def resident() -> int:
        mapping = Path("/proc/self/smaps").read_text().split(f"{features.folder}/values.bin")[1]
        return int(next(line for line in mapping.splitlines() if line.startswith("Rss:")).split()[1]) << 10

    assert np.abs(features.values).max() > 0 and resident() > store.HELD  # it can fail
    for chunk in torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)).split(4):
        assert np.array_equal(items.take(chunk)[0], rows[chunk])
    assert resident() <= store.HELD


def interrupted(out: Path, chunks: int = 3) -> Path:
    """Unfinished work of 3 chunks of 4 rows."""
    with writing(out, header(), *ids(23)) as writer:
        for start in range(0, 4 * chunks, 4):
            writer.append(pooled_rows()[start : start + 4])
    return partial_folder(out)


def test_a_torn_journal_line_is_not_believed(tmp_path: Path) -> None:
    whole = contents(write(tmp_path / "whole", pooled_rows()))
    journal = interrupted(tmp_path / "s") / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    with writing(tmp_path / "s", header(), *ids(23)) as writer:
        assert writer.done == 8
    assert contents(write(tmp_path / "s", pooled_rows())) == whole


def test_unfinished_work_of_another_encoder_is_discarded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(tmp_path / "s")
    changed = header(preprocessing={"size": 2})
    with writing(tmp_path / "s", changed, *ids(23)) as writer:
        assert writer.done == 0
    assert "discarded" in capsys.readouterr().err
    with writing(tmp_path / "s", changed, *ids(22)) as writer:  # nor of other rows
        assert writer.done == 0


@pytest.mark.parametrize(("value", "dtype"), [(np.nan, "float32"), (np.inf, "float32"), (70000.0, "float16")])
def test_a_feature_that_is_not_finite_names_its_row(tmp_path: Path, value: float, dtype: str) -> None:
    rows = pooled_rows()
    rows[6, 4] = value
    with pytest.raises(UserError, match="row-6: its feature is not finite") as caught:
        write(tmp_path / "s", rows, dtype=dtype)
    assert ("float32" in str(caught.value)) == (dtype == "float16")
    tokens = token_rows()
    tokens[13][-1, 0] = value
    with pytest.raises(UserError, match="row-13: its feature is not finite"):
        write(tmp_path / "t", tokens, dtype=dtype)


def test_rows_already_written_can_be_read(tmp_path: Path) -> None:
    for rows in (pooled_rows(), token_rows()):
        level = "tokens" if isinstance(rows, list) else "pooled"
        for _ in range(2):  # the second time after a restart
            with writing(tmp_path / level, header(level), *ids(23)) as writer:
                if not writer.done:
                    writer.append(rows[:9])
                for row in (0, 5, 8):
                    np.testing.assert_array_equal(writer.read(row), rows[row])


def test_two_writers_do_not_share_a_store(tmp_path: Path) -> None:
    with writing(tmp_path / "s", header(), *ids(23)), pytest.raises(UserError, match="another process"):
        with writing(tmp_path / "s", header(), *ids(23)):
            pass
