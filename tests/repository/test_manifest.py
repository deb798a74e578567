"""Every way in which a manifest can be wrong is one message naming file, field and cure."""

from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidManifest, StartupError
from app.repository.manifest import read_manifest
from app.repository.repository import read_entry, scan
from tests.fixtures.models import add_colour_model, box_manifest, colour_manifest, write_manifest


def refusal(tmp_path: Path, manifest: dict[str, Any]) -> str:
    write_manifest(tmp_path / "broken", manifest)
    with pytest.raises(InvalidManifest) as error:
        read_manifest(tmp_path / "broken" / "model.yaml")
    message = str(error.value)
    assert str(tmp_path / "broken" / "model.yaml") in message
    return message


def test_a_name_for_one_model_needs_its_folder(tmp_path: Path) -> None:
    add_colour_model(tmp_path)
    (entry,) = scan(tmp_path / "colour", "renamed")
    assert entry.name == "renamed"
    with pytest.raises(StartupError, match="ROO_MODEL_NAME=renamed names the one model"):
        scan(tmp_path, "renamed")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "poetry"}, "task:"),
        ({"tsak": "detection"}, "tsak: is not a field"),
        ({"labels": []}, "labels must list"),
        ({"labels": [True, False]}, "labels.0: yes, no, on, off, true and false are no texts in YAML; put quotes"),
        ({"versions": ["one"]}, "versions.0:"),
        ({"input": {"size": [0, 16]}}, "input.size"),
        ({"input": {"size": [16, 16], "resize": "sideways"}}, "input.resize:"),
        ({"input": {}}, "input.size: is missing"),
        ({"batching": {"max_size": 0}}, "batching.max_size:"),
        ({"classification": {"top_k": 0}}, "classification.top_k:"),
        ({"segmentation": {"layout": "mask"}}, "segmentation.layout:"),
        ({"sha256": {"1": "abc"}}, "sha256.1:"),
        ({"engine": "magic"}, "engine:"),
        ({"input": None}, "input: is missing"),
        ({"task": "tensors"}, "remove the section `input:`"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    assert words in refusal(tmp_path, colour_manifest(**changes))


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path / "broken", colour_manifest())
    path = tmp_path / "broken" / "model.yaml"
    path.write_text("task: classification\ninput:\n  size: [16, 16]\n  scale: 1\n  size: [32, 32]\n")
    with pytest.raises(InvalidManifest, match="the key 'size' is there twice, in line 3 and in line 5; keep one"):
        read_manifest(path)
    path.write_text("base: &base {size: [8, 8]}\n<<: *base\n<<: *base\n")
    with pytest.raises(InvalidManifest, match="task: is missing"):
        read_manifest(path)


def test_a_detection_needs_its_decoder(tmp_path: Path) -> None:
    manifest = box_manifest()
    del manifest["detection"]
    assert "`detection:`" in refusal(tmp_path, manifest)
    assert "detection.decoder" in refusal(tmp_path, box_manifest(detection={"decoder": "crystal-ball"}))


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, colour_manifest(engine="magic", batching={"max_size": -1}))
    assert "engine:" in message
    assert "batching.max_size:" in message


@pytest.mark.parametrize("text", ["- a list", "just words", "a: [1", "\0", ""])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(text)
    with pytest.raises(InvalidManifest, match=r"model\.yaml"):
        read_manifest(path)


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text("!!python/object/apply:os.system ['touch pwned']")
    with pytest.raises(InvalidManifest, match="is not YAML"):
        read_manifest(path)


def test_labels_from_a_file(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, labels="names.txt")
    (folder / "names.txt").write_text("red\ngreen\nblue\n")
    assert read_entry(folder).labels == ("red", "green", "blue")


@pytest.mark.parametrize("name", ["missing.txt", "../../etc/passwd", "/etc/passwd", "empty.txt"])
def test_labels_files_that_are_refused(tmp_path: Path, name: str) -> None:
    folder = add_colour_model(tmp_path, labels=name)
    (folder / "empty.txt").write_text("\n")
    with pytest.raises(InvalidManifest, match="labels: "):
        read_entry(folder)


def test_latest_is_the_highest_number(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, versions=("2", "10", "9"))
    assert list(read_entry(folder).versions) == ["10"]


def test_a_list_of_versions_may_be_numbers(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, versions=("1", "2", "3"))
    write_manifest(folder, colour_manifest(versions=[1, 3]))
    assert list(read_entry(folder).versions) == ["1", "3"]


def test_a_version_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, versions_served=["1", "4"])
    with pytest.raises(InvalidManifest, match="versions: 4 not found; there are 1"):
        read_entry(folder)


def test_a_model_without_versions(tmp_path: Path) -> None:
    write_manifest(tmp_path / "empty", colour_manifest())
    with pytest.raises(InvalidManifest, match="has no version"):
        read_entry(tmp_path / "empty")


def test_the_digest_is_checked(tmp_path: Path) -> None:
    import hashlib

    folder = add_colour_model(tmp_path)
    digest = hashlib.sha256((folder / "1" / "model.onnx").read_bytes()).hexdigest()
    write_manifest(folder, colour_manifest(sha256={"1": digest}))
    assert list(read_entry(folder).versions) == ["1"]
    with (folder / "1" / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InvalidManifest, match="sha256"):
        read_entry(folder)


def test_a_models_own_folder_is_no_repository_and_both_cures_are_named(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path)
    with pytest.raises(StartupError, match=rf"own folder.*ROO_MODELS_DIR.*\({tmp_path}\).*ROO_MODEL_NAME=colour"):
        scan(folder)


