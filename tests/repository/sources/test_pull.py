"""Models come whole and checked, or what was there stays."""

import os
from pathlib import Path

import pytest

from app.errors import ModelsRefused
from tests.fixtures.blob_storage import Storage
from tests.fixtures.models import add_colour_model, write_manifest
from tests.repository.sources.conftest import Told, contents, pull, upload


@pytest.fixture(params=["folder", "file", "blobs", "prefix"])
def address(request: pytest.FixtureRequest, released: Path, storage: Storage) -> str:
    """The same repository in each kind of place."""
    if request.param in ("folder", "file"):
        return str(released) if request.param == "folder" else released.as_uri()
    prefix = "team/models/" if request.param == "prefix" else ""
    upload(released, storage, prefix)
    return storage.below("team/models") if prefix else storage.url


def test_everything_comes_once(address: str, released: Path, into: Path) -> None:
    first, again = Told(), Told()
    assert pull(address, into, first).changed == ["box", "colour"]
    assert contents(into) == contents(released)
    assert first.done == first.total == sum(map(len, contents(released).values()))
    assert pull(address, into, again).unchanged == ["box", "colour"]
    assert again.total == again.done == 0


def test_only_the_models_named(address: str, into: Path) -> None:
    assert pull(address, into, names=["colour"]).changed == ["colour"]
    assert sorted(path.name for path in into.iterdir()) == [".pull", "colour"]
    with pytest.raises(ModelsRefused, match=r"has no model colourr .*; there are: box, colour"):
        pull(address, into, names=["colourr"])


def test_only_what_is_new_comes(released: Path, storage: Storage, into: Path) -> None:
    upload(released, storage)
    pull(storage.url, into)
    new = (released / "colour" / "1" / "model.onnx").read_bytes()
    storage.put("colour/2/model.onnx", new)
    told = Told()
    done = pull(storage.url, into, told)
    assert (done.changed, done.unchanged) == (["colour"], ["box"])
    assert told.total == len(new)
    assert (into / "colour" / "2" / "model.onnx").read_bytes() == new


def test_what_the_place_has_no_more_goes(released: Path, storage: Storage, into: Path) -> None:
    upload(released, storage)
    storage.put("colour/2/model.onnx", storage.blobs["colour/1/model.onnx"].content)
    pull(storage.url, into)
    del storage.blobs["colour/2/model.onnx"]
    pull(storage.url, into)
    assert not (into / "colour" / "2").exists()


def test_a_model_that_the_place_has_no_more_stays_unless_it_is_mirrored(
    released: Path, storage: Storage, into: Path
) -> None:
    upload(released, storage)
    add_colour_model(into, "mine")
    pull(storage.url, into)
    del storage.blobs["box/model.yaml"]
    assert pull(storage.url, into).removed == []
    assert (into / "box").is_dir()
    assert pull(storage.url, into, mirror=True).removed == ["box"]
    assert sorted(path.name for path in into.iterdir()) == [".pull", "colour", "mine"]


def test_work_that_no_pull_has_brought_is_not_replaced(released: Path, storage: Storage, into: Path) -> None:
    upload(released, storage)
    add_colour_model(into, "colour", description="mine")
    mine = contents(into)
    done = pull(storage.url, into, names=["colour"])
    assert "no pull has brought it" in str(done.failures["colour"])
    assert contents(into) == mine
    assert pull(storage.url, into, replace=True, names=["colour"]).changed == ["colour"]
    assert contents(into)["colour/model.yaml"] == storage.blobs["colour/model.yaml"].content


def test_an_equal_copy_needs_no_leave(released: Path, storage: Storage, into: Path) -> None:
    upload(released, storage)
    upload_of_mine = contents(released)
    for name, content in upload_of_mine.items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_bytes(content)
    assert pull(storage.url, into).failures == {}


def test_a_file_that_was_changed_here_is_noticed(released: Path, storage: Storage, into: Path) -> None:
    upload(released, storage)
    pull(storage.url, into)
    (into / "colour" / "1" / "model.onnx").write_bytes(b"tampered with")
    assert "no pull has brought it" in str(pull(storage.url, into).failures["colour"])
    assert pull(storage.url, into, replace=True).changed == ["colour"]
    assert contents(into) == contents(released)


