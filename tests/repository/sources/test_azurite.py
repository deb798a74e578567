"""The same against Microsoft's own emulator of Blob Storage, where it is installed (`npm install azurite`)."""

import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import ModelsRefused
from app.repository.sources import files, pushing
from app.repository.sources.addresses import open_target
from app.repository.sources.base import PIECE_BYTES
from tests.fixtures.azurite import azurite
from tests.fixtures.models import add_colour_model, colour_manifest, write_manifest
from tests.fixtures.waiting import until
from tests.repository.sources.conftest import Told, contents, pull


def test_azurite_takes_and_gives_what_the_stand_in_does(tmp_path: Path) -> None:
    add_colour_model(tmp_path / "released")
    (tmp_path / "released" / "colour" / "1" / "weights.bin").write_bytes(bytes(range(256)) * 40_000)
    with azurite(tmp_path / "azurite") as url:
        with closing(open_target(url)) as target:
            assert len(pushing.push(tmp_path / "released", target, (), Told()).written) == 3
            assert pushing.push(tmp_path / "released", target, (), Told()).written == []
        assert pull(url, tmp_path / "into").changed == ["colour"]
        assert contents(tmp_path / "into") == contents(tmp_path / "released")
        with closing(open_target(url)) as target:
            graph = tmp_path / "released" / "colour" / "1" / "model.onnx"
            with pytest.raises(ModelsRefused, match="changed by somebody else"):
                target.write("colour/1/model.onnx", graph, "", None)
            large = next(file for file in target.files() if file.path.endswith("weights.bin"))
            assert b"".join(target.read(large, 5_000_000)) == (bytes(range(256)) * 40_000)[5_000_000:]
            stale = replace(large, stamp='"0x1"')
            with pytest.raises(ModelsRefused, match="changed by somebody else"):
                list(target.read(stale, 0))


def test_a_pull_from_azurite_that_was_killed_goes_on_and_a_wrong_digest_is_refused(tmp_path: Path) -> None:
    released, into = tmp_path / "released", tmp_path / "into"
    add_colour_model(released)
    large = released / "colour" / "1" / "weights.bin"
    large.write_bytes(os.urandom(12 * PIECE_BYTES))
    with azurite(tmp_path / "azurite") as url:
        with closing(open_target(url)) as target:
            pushing.push(released, target, (), Told())
        with subprocess.Popen([sys.executable, "-m", "app", "models", "pull", url, "--into", str(into)]) as process:
            until(lambda: came(into) >= PIECE_BYTES, patience=60)
            process.kill()
        assert not (into / "colour").exists()
        told = Told()
        assert pull(url, into, told).changed == ["colour"]
        assert contents(into) == contents(released)
        assert told.done == told.total <= large.stat().st_size - PIECE_BYTES + 100_000
        write_manifest(released / "colour", colour_manifest(sha256={"1": "0" * 64}))
        with closing(open_target(url)) as target:
            manifest, old = released / "colour" / "model.yaml", {file.path: file for file in target.files()}
            target.write("colour/model.yaml", manifest, files.digest(manifest), old["colour/model.yaml"])
        refused = pull(url, into)
        assert "has the digest" in str(refused.failures["colour"])
        assert (into / "colour" / "1" / "weights.bin").read_bytes() == large.read_bytes()


def came(into: Path) -> int:
    """Bytes of parts that have arrived."""
    return sum(path.stat().st_size for path in (into / ".pull").rglob("*") if path.is_file())
