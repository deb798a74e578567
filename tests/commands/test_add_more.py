"""What `models add` does beside the entry: it tries a picture, adds versions, and leaves a draft where it refuses."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from app.commands import add, addition
from app.errors import InvalidManifest, StartupError
from app.repository.repository import read_entry, scan
from tests.commands.test_add import SIDE, X_FIRST, added, asked, save, save_constant, table
from tests.commands.test_add_readings import rows_of_six
from tests.commands.test_cli import roo
from tests.engines.test_onnx_refusals import save_outside
from tests.fixtures.models import COLOURS, add_colour_model, save_mean_colour, save_one_box
from tests.fixtures.pictures import solid


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "green.png"
    path.write_bytes(solid((0, 255, 0), (320, 200)))
    return path


def test_a_picture_is_answered_and_drawn(tmp_path: Path, picture: Path) -> None:
    save_one_box(tmp_path / "net.onnx")
    command = ["models", "add", tmp_path / "net.onnx", "--task", "detection", "--labels", "red,green,blue"]
    command += ["--set", "detection.box_format=xyxy"]
    done = roo(*command, "--out", tmp_path / "models", "--try", picture, "--drawn", tmp_path / "drawn.jpg")
    assert done.returncode == 0, done.stderr
    assert f"in {picture} it finds: 1 object of 1 class; best green" in done.stdout
    with Image.open(tmp_path / "drawn.jpg") as drawn:
        assert drawn.size == (320, 200)


def test_what_is_no_picture_is_said_before_anything_is_written(tmp_path: Path) -> None:
    save_one_box(tmp_path / "net.onnx")
    (tmp_path / "text.jpg").write_text("no picture")
    for name in ("text.jpg", "nothing.jpg"):
        with pytest.raises(StartupError, match=rf"^--try .*{name}: "):
            add.run(asked(tmp_path / "net.onnx", labels="a,b,c", picture=tmp_path / name))
    assert not (tmp_path / "models").exists()


def versions_of(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "colour").iterdir() if path.is_dir())


def asked_in(tmp_path: Path, **changes: object) -> addition.Addition:
    return asked(tmp_path / "net.onnx", None, name="colour", **changes)  # type: ignore[arg-type]


def test_a_second_version_keeps_the_manifest(tmp_path: Path, picture: Path) -> None:
    root = tmp_path / "models"
    save_mean_colour(tmp_path / "net.onnx")
    folder = add_colour_model(root)
    before = (folder / "model.yaml").read_text()
    add.run(asked_in(tmp_path, version=0, picture=picture, drawn=tmp_path / "drawn.jpg"))
    assert versions_of(root) == ["1", "2"]
    assert (folder / "model.yaml").read_text() == before
    assert list(read_entry(folder).versions) == ["2"]
    assert (tmp_path / "drawn.jpg").is_file()
    add.run(asked_in(tmp_path, version=7))
    assert versions_of(root) == ["1", "2", "7"]
    with pytest.raises(StartupError, match="7 is there already"):
        add.run(asked_in(tmp_path, version=7))


def test_the_digests_of_a_second_version_are_one_more_line(tmp_path: Path) -> None:
    save_outside(tmp_path / "net.onnx")
    fields = {"classification": {"softmax": True}}
    add.run(asked(tmp_path / "net.onnx", "classification", labels="a,b,c", fields=fields, name="colour"))
    path = tmp_path / "models" / "colour" / "model.yaml"
    path.write_text("# mine\n" + path.read_text())
    add.run(asked_in(tmp_path, version=2))
    content = yaml.safe_load(path.read_text())
    assert path.read_text().startswith("# mine\n")
    assert sorted(content["sha256"]) == ["1", "2"]
    assert content["sha256"]["1"] == content["sha256"]["2"]
    assert sorted(content["sha256"]["2"]) == ["model.onnx", "weights.bin"]
    read_entry(path.parent)


def test_versions_that_are_listed_and_digests_in_one_line_are_left_to_their_owner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = add_colour_model(tmp_path / "models", versions_served=["1"])
    save_mean_colour(tmp_path / "net.onnx")
    with (folder / "model.yaml").open("a") as file:
        file.write("sha256: {}\n")
    add.run(asked_in(tmp_path, version=2))
    told = capsys.readouterr().out
    assert "model.yaml serves versions 1; add 2 to `versions:`" in told
    assert "add this to `sha256:`" in told
    assert versions_of(tmp_path / "models") == ["1", "2"]


def test_a_version_whose_numbers_speak_against_the_manifest_is_refused(tmp_path: Path) -> None:
    logits = save_constant(tmp_path / "logits.onnx", scores=np.array([3, -1, 0.5], np.float32))
    add.run(asked(logits, "classification", labels="a,b,c", fields={"classification": {"softmax": True}}))
    root = tmp_path / "models" / "it"
    before = (root / "model.yaml").read_text()
    shares = save_constant(tmp_path / "shares.onnx", scores=np.array([0.2, 0.3, 0.5], np.float32))
    with pytest.raises(InvalidManifest, match="its outputs are probabilities already"):
        add.run(asked(shares, None, version=0))
    assert not (root / "2").exists()
    assert (root / "model.yaml").read_text() == before


@pytest.mark.parametrize("fields", [{"sigmoid": True}, {"softmax": False}])
@pytest.mark.parametrize("labels", ["no,yes", "yes"])
def test_one_number_is_added_where_it_is_said_what_it_is(tmp_path: Path, fields: dict[str, bool], labels: str) -> None:
    single = save_constant(tmp_path / "single.onnx", scores=np.array([0.7], np.float32))
    with pytest.raises(InvalidManifest, match=r"sigmoid=true; where it is its probability, .*softmax=false"):
        add.run(asked(single, "classification", labels=labels))
    add.run(asked(single, "classification", labels=labels, fields={"classification": fields}))
    (entry,) = scan(tmp_path / "models")
    assert entry.labels == tuple(labels.split(","))
    with pytest.raises(InvalidManifest, match="this is no classifier"):
        add.run(asked(single, "classification", labels="a,b,c", fields={"classification": fields}, name="other"))


@pytest.mark.parametrize(("task", "shape"), [("classification", (3,)), ("segmentation", (3, 8, 8))])
def test_several_outputs_that_fit_are_settled_by_naming_one(tmp_path: Path, task: str, shape: tuple[int, ...]) -> None:
    outputs = {name: 4 * np.random.default_rng(0).random(shape, np.float32) for name in ("out", "aux")}
    two = save_constant(tmp_path / "two.onnx", **outputs)
    with pytest.raises(InvalidManifest, match=f"--set {task}.output=out or --set {task}.output=aux"):
        add.run(asked(two, task, labels="a,b,c"))
    assert added(two, task, labels="a,b,c", fields={task: {"output": "aux"}})[task]["output"] == "aux"


def test_masks_that_may_overlap_are_no_classes_that_exclude_each_other(tmp_path: Path) -> None:
    masks = save_constant(tmp_path / "masks.onnx", out=np.random.default_rng(0).random((3, 8, 8), np.float32))
    with pytest.raises(InvalidManifest, match=r"or heat maps \(--task maps --set maps.unit=score\)"):
        add.run(asked(masks, "segmentation", labels="a,b,c"))
    add.run(asked(masks, "segmentation", labels="a,b,c", fields={"segmentation": {"layout": "logits"}}))
    shares = np.random.default_rng(0).dirichlet((1, 1, 1), (8, 8)).astype(np.float32).transpose(2, 0, 1)
    add.run(asked(save_constant(tmp_path / "shares.onnx", out=shares), "segmentation", labels="a,b,c", name="shares"))
    assert len(scan(tmp_path / "models")) == 2


def test_one_sure_class_of_several_is_no_embedding(tmp_path: Path) -> None:
    sure = save_constant(tmp_path / "sure.onnx", scores=np.array([0.998, 0.04, 0.05], np.float32))
    with pytest.raises(InvalidManifest, match="probabilities of classes that may each be there by themselves"):
        add.run(asked(sure, "classification", labels="a,b,c"))


def test_an_entry_whose_numbers_speak_against_what_was_asked_is_said_to_look_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = save_constant(tmp_path / "shares.onnx", scores=np.array([0.2, 0.3, 0.5], np.float32))
    add.run(asked(shares, "classification", labels="a,b,c", fields={"classification": {"softmax": True}}))
    assert "that looks wrong: its outputs are probabilities already" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("save", "words"),
    [
        (lambda path: save_mean_colour(path, size=20), "image is float32 ['any', 3, 20, 20] instead of float32"),
        (save_one_box, "there is no scores|scores is float32 ['any', 1, 3] instead of"),
    ],
)
def test_a_version_that_takes_or_gives_something_else_is_refused(tmp_path: Path, save, words: str) -> None:  # type: ignore[no-untyped-def]
    add_colour_model(tmp_path / "models")
    save(tmp_path / "net.onnx")
    with pytest.raises(InvalidManifest) as error:
        add.run(asked_in(tmp_path, version=0))
    assert any(each in str(error.value) for each in words.split("|"))
    assert str(error.value).startswith(str(tmp_path / "net.onnx"))
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["colour"]
    assert versions_of(tmp_path / "models") == ["1"]


def test_a_version_is_read_by_the_manifest_that_is_there(tmp_path: Path) -> None:
    add_colour_model(tmp_path / "models")
    save_mean_colour(tmp_path / "net.onnx")
    with pytest.raises(StartupError, match="--labels: does not go with --version"):
        add.run(asked_in(tmp_path, version=0, labels=",".join(COLOURS)))
    with pytest.raises(StartupError, match="There is no model 'other'"):
        add.run(asked(tmp_path / "net.onnx", None, name="other", version=0))  # type: ignore[arg-type]
    for text in ("0", "-1", "two", "01"):
        with pytest.raises(StartupError, match="must be a whole number from 1, or `next`"):
            addition.read_version(text)


def test_a_refusal_leaves_a_draft_that_completes_the_entry(tmp_path: Path, picture: Path) -> None:
    file = save_constant(tmp_path / "net.onnx", output=np.zeros((300, 6), np.float32))
    root = tmp_path / "models"
    done = roo("models", "add", file, "--task", "detection", "--labels", "carton", "--out", root, "--try", picture)
    assert done.returncode == 2
    draft = root / ".drafts" / "net.yaml"
    assert f"roo-vision models add {file} --manifest {draft} --out {root} --name net" in done.stderr
    assert "output output: float32 [1, 300, 6]" in done.stderr
    assert "--task detection --set detection.decoder=end_to_end: nothing" in done.stderr
    text = draft.read_text()
    assert yaml.safe_load(text)["input"] == {"size": [32, 32], "layout": "nchw", "dtype": "float32"}
    assert "# output output: float32 [1, 300, 6]" in text
    # A draft is no model: the repository is as empty as it was.
    with pytest.raises(StartupError, match="has no models"):
        scan(root)
    draft.write_text(text.replace("decoder:", "decoder: end_to_end"))
    options = ["--out", root, "--name", "net", "--try", picture, "--drawn", tmp_path / "drawn.jpg"]
    again = roo("models", "add", file, "--manifest", draft, *options)
    assert again.returncode == 0, again.stderr
    assert yaml.safe_load((root / "net" / "model.yaml").read_text())["detection"] == {"decoder": "end_to_end"}


def test_a_draft_that_is_left_as_it_is_is_refused_again(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "net.onnx", output=np.zeros((300, 6), np.float32))
    wanted = asked(file, labels="carton")
    for _ in range(2):
        with pytest.raises(InvalidManifest, match="whose values do not tell"):
            add.run(wanted)
        wanted = addition.with_draft(asked(file), tmp_path / "models" / ".drafts" / "it.yaml")


def test_a_draft_says_which_fields_are_missing(tmp_path: Path) -> None:
    boxes = np.tile(np.array([12, 10, 20, 30], np.float32), (5, 1))
    outputs = {"boxes": boxes, "scores": np.full(5, 0.5, np.float32), "labels": np.ones(5, np.int64)}
    file = save_constant(tmp_path / "net.onnx", **outputs)
    with pytest.raises(InvalidManifest, match="names: 2, from --labels"):
        add.run(asked(file, labels="a,b"))
    draft = tmp_path / "models" / ".drafts" / "it.yaml"
    assert yaml.safe_load(draft.read_text())["detection"] == {"box_format": None, "label_offset": None}
    blank = "  # to be filled in, or removed: see above"
    filled = draft.read_text().replace(f"box_format:{blank}", "box_format: xyxy")
    draft.write_text(filled.replace(f"label_offset:{blank}", "label_offset: 1"))
    add.run(addition.with_draft(asked(file, None), draft))  # type: ignore[arg-type]
    section = yaml.safe_load((tmp_path / "models" / "it" / "model.yaml").read_text())["detection"]
    assert (section["box_format"], section["label_offset"]) == ("xyxy", 1)


def test_names_with_commas_are_whole_in_a_draft(tmp_path: Path) -> None:
    (tmp_path / "draft.yaml").write_text("task: detection\nlabels: ['a, b', c]\ndetection: {decoder: yolo}\n")
    file = save_constant(tmp_path / "net.onnx", output=table(50, 6).T.copy())
    add.run(addition.with_draft(asked(file, None), tmp_path / "draft.yaml"))  # type: ignore[arg-type]
    assert (tmp_path / "models" / "it" / "labels.txt").read_text() == "a, b\nc\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "must be a mapping"),
        ("tsak: detection", "tsak is not a field"),
        ("task: poetry", "task: is one of"),
        ("task: detection\ntask: detection", "is there twice"),
        ("a: [", "cannot be read"),
        ("labels: [yes, no]", "names such as yes, no, on and off need quotes in YAML"),
        ("labels: [a, ~]", "must be a list of names"),
        ("labels: 3", "must be a list of names"),
    ],
)
def test_drafts_that_are_none(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "draft.yaml").write_text(text)
    with pytest.raises(StartupError, match=words):
        addition.with_draft(asked(tmp_path / "net.onnx"), tmp_path / "draft.yaml")


def test_every_field_can_be_given(tmp_path: Path) -> None:
    found = addition.read_fields(
        ["input.constants.size=[1, 2]", "engine=onnx", "precisions=[fp32]", "batching.max_size=2"]
    )
    assert found == {
        "input": {"constants": {"size": [1, 2]}},
        "engine": "onnx",
        "precisions": ["fp32"],
        "batching": {"max_size": 2},
    }
    file = save_constant(tmp_path / "net.onnx", output=rows_of_six(classes=2))
    texts = ["description=Mine", "versions=['1']", "batching.max_size=2", "detection.nms=true"]
    fields = addition.read_fields([*texts, "detection.box_format=xyxy"])
    manifest = added(file, labels="a,b", fields=fields)
    assert (manifest["description"], manifest["versions"], manifest["batching"]) == ("Mine", ["1"], {"max_size": 2})
    assert manifest["detection"] == {"decoder": "end_to_end", "nms": True, "box_format": "xyxy"}


def test_a_head_of_as_many_candidates_as_numbers_is_asked_for(tmp_path: Path) -> None:
    names = ",".join(map(str, range(80)))
    file = save_constant(tmp_path / "net.onnx", output=table(84, 85))
    with pytest.raises(InvalidManifest, match="two readings") as error:
        add.run(asked(file, labels=names))
    assert "80 classes" in str(error.value)


def test_numbers_behind_the_classes_are_not_taken_for_classes(tmp_path: Path) -> None:
    keypoints = np.random.default_rng(0).uniform(0, 32, (200, 51)).astype(np.float32)
    file = save_constant(tmp_path / "net.onnx", output=np.concatenate([table(200, 5), keypoints], 1).T.copy())
    for changes in ({"like": "ultralytics"}, {"decoder": "yolo"}, {"labels": ",".join(map(str, range(52)))}):
        with pytest.raises(InvalidManifest, match="of the 52 numbers that would be scores 1 are 0 to 1"):
            add.run(asked(file, **changes))  # type: ignore[arg-type]
    with pytest.raises(InvalidManifest, match="Give the classes' names with --labels, whose number tells"):
        add.run(asked(file))
    fields = {"detection": {"extras": 51}}
    assert added(file, labels="person", decoder="yolo", fields=fields)["detection"]["extras"] == 51


def test_a_score_of_nothing_is_not_taken_for_a_class(tmp_path: Path) -> None:
    scores = np.tile(np.array([0.9, 0.05, 0.05], np.float32), (20, 1)) + table(20, 3) / 1e4
    file = save_constant(tmp_path / "net.onnx", scores=scores, boxes=rows_of_six(20)[:, :4])
    with pytest.raises(InvalidManifest, match="it is that of nothing or of a class"):
        add.run(asked(file))
    assert added(file, labels="a,b", fields=X_FIRST)["detection"]["background"] is True


def test_boxes_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    boxes = np.full((20, 4), np.nan, np.float32)
    file = save_constant(tmp_path / "net.onnx", scores=table(20, 2) / 32, boxes=boxes)
    with pytest.raises(InvalidManifest, match="boxes of a random picture are not finite"):
        add.run(asked(file, labels="a,b"))


def save_quiet(path: Path) -> Path:
    """Boxes [20, 4] whose scores [20, 2] are 0 in a picture of noise, and something in a bright one."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=1),
        helper.make_node("Add", ["mean", "some"], ["more"]),
        helper.make_node("Floor", ["more"], ["on"]),
        helper.make_node("Reshape", ["on", "one"], ["flag"]),
        helper.make_node("Mul", ["flag", "table"], ["scores"]),
        helper.make_node("Add", ["places", "zero"], ["boxes"]),
    ]
    constants = {"some": np.float32(0.3), "zero": np.float32(0), "one": np.array([1, 1, 1], np.int64)}
    constants |= {
        "table": np.random.default_rng(0).random((1, 20, 2), np.float32),
        "places": rows_of_six(20)[None, :, :4],
    }
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    outputs = [("boxes", 4), ("scores", 2)]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 20, wide]) for name, wide in outputs]
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return save(path, helper.make_graph(nodes, "quiet", [image], infos, kept))


