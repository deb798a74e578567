"""Adding graphs whose weights lie in files of their own: copied along, covered by the digests."""

from pathlib import Path

import onnx
import pytest

from app.commands import add
from app.errors import InvalidManifest
from app.repository.repository import read_entry
from tests.commands.test_add import added, asked, refusal
from tests.engines.test_onnx_refusals import save_outside
from tests.fixtures.models import save_convolutions

SCORES = {"labels": "a,b,c", "fields": {"classification": {"softmax": True}}}


def test_weights_are_copied_along_and_have_digests(tmp_path: Path) -> None:
    save_outside(tmp_path / "net.onnx")
    manifest = added(tmp_path / "net.onnx", "classification", **SCORES)
    assert sorted(manifest["sha256"]["1"]) == ["model.onnx", "weights.bin"]
    folder = tmp_path / "models" / "it"
    read_entry(folder)
    copy = folder / "1" / "weights.bin"
    copy.write_bytes(copy.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InvalidManifest, match=r"1/weights\.bin has the digest"):
        read_entry(folder)


def test_a_file_for_each_weight_and_folders_of_them(tmp_path: Path) -> None:
    save_convolutions(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.save_model(
        model, tmp_path / "net.onnx", save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=100
    )
    (tmp_path / "deep").mkdir()
    (tmp_path / "kernel_0").rename(tmp_path / "deep" / "kernel_0")
    model = onnx.load(tmp_path / "net.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "deep/kernel_0"
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    manifest = added(tmp_path / "net.onnx", "classification", **SCORES)
    assert sorted(manifest["sha256"]["1"]) == ["deep/kernel_0", "kernel_1", "kernel_2", "model.onnx"]


def test_links_beside_the_graph_are_followed(tmp_path: Path) -> None:
    weights = save_outside(tmp_path / "blobs" / "net.onnx")
    (tmp_path / "snapshot").mkdir()
    for file in (weights.rename(weights.with_name("0a1b")), weights.with_name("net.onnx")):
        name = "weights.bin" if file.name == "0a1b" else file.name
        (tmp_path / "snapshot" / name).symlink_to(file)
    added(tmp_path / "snapshot" / "net.onnx", "classification", **SCORES)
    copy = tmp_path / "snapshot" / "models" / "it" / "1" / "weights.bin"
    assert copy.read_bytes() == (tmp_path / "blobs" / "0a1b").read_bytes()
    assert not copy.is_symlink()


def test_missing_weights_are_said_of_the_file_that_the_user_named(tmp_path: Path) -> None:
    save_outside(tmp_path / "net.onnx").unlink()
    assert refusal(tmp_path / "net.onnx", "classification", **SCORES).startswith(
        f"{tmp_path / 'net.onnx'}: its weights"
    )


def test_weights_named_like_a_graph_are_refused(tmp_path: Path) -> None:
    weights = save_outside(tmp_path / "net.onnx", "model.onnx")
    weights.rename(tmp_path / "model.onnx")
    assert "its name is one that a repository keeps for graphs" in refusal(tmp_path / "net.onnx", "classification")


def test_errors_name_no_file_for_the_time_being(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"nonsense")
    message = refusal(tmp_path / "net.onnx", "classification")
    assert message.startswith(f"{tmp_path / 'net.onnx'}: ONNX Runtime")
    save_convolutions(tmp_path / "net.onnx")
    fields = {"classification": {"softmax": True, "top_k": 0}}
    wanted = asked(tmp_path / "net.onnx", "classification", labels="a,b,c", fields=fields)
    with pytest.raises(InvalidManifest) as error:
        add.run(wanted)
    assert ".new-" not in str(error.value)
    assert str(tmp_path / "models" / "it" / "model.yaml") in str(error.value)