def test_scanning_passes_over_other_folders_and_refuses_emptiness(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="has no models"):
        scan(tmp_path)
    add_colour_model(tmp_path, "b")
    add_colour_model(tmp_path, "a")
    (tmp_path / "notes").mkdir()
    (tmp_path / "README.md").write_text("hello")
    assert [entry.name for entry in scan(tmp_path)] == ["a", "b"]
    with pytest.raises(StartupError, match="not a folder"):
        scan(tmp_path / "README.md")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("person\nbicycle\n\nbus\n\ntruck\n", "lines 3, 5 of it are blank"),
        ("\nperson\n", "line 1 of it is blank"),
        ("person\n   \nbus", "line 2 of it is blank"),
        ("\n" * 3, "it is empty"),
    ],
)
def test_a_labels_file_with_gaps_is_refused_because_names_would_shift(tmp_path: Path, content: str, named: str) -> None:
    folder = add_colour_model(tmp_path, labels="names.txt")
    (folder / "names.txt").write_text(content, "utf-8")
    with pytest.raises(InvalidManifest, match=named):
        read_entry(folder)


def test_a_labels_file_counts_lines_and_nothing_else(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, labels="names.txt")
    (folder / "names.txt").write_bytes("\ufeffred\u2028ish\r\ngreen\x85 \r\nblue\r\n\r\n".encode())
    assert read_entry(folder).labels == ("red\u2028ish", "green", "blue")


def test_a_blank_name_in_the_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match="one is blank"):
        read_entry(add_colour_model(tmp_path, labels=["red", " ", "blue"]))


def test_int8_is_a_file_that_must_be_there_and_may_have_its_digest(tmp_path: Path) -> None:
    import hashlib

    folder = add_colour_model(tmp_path, precisions=["fp32", "int8"])
    with pytest.raises(InvalidManifest, match=r"precisions lists int8.*model\.int8\.onnx is not there.*colour --data"):
        read_entry(folder)
    quantized = folder / "1" / "model.int8.onnx"
    quantized.write_bytes((folder / "1" / "model.onnx").read_bytes())
    assert read_entry(folder).versions["1"].name == "model.onnx"
    digest = hashlib.sha256(quantized.read_bytes()).hexdigest()
    write_manifest(folder, colour_manifest(sha256={"1": {"model.int8.onnx": digest}}))
    assert read_entry(folder).versions["1"].name == "model.onnx"
    write_manifest(folder, colour_manifest(sha256={"1": {"model.int8.onnx": "0" * 64}}))
    with pytest.raises(InvalidManifest, match=r"model\.int8\.onnx has the digest"):
        read_entry(folder)


@pytest.mark.parametrize("engine", ["torch", "tensorrt"])
def test_int8_is_refused_for_an_engine_that_does_not_read_it(tmp_path: Path, engine: str) -> None:
    folder = add_colour_model(tmp_path, engine=engine, precisions=["int8"])
    with pytest.raises(InvalidManifest, match=f"precisions lists int8, which the engine {engine} does not read"):
        read_entry(folder)


def test_versions_share_the_traffic_as_far_as_they_are_served(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, versions=("1", "2"), versions_served=["1", "2"], traffic={1: 90, 2: 10})
    route = read_entry(folder).manifest.route
    assert (route.shares, route.default_version) == ({"1": 90, "2": 10}, None)
    for changes, words in (
        ({"traffic": {"1": 90, "2": 5}}, "colour/model.yaml: traffic: the shares add up to 95, not to 100 percent"),
        ({"versions": "latest", "traffic": {"1": 90, "2": 10}}, "traffic names version 1, which is not served; .* 2"),
        ({"default_version": 3}, "default_version names version 3"),
        ({"stages": {"candidate": "3"}}, "stages names version 3"),
        ({"stages": {"3": "2"}}, "stages.3"),
        ({"traffic": {"first": 100}}, "traffic.first"),
    ):
        write_manifest(folder, colour_manifest(**({"versions": [1, 2]} | changes)))
        with pytest.raises(InvalidManifest, match=words):
            read_entry(folder)


def test_a_traffic_file_holds_in_the_manifests_place(tmp_path: Path) -> None:
    served = {"versions": ("1", "2"), "versions_served": ["1", "2"]}
    folder = add_colour_model(tmp_path, **served, traffic={"1": 100}, stages={"stable": "1"})
    file = folder / "traffic.yaml"
    file.write_text("traffic: {1: 80, 2: 20}\nshadow: {2: 5}\n")
    route = read_entry(folder).manifest.route
    assert (route.shares, route.shadow, route.stages) == ({"1": 80, "2": 20}, {"2": 5}, {"stable": "1"})
    for content, words in (
        ("traffic: {1: 80, 2: 30}", "colour.traffic.yaml: traffic: the shares add up to 110, not to 100 percent"),
        ("trafic: {1: 100}", r"traffic.yaml:\n  trafic: is not a field"),
        ("stages: {candidate: 3}", "stages names version 3"),
        ("[1, 2]", "traffic.yaml: must be a mapping of fields"),
        ("traffic: {1: 50, 1: 50}", "the key '1' is there twice"),
    ):
        file.write_text(content)
        with pytest.raises(InvalidManifest, match=words):
            read_entry(folder)


def test_a_traffic_file_that_was_meant_and_is_none_is_not_passed_over(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, traffic={"1": 100})
    file = folder / "traffic.yaml"
    file.mkdir()  # as Docker makes one where the file that is to be mounted is missing
    with pytest.raises(InvalidManifest, match=r"traffic.yaml: cannot be read: .*Is a directory"):
        read_entry(folder)
    file.rmdir()
    file.symlink_to("nowhere")
    with pytest.raises(InvalidManifest, match=r"traffic.yaml: cannot be read: .*No such file"):
        read_entry(folder)