def test_scores_that_are_all_nothing_for_noise_are_looked_at_in_the_picture_that_is_tried(tmp_path: Path) -> None:
    file = save_quiet(tmp_path / "net.onnx")
    dark, bright = tmp_path / "dark.png", tmp_path / "bright.png"
    dark.write_bytes(solid((0, 0, 0)))
    bright.write_bytes(solid((255, 255, 255)))
    with pytest.raises(InvalidManifest, match="so they say nothing"):
        add.run(asked(file, labels="a,b", fields=X_FIRST, picture=dark))
    assert (
        added(file, labels="a,b", fields=X_FIRST, picture=bright, drawn=tmp_path / "drawn.jpg")["detection"]["decoder"]
        == "boxes_scores"
    )


def test_boxes_that_end_before_they_start_are_said_to_look_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distances = np.random.default_rng(0).normal(0, 0.5, (20, 4)).astype(np.float32)
    file = save_constant(tmp_path / "net.onnx", scores=table(20, 2) / 32, boxes=distances)
    add.run(asked(file, labels="a,b", fields={"detection": {"box_format": "xyxy", "coordinates": "normalized"}}))
    assert "boxes end before they start: another detection.box_format" in " ".join(capsys.readouterr().out.split())


def test_what_was_said_of_the_batch_is_not_asked_for_again(tmp_path: Path) -> None:
    file = save_constant(
        tmp_path / "net.onnx", **{name: np.ones((2, 8, 8), np.float32) for name in ("hm", "wh", "reg")}
    )
    with pytest.raises(InvalidManifest, match=r"batching\.batch_dimension=false"):
        add.run(asked(file, labels="a,b"))
    with pytest.raises(InvalidManifest, match=r"class numbers \[M\]\.\n"):
        add.run(asked(file, labels="a,b", fields={"batching": {"batch_dimension": False}}))