@pytest.mark.parametrize("kept_by", ["the manifest", "the container"])
def test_a_wrong_digest_leaves_what_was_there(kept_by: str, released: Path, storage: Storage, into: Path) -> None:
    upload(released, storage)
    pull(storage.url, into)
    before = contents(into)
    storage.put("colour/2/model.onnx", b"not what was meant")
    if kept_by == "the manifest":
        manifest = storage.blobs["colour/model.yaml"].content
        storage.put("colour/model.yaml", manifest + f"\nsha256: {{'2': {'a' * 64}}}\n".encode())
    else:
        storage.blobs["colour/2/model.onnx"].metadata["sha256"] = "a" * 64
    storage.put("box/2/model.onnx", storage.blobs["box/1/model.onnx"].content)
    done = pull(storage.url, into)
    assert done.changed == ["box"]
    assert "a" * 64 in str(done.failures["colour"])
    assert {name: content for name, content in contents(into).items() if name in before} == before
    assert not (into / "colour" / "2").exists()


def test_a_half_written_model_is_not_put_in_place(released: Path, storage: Storage, into: Path) -> None:
    upload(released, storage)
    del storage.blobs["colour/1/model.onnx"]
    done = pull(storage.url, into)
    assert "has no version" in str(done.failures["colour"])
    assert f"{storage.port}/devstoreaccount1/models/colour" in str(done.failures["colour"])
    assert done.changed == ["box"]
    assert not (into / "colour").exists()


@pytest.mark.parametrize(
    "path", ["../colour/model.yaml", "colour/../../escaped", "colour/./1/x", "colour//x", "colour/a\\b", "colour/\x07"]
)
def test_a_path_that_leaves_is_refused(path: str, released: Path, storage: Storage, into: Path) -> None:
    upload(released, storage)
    # A blob's name may be all of this; control characters come only from a hostile server, as XML cannot hold them.
    name = path.replace("\x07", "\x7f")
    storage.put(name, b"x")
    with pytest.raises(ModelsRefused, match="leads out of the repository"):
        pull(storage.url, into)
    assert not into.parent.exists()


def test_a_file_and_a_folder_of_one_name(released: Path, storage: Storage, into: Path) -> None:
    upload(released, storage)
    storage.put("colour/1", b"")
    with pytest.raises(ModelsRefused, match="colour/1 is a file and a folder at once"):
        pull(storage.url, into)


def test_folders_of_hierarchical_accounts_are_no_files(released: Path, storage: Storage, into: Path) -> None:
    upload(released, storage)
    storage.put("colour/1", b"", metadata={"hdi_isfolder": "true"})
    assert pull(storage.url, into).changed == ["box", "colour"]


def test_a_link_that_leaves_a_folder(released: Path, into: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    (released / "colour" / "1" / "secret").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelsRefused, match="is a link that leads out of"):
        pull(released, into)
    (released / "colour" / "1" / "secret").unlink()
    (released / "colour" / "2").symlink_to(released / "colour" / "1")
    with pytest.raises(ModelsRefused, match="is a link to a folder"):
        pull(released, into)


def test_more_than_is_allowed(released: Path, into: Path) -> None:
    with pytest.raises(ModelsRefused, match="raise ROO_MODELS_BYTES"):
        pull(released, into, most_bytes=100)
    assert not into.parent.exists()


def test_a_place_that_is_not_there(into: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelsRefused, match=r"nowhere is not there, or holds no folder that could be a model"):
        pull(tmp_path / "nowhere", into)


def test_what_holds_no_models(released: Path, into: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelsRefused, match="is one model's own folder"):
        pull(released / "colour", into)
    (tmp_path / "empty" / "colour").mkdir(parents=True)
    (tmp_path / "empty" / "colour" / "labels.txt").touch()
    with pytest.raises(ModelsRefused, match=r"no model .*there are: none"):
        pull(tmp_path / "empty", into)


def test_a_manifest_that_is_not_one_keeps_the_old(released: Path, into: Path) -> None:
    pull(released, into)
    before = contents(into)
    write_manifest(released / "colour", {"tsak": "detection"})
    assert "tsak: is not a field" in str(pull(released, into).failures["colour"])
    assert contents(into) == before


def test_who_looks_meanwhile_finds_a_whole_model(released: Path, into: Path) -> None:
    """The exchange of two names: an open folder is the old one to its end, and the new one has other files."""
    pull(released, into)
    descriptor = os.open(into / "colour", os.O_RDONLY)
    write_manifest(
        released / "colour", {"task": "classification", "labels": ["a", "b", "c"], "input": {"size": [16, 16]}}
    )
    pull(released, into)
    assert os.stat(into / "colour").st_ino != os.fstat(descriptor).st_ino
    os.close(descriptor)
    assert (into / "colour" / "model.yaml").read_bytes() == (released / "colour" / "model.yaml").read_bytes()
