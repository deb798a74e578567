"""The same against Microsoft's own emulator of Blob Storage, where it is installed (`npm install azurite`)."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import ModelsRefused
from app.repository.sources import pushing
from app.repository.sources.addresses import open_target
from tests.fixtures.azurite import azurite
from tests.fixtures.models import add_colour_model
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
