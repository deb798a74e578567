"""`roo-vision models add` for vectors, maps and several labels: what the graph tells, and what it is asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.commands import add
from app.errors import InvalidManifest
from app.repository.manifest import Manifest, read_manifest
from tests.commands.test_add import asked, save_constant
from tests.commands.test_cli import roo
from tests.fixtures.models import COLOURS, save_mean_colour, save_strongest_colour
from tests.fixtures.pictures import solid

RANDOM = np.random.default_rng(5)


def manifest_of(tmp_path: Path) -> Manifest:
    return read_manifest(tmp_path / "models" / "it" / "model.yaml")


def constant(path: Path, **outputs: tuple[int, ...]) -> Path:
    return save_constant(path, **{name: RANDOM.standard_normal(shape, np.float32) for name, shape in outputs.items()})


def test_a_vector_is_added_without_labels(tmp_path: Path) -> None:
    graph = constant(tmp_path / "net.onnx", embedding=(64,))
    add.run(asked(graph, "embedding"))
    manifest = manifest_of(tmp_path)
    assert (manifest.task, manifest.labels, manifest.embedding.pick) == ("embedding", [], "none")
    assert not (tmp_path / "models" / "it" / "labels.txt").exists()


def test_the_vector_is_found_beside_tokens(tmp_path: Path) -> None:
    graph = constant(tmp_path / "net.onnx", last_hidden_state=(50, 64), pooler_output=(64,))
    add.run(asked(graph, "embedding"))
    assert manifest_of(tmp_path).embedding.output == "pooler_output"


def test_an_output_that_the_family_names_otherwise_is_named(tmp_path: Path) -> None:
    add.run(asked(constant(tmp_path / "net.onnx", features=(64,)), "embedding", like="clip"))
    assert manifest_of(tmp_path).embedding.output == "features"
    assert manifest_of(tmp_path).input.crop_rounding == "floor"  # type: ignore[union-attr]


def test_tokens_can_be_read_in_two_ways_and_a_map_in_one(tmp_path: Path) -> None:
    tokens = constant(tmp_path / "tokens.onnx", hidden=(50, 64))
    with pytest.raises(InvalidManifest, match=r"--set embedding.pick=cls, or --set embedding.pick=mean"):
        add.run(asked(tokens, "embedding"))
    draft = (tmp_path / "models" / ".drafts" / "it.yaml").read_text()
    assert "pick:  # to be filled in" in draft
    add.run(asked(tokens, "embedding", fields={"embedding": {"pick": "mean", "skip_tokens": 1}}))
    assert manifest_of(tmp_path).embedding.skip_tokens == 1
    add.run(asked(constant(tmp_path / "map.onnx", features=(64, 7, 7)), "embedding", name="map"))
    assert read_manifest(tmp_path / "models" / "map" / "model.yaml").embedding.pick == "mean"


def test_what_is_no_vector_is_refused(tmp_path: Path) -> None:
    two = constant(tmp_path / "two.onnx", first=(64,), second=(32,))
    with pytest.raises(InvalidManifest, match=r"say which: --set embedding.output=first or --set embedding.output=sec"):
        add.run(asked(two, "embedding"))
    with pytest.raises(InvalidManifest, match="An embedding has no classes; leave --labels out"):
        add.run(asked(two, "embedding", labels="a,b"))
    with pytest.raises(InvalidManifest, match="all the same"):
        add.run(asked(save_constant(tmp_path / "dead.onnx", out=np.zeros(8, np.float32)), "embedding"))


def test_probabilities_taken_for_a_vector_look_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shares = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    add.run(asked(save_constant(tmp_path / "net.onnx", out=shares), "embedding"))
    assert "that looks wrong: its numbers are not negative and sum to 1" in " ".join(capsys.readouterr().out.split())


def test_what_the_numbers_of_a_map_are_is_asked_for(tmp_path: Path) -> None:
    graph = constant(tmp_path / "net.onnx", depth=(1, 12, 12))
    with pytest.raises(InvalidManifest, match=r"--set maps.unit=metres: metres; --set maps.unit=relative"):
        add.run(asked(graph, "maps"))
    add.run(asked(graph, "maps", fields={"maps": {"unit": "metres"}}, labels="depth"))
    manifest = manifest_of(tmp_path)
    assert (manifest.maps.unit, manifest.labels) == ("metres", "labels.txt")


def test_maps_of_several_channels_have_names(tmp_path: Path) -> None:
    save_strongest_colour(tmp_path / "net.onnx")
    for name, labels in (("named", ",".join(COLOURS)), ("numbered", None)):
        add.run(asked(tmp_path / "net.onnx", "maps", labels=labels, name=name, fields={"maps": {"unit": "score"}}))
    root = tmp_path / "models"
    assert (root / "named" / "labels.txt").read_text().split() == list(COLOURS)
    assert (root / "numbered" / "labels.txt").read_text().split() == ["0", "1", "2"]
    with pytest.raises(InvalidManifest, match="has 3 classes, but --labels names 2"):
        add.run(asked(tmp_path / "net.onnx", "maps", labels="a,b", name="two", fields={"maps": {"unit": "score"}}))


@pytest.mark.parametrize(("scores", "sigmoid"), [([0.9, 0.8, 0.7], False), ([2.0, -1.0, 0.5], True)])
def test_several_labels_are_logits_or_probabilities_as_their_numbers_say(
    tmp_path: Path, scores: list[float], sigmoid: bool
) -> None:
    graph = save_constant(tmp_path / "net.onnx", scores=np.array(scores, np.float32))
    fields: dict[str, Any] = {"classification": {"multi_label": True}}
    add.run(asked(graph, "classification", labels="a,b,c", fields=fields))
    section = manifest_of(tmp_path).classification
    assert (section.multi_label, section.sigmoid, section.softmax, section.score_threshold) == (
        True,
        sigmoid,
        False,
        0.5,
    )


def test_inspect_shows_vectors_and_maps(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(solid((200, 100, 50)))
    save_mean_colour(tmp_path / "vector.onnx")
    save_strongest_colour(tmp_path / "map.onnx")
    told = roo("models", "inspect", tmp_path / "vector.onnx", "--try", tmp_path / "a.png").stdout
    assert "a vector of 3 dimensions" in told
    told = roo("models", "inspect", tmp_path / "map.onnx", "--try", tmp_path / "a.png", "--labels", "r,g,b").stdout
    assert "--task maps" in told


def test_the_vector_of_a_picture_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(solid((200, 100, 50)))
    save_mean_colour(tmp_path / "net.onnx")
    add.run(asked(tmp_path / "net.onnx", "embedding", picture=tmp_path / "a.png", drawn=tmp_path / "drawn.jpg"))
    assert (tmp_path / "drawn.jpg").is_file()
