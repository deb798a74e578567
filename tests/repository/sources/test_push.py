"""What is pushed is what is pulled; a version that is there is never overwritten by another."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from app.errors import InvalidManifest, ModelsRefused, StartupError
from app.repository.sources import pushing
from app.repository.sources.addresses import open_target
from tests.fixtures.blob_storage import Storage
from tests.fixtures.models import add_colour_model, write_manifest
from tests.repository.sources.conftest import Told, contents, pull, upload


def push(root: Path, address: object, *names: str) -> pushing.Pushed:
    with closing(open_target(str(address))) as target:
        return pushing.push(root, target, names, Told())


@pytest.fixture(params=["folder", "blobs"])
def address(request: pytest.FixtureRequest, storage: Storage, tmp_path: Path) -> str:
    return str(tmp_path / "share" / "models") if request.param == "folder" else storage.below("team/models")


def test_there_and_back(address: str, released: Path, into: Path) -> None:
    assert len(push(released, address).written) == 4
    assert push(released, address).written == []
    pull(address, into)
    assert contents(into) == contents(released)


def test_only_the_models_named(address: str, released: Path, into: Path) -> None:
    push(released, address, "colour")
    assert pull(address, into).changed == ["colour"]


def test_the_manifest_comes_last_and_large_files_in_blocks(released: Path, storage: Storage, into: Path) -> None:
    (released / "colour" / "1" / "weights.bin").write_bytes(bytes(9 * 2**20))
    push(released, storage.url, "colour")
    assert storage.written[-1] == "colour/model.yaml"
    assert len(storage.blobs["colour/1/weights.bin"].content) == 9 * 2**20
    pull(storage.url, into)
    assert (into / "colour" / "1" / "weights.bin").read_bytes() == bytes(9 * 2**20)


def test_a_version_that_differs_is_never_overwritten(address: str, released: Path, into: Path, tmp_path: Path) -> None:
    push(released, address)
    other = tmp_path / "other"
    add_colour_model(other, description="other")
    graph = other / "colour" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\x00")
    with pytest.raises(ModelsRefused, match=r"has another colour/1/model\.onnx, .* Nothing was pushed"):
        push(other, address)
    pull(address, into)
    assert contents(into) == contents(released)


def test_a_manifest_may_change_and_a_version_be_added(address: str, released: Path, into: Path) -> None:
    push(released, address)
    (released / "colour" / "2").mkdir()
    (released / "colour" / "2" / "model.onnx").write_bytes((released / "colour" / "1" / "model.onnx").read_bytes())
    manifest = released / "colour" / "model.yaml"
    manifest.write_text(manifest.read_text() + "description: another\n")
    assert push(released, address).written == ["colour/2/model.onnx", "colour/model.yaml"]
    pull(address, into)
    assert contents(into) == contents(released)


def test_what_is_there_alone_is_told_and_left(released: Path, storage: Storage) -> None:
    upload(released, storage)
    storage.put("colour/notes.txt", b"mine")
    storage.put("others/model.yaml", b"mine")
    assert push(released, storage.url).left == ["colour/notes.txt"]
    assert storage.blobs["colour/notes.txt"].content == b"mine"


def test_somebody_else_pushes_at_the_same_time(released: Path, storage: Storage) -> None:
    with closing(open_target(storage.url)) as target:
        target.write("colour/1/model.onnx", released / "colour" / "1" / "model.onnx", "0" * 64, None)
        with pytest.raises(ModelsRefused, match="changed by somebody else meanwhile"):
            target.write("colour/1/model.onnx", released / "box" / "1" / "model.onnx", "0" * 64, None)
        (listed,) = target.files()
        storage.put("colour/1/model.onnx", b"third")
        with pytest.raises(ModelsRefused, match="changed by somebody else meanwhile"):
            target.write("colour/1/model.onnx", released / "box" / "1" / "model.onnx", "0" * 64, listed)
    assert storage.blobs["colour/1/model.onnx"].content == b"third"


def test_the_same_in_a_folder(released: Path, tmp_path: Path) -> None:
    target = open_target(str(tmp_path / "share"))
    mine, other = (released / name / "1" / "model.onnx" for name in ("colour", "box"))
    target.write("colour/1/model.onnx", mine, "", None)
    with pytest.raises(ModelsRefused, match="Somebody else has written"):
        target.write("colour/1/model.onnx", other, "", None)
    (listed,) = target.files()
    (tmp_path / "share" / "colour" / "1" / "model.onnx").write_bytes(b"third")
    with pytest.raises(ModelsRefused, match="Somebody else has written"):
        target.write("colour/1/model.onnx", other, "", listed)
    assert [path.name for path in (tmp_path / "share" / "colour" / "1").iterdir()] == ["model.onnx"]


def test_what_could_not_be_served_is_not_pushed(released: Path, storage: Storage) -> None:
    write_manifest(released / "colour", {"tsak": "detection"})
    with pytest.raises(InvalidManifest, match="tsak"):
        push(released, storage.url)
    assert storage.blobs == {}


def test_a_place_that_is_none() -> None:
    for address in ("ftp://host/models", "azblob://", "azblob://account", "https://host.example"):
        with pytest.raises(StartupError, match="models' source"):
            open_target(address)
    with pytest.raises(StartupError, match="must begin with https"):
        open_target("http://robots.example/account/models?sig=secret")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AuthorizationFailure", "the signature is refused"),
        (404, "ContainerNotFound", "is not there"),
        (307, "", "no redirect is followed"),
        (400, "InvalidHeaderValue", "400 InvalidHeaderValue"),
    ],
)
def test_a_storage_that_refuses(status: int, code: str, words: str, storage: Storage, into: Path) -> None:
    storage.refuse = (status, code)
    with pytest.raises(StartupError, match=words) as error:
        pull(storage.url, into)
    assert "secret" not in str(error.value)
    assert json.dumps(code)[1:-1] in str(error.value)
    assert not into.parent.exists()


def test_a_blob_that_is_stored_compressed(released: Path, storage: Storage, into: Path) -> None:
    upload(released, storage)
    storage.blobs["colour/1/model.onnx"].encoding = "gzip"
    with pytest.raises(ModelsRefused, match="Content-Encoding 'gzip'"):
        pull(storage.url, into)
