"""Cut in the middle, killed, out of room: what was there stays, and what has arrived is not asked for again."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import ModelsUnavailable
from app.repository.sources import files
from app.repository.sources.base import PIECE_BYTES, Interrupted
from tests.fixtures.blob_storage import Storage
from tests.fixtures.waiting import PATIENCE, until
from tests.repository.sources.conftest import contents, pull, upload

EXTRA = "colour/1/weights.bin"


@pytest.fixture
def large(released: Path, storage: Storage) -> bytes:
    """A file of several pieces in the container; returns its content."""
    upload(released, storage)
    content = os.urandom(3 * PIECE_BYTES + 12345)
    storage.put(EXTRA, content)
    return content


def pull_process(address: str, into: Path, before: Callable[[], None] | None = None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "app", "models", "pull", address, "--into", str(into)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before)


def test_a_body_that_is_cut_is_gone_on_with(large: bytes, storage: Storage, into: Path) -> None:
    storage.cut_at, storage.cuts = 1_000_000, 2
    assert pull(storage.url, into).failures == {}
    assert (into / EXTRA).read_bytes() == large


def test_a_storage_that_always_cuts_is_told_and_gone_on_with_later(large: bytes, storage: Storage, into: Path) -> None:
    pull(storage.url, into, names=["box"])
    before = contents(into)
    storage.cut_at, storage.cuts = PIECE_BYTES - 1, 10**6
    with pytest.raises(Interrupted, match="pull again to go on from there"):
        pull(storage.url, into)
    assert contents(into) == before
    storage.cuts = 0
    pull(storage.url, into)
    assert (into / EXTRA).read_bytes() == large


def test_a_process_that_was_killed_goes_on_where_it_was(large: bytes, storage: Storage, into: Path) -> None:
    storage.stall_at = 2  # two of the four pieces come
    with pull_process(storage.url, into) as process:
        assert storage.stalled.wait(PATIENCE)
        process.send_signal(signal.SIGKILL)
    assert contents(into).keys() == {"box/1/model.onnx", "box/model.yaml"}
    storage.stall_at = 0
    storage.released.set()
    before = len(storage.ranges(EXTRA))
    assert pull(storage.url, into).changed == ["colour"]
    assert (into / EXTRA).read_bytes() == large
    first = storage.ranges(EXTRA)[before].removeprefix("bytes=").partition("-")[0]
    assert int(first) == 2 * PIECE_BYTES
    assert sorted(path.name for path in (into / ".pull").iterdir()) == ["lock", "receipts.json"]


def test_a_blob_that_changed_begins_anew(large: bytes, storage: Storage, into: Path) -> None:
    storage.stall_at = 2
    with pull_process(storage.url, into) as process:
        assert storage.stalled.wait(PATIENCE)
        process.kill()
    storage.stall_at = 0
    storage.released.set()
    other = os.urandom(len(large))
    storage.put(EXTRA, other)
    before = len(storage.ranges(EXTRA))
    pull(storage.url, into)
    assert (into / EXTRA).read_bytes() == other
    assert storage.ranges(EXTRA)[before].startswith("bytes=0-")


def test_a_blob_that_changes_while_it_comes_is_not_mixed(large: bytes, storage: Storage, into: Path) -> None:
    storage.stall_at = 2
    with pull_process(storage.url, into) as process:
        assert storage.stalled.wait(PATIENCE)
        storage.put(EXTRA, os.urandom(len(large)))
        storage.stall_at = 0
        storage.released.set()
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "was changed by somebody else meanwhile" in said
    assert not (into / "colour").exists()


def test_a_full_disk_is_a_sentence_and_leaves_nothing(large: bytes, storage: Storage, into: Path) -> None:
    """A file of this process may not grow beyond a limit, which the system refuses as it refuses a full disk."""
    pull(storage.url, into, names=["box"])
    before = contents(into)
    limit = PIECE_BYTES + 1000
    with pull_process(storage.url, into, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) as process:
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert f"{into} has no room for the models (File too large" in said
    assert contents(into) == before
    assert not (into / ".pull" / "parts").exists()


def test_a_disk_that_is_really_full(large: bytes, storage: Storage, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small disk: the limit on a file's size stands for it")
    try:
        with pytest.raises(files.NoRoom, match=r"models need .* more: nothing was pulled"):
            pull(storage.url, small / "models")
        assert list(small.iterdir()) == []
        # It fills up while the models come, by somebody else's hand.
        storage.stall_at = 1
        del storage.blobs[EXTRA]
        storage.put(EXTRA, large[: 5 * 2**20])
        with pull_process(storage.url, small / "models") as process:
            assert storage.stalled.wait(PATIENCE)
            with pytest.raises(OSError, match="No space left"):
                (small / "other").write_bytes(bytes(2**23))
            storage.stall_at = 0
            storage.released.set()
            _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
        assert "has no room for the models" in said
        assert not (small / "models" / "colour").exists()
        assert not (small / "models" / ".pull" / "parts").exists()
    finally:
        subprocess.run(["umount", str(small)], timeout=PATIENCE, check=True)


def test_a_crash_between_two_renames_is_mended(released: Path, into: Path) -> None:
    """As a network file system without an exchange of names leaves it."""
    pull(released, into)
    (into / ".pull" / "old").mkdir()
    (into / "colour").rename(into / ".pull" / "old" / "colour")
    assert pull(released, into).unchanged == ["box", "colour"]
    assert contents(into) == contents(released)


def test_two_pulls_at_once_do_not_mix(large: bytes, storage: Storage, into: Path) -> None:
    storage.stall_at = 2
    with pull_process(storage.url, into) as one, pull_process(storage.url, into) as two:
        assert storage.stalled.wait(PATIENCE)
        storage.stall_at = 0
        storage.released.set()
        until(lambda: one.poll() is not None and two.poll() is not None)
        assert (one.returncode, two.returncode) == (0, 0)
        said = [process.communicate(timeout=PATIENCE)[1] for process in (one, two)]
    assert sorted("2 pulled" in text for text in said) == [False, True]
    assert (into / EXTRA).read_bytes() == large


def test_a_folder_that_cannot_be_written(released: Path) -> None:
    with pytest.raises(ModelsUnavailable, match="/proc/models cannot be written"):
        pull(released, Path("/proc/models"))