@pytest.mark.parametrize("shape", [(1, 16, 16), (16, 16)])
def test_depth_is_neither_classes_nor_a_map_of_them(tmp_path: Path, shape: tuple[int, ...]) -> None:
    depth = np.random.default_rng(0).random(shape, np.float32)
    file = save_constant(tmp_path / "net.onnx", depth=depth)
    with pytest.raises(InvalidManifest, match="this is no classifier"):
        add.run(asked(file, "classification", labels="a,b"))
    with pytest.raises(InvalidManifest, match="a depth or a heat map, which --task maps reads"):
        add.run(asked(file, "segmentation", labels="a,b"))


def test_a_graph_is_read_by_what_it_gives_not_by_what_it_says(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "net.onnx", output=table(50, 7).T.copy())
    model = onnx.load(file)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 84
    file.write_bytes(model.SerializeToString())
    assert added(file, labels="a,b,c")["detection"] == {"decoder": "yolo"}


def test_where_nothing_is_found_the_other_readings_are_shown(tmp_path: Path, picture: Path) -> None:
    values = table(50, 7).T.copy()
    values[4:] *= 0.1
    file = save_constant(tmp_path / "net.onnx", output=values)
    done = roo(
        *("models", "add", file, "--task", "detection", "--labels", "a,b,c", "--out", tmp_path / "models"),
        *("--try", picture, "--drawn", tmp_path / "drawn.jpg"),
    )
    assert done.returncode == 0, done.stderr
    assert "it finds: nothing" in done.stdout
    assert f"What fits, and what it finds in {picture}" in done.stdout
