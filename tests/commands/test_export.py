"""Exporting torchvision's models: the entry that comes of it is served, and answers what torchvision answers."""

import base64
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from app.commands.export import ENOUGH, Export, run
from app.errors import InvalidManifest, StartupError
from app.vision.detection_spec import DetectionSpec
from tests.engines.conftest import need
from tests.fixtures.server import serving

pytestmark = pytest.mark.torch

SCORE_TOLERANCE = 0.02
"""Of a probability: the service resizes as OpenCV does, torchvision as Pillow does."""


@pytest.fixture(autouse=True, scope="module")
def torch_is_there() -> None:
    need("torch")


def export(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "app", "models", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def refusal(tmp_path: Path, source: str = "torchvision:resnet18", **asked: Any) -> str:
    """The one readable message with which this export is refused; nothing of it stays."""
    wanted = {"weights": "DEFAULT", "format": "onnx", "labels": None, "name": None, **asked}
    with pytest.raises(StartupError) as error:
        run(Export(source, out=tmp_path / "models", **wanted))
    assert not (tmp_path / "models").exists()
    return str(error.value)


def resnet(classes: int = 1000) -> Any:
    """A resnet18 of random weights whose last layer is sharpened: it prefers some classes clearly."""
    import torch
    import torchvision

    torch.manual_seed(7)
    model = torchvision.models.resnet18(weights=None, num_classes=classes)
    with torch.no_grad():
        model.fc.weight *= 3
    return model.eval()


def random_model(name: str, **options: Any) -> Any:
    """A model of random weights that have been made to say something."""
    import torch
    import torchvision

    from tests.fixtures.programs import condition

    torch.manual_seed(3)
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, **options)
    picture = torch.rand(3, 240, 320)
    return condition(model, picture[None] if "segmentation" in model.__module__ else [picture])


def described(name: str, module: Any) -> Any:
    """How this module is exported, its preset and categories being torchvision's."""
    import torchvision

    from app.commands import export_specs, zoo

    preset = torchvision.models.get_model_weights(name).DEFAULT
    categories = tuple(preset.meta["categories"])
    known = zoo.ZooModel(name, zoo._kind(name), module, preset.transforms(), len(categories), categories, name)
    return export_specs.spec_of(known, None)


def save_weights(folder: Path, classes: int = 1000, name: str = "weights.pth") -> Path:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    torch.save(resnet(classes).state_dict(), folder / name)
    return folder / name


def scenery() -> bytes:
    """A picture with soft shapes and hard edges, larger than the model's input, as PNG."""
    random = np.random.default_rng(3)
    soft = cv2.resize(random.integers(0, 256, (6, 8, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    cv2.rectangle(soft, (200, 150), (380, 330), (230, 40, 20), -1)
    cv2.circle(soft, (420, 240), 90, (20, 60, 220), -1)
    buffer = io.BytesIO()
    Image.fromarray(soft).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one entry, exported in both formats."""
    root = tmp_path_factory.mktemp("repository")
    weights = save_weights(root)
    done = export("torchvision:resnet18", "--weights", weights, "--out", root / "models", "--format", "both")
    assert done.returncode == 0, done.stderr
    return root / "models"


def test_the_entry_has_all_that_serving_needs(exported: Path) -> None:
    import torchvision

    weights = torchvision.models.ResNet18_Weights.DEFAULT
    manifest = yaml.safe_load((exported / "resnet18" / "model.yaml").read_text())
    assert manifest["input"] == {
        "size": [224, 224],
        "resize": "center_crop",
        "resize_to": 256,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "interpolation": "linear",
    }
    assert set(manifest["sha256"]["1"]) == {"model.onnx", "model.pt2"}
    assert (exported / "resnet18" / "labels.txt").read_text().splitlines() == weights.meta["categories"]
    assert [path.name for path in exported.iterdir()] == ["resnet18"]


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_the_served_top_five_are_torchvisions(exported: Path, engine: str) -> None:
    import torch
    import torchvision

    picture = scenery()
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    with torch.inference_mode():
        pixels = weights.transforms()(Image.open(io.BytesIO(picture)))
        scores, classes = resnet()(pixels[None]).softmax(1)[0].topk(5)
    with serving(exported, engine=engine, device="cpu", precision="fp32") as server, server.client() as client:
        answer = client.post("/v1/predict", content=picture, headers={"content-type": "image/png"})
        version = client.get("/v1/models/resnet18").json()["versions"][0]
    assert version["engine"] == engine
    found = answer.json()["classes"]
    assert [row["class_id"] for row in found] == classes.tolist()
    assert [row["label"] for row in found] == [weights.meta["categories"][number] for number in classes]
    assert np.allclose([row["score"] for row in found], scores.numpy(), atol=SCORE_TOLERANCE)


def test_attention_is_exported_in_operators_that_onnx_has(tmp_path: Path) -> None:
    import torch
    import torchvision

    from app.commands import export_specs, programs
    from app.commands.comparison import Reference
    from app.commands.zoo import ZooModel

    torch.manual_seed(0)
    module = torchvision.models.VisionTransformer(32, 16, 1, 2, 16, 32, num_classes=5).eval()
    preset = torchvision.transforms._presets.ImageClassification(crop_size=32, resize_size=32)
    spec = export_specs.spec_of(ZooModel("vit", "classification", module, preset, 5, None, "a small one"), None)
    reference = Reference.of(spec)
    assert programs.write(reference, tmp_path / "model.onnx")
    assert programs.write(reference, tmp_path / "model.pt2")


@pytest.fixture(scope="module")
def detector() -> Any:
    """An ssdlite of random weights that finds things."""
    return random_model("ssdlite320_mobilenet_v3_large")


def test_a_detector_is_served_and_finds_what_torchvisions_finds(tmp_path: Path, detector: Any) -> None:
    import torch

    torch.save(detector.state_dict(), tmp_path / "detector.pth")
    source, out = "torchvision:ssdlite320_mobilenet_v3_large", tmp_path / "models"
    done = export(source, "--weights", tmp_path / "detector.pth", "--out", out, "--name", "things")
    assert done.returncode == 0, done.stderr
    labels = (out / "things" / "labels.txt").read_text().splitlines()
    assert (labels[0], len(labels)) == ("person", 90)
    picture = cv2.resize(np.asarray(Image.open(io.BytesIO(scenery()))), (320, 320), interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")  # already of the model's size: nothing is resized
    with torch.inference_mode():
        (wanted,) = detector([torch.from_numpy(picture).permute(2, 0, 1) / 255])
    with serving(out, device="cpu") as server, server.client() as client:
        answer = client.post("/v1/predict?score_threshold=0.02&max_detections=20", content=buffer.getvalue())
    found = answer.json()["detections"]
    assert len(found) == 20
    assert np.allclose([row["score"] for row in found], wanted["scores"][:20].numpy(), atol=1e-3)
    assert [row["class_id"] + 1 for row in found] == wanted["labels"][:20].tolist()
    assert np.allclose([row["box"] for row in found], wanted["boxes"][:20].numpy(), atol=0.2)


def test_a_detector_is_not_written_as_pt2(tmp_path: Path, detector: Any) -> None:
    import torch

    torch.save(detector.state_dict(), tmp_path / "detector.pth")
    weights = str(tmp_path / "detector.pth")
    message = refusal(tmp_path, "torchvision:ssdlite320_mobilenet_v3_large", weights=weights, format="both")
    assert "cannot be written as model.pt2, only as model.onnx" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ssd300_vgg16", {}),
        ("retinanet_resnet50_fpn_v2", {"min_size": 160}),
        ("fcos_resnet50_fpn", {"min_size": 160}),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", {"min_size": 160}),
        ("maskrcnn_resnet50_fpn", {"min_size": 160}),
        ("keypointrcnn_resnet50_fpn", {"min_size": 160}),
    ],
)
def test_every_family_of_detectors_answers_the_same_as_onnx(tmp_path: Path, name: str, options: dict[str, int]) -> None:
    """At a small size where there is a choice: what differs between families is their graph."""
    from app.commands import programs
    from app.commands.comparison import Reference

    spec = described(name, random_model(name, **options))
    reference = Reference.of(spec)
    assert reference.detections >= ENOUGH
    assert not programs.write(reference, tmp_path / "model.onnx")
    assert spec.manifest["description"].endswith(name)
    assert ("masks" in spec.manifest["detection"]) == (name == "maskrcnn_resnet50_fpn")
    assert ("keypoints" in spec.manifest["detection"]) == (name == "keypointrcnn_resnet50_fpn")
    DetectionSpec.model_validate(spec.manifest["detection"])


def test_detections_that_differ_are_noticed(tmp_path: Path, detector: Any) -> None:
    from app.commands import programs
    from app.commands.comparison import Reference, compare

    spec = described("ssdlite320_mobilenet_v3_large", detector)
    reference = Reference.of(spec)
    middle = float(np.median(np.concatenate([scores[0] for _, scores, _ in reference.answers])))
    with spec.module.finding_more(middle):
        fewer = Reference.of(spec)
        programs.write(fewer, tmp_path / "model.onnx")
    assert 0 < fewer.detections < reference.detections
    with (
        programs._opened(tmp_path / "model.onnx") as engine,
        pytest.raises(
            InvalidManifest, match=r"Of the \d+ detections that are torchvision's, \d+ are not the exported model's"
        ),
    ):
        compare(reference, engine)


def test_a_detector_that_finds_nothing_is_compared_at_a_lower_threshold(tmp_path: Path, detector: Any) -> None:
    from app.commands import programs
    from app.commands.comparison import Reference

    spec = described("ssdlite320_mobilenet_v3_large", detector)
    best = max(float(scores.max()) for _, scores, _ in Reference.of(spec).answers)
    with spec.module.finding_more(2 * best):
        assert Reference.of(spec).detections == 0
        assert programs.probe(spec, tmp_path / "probe.onnx", ENOUGH) >= ENOUGH
        assert spec.module.threshold == 2 * best
    with spec.module.finding_more(1000 * best):
        assert programs.probe(spec, tmp_path / "probe.onnx", ENOUGH) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_detector_that_finds_nothing_at_all_is_exported_with_a_word_about_it(tmp_path: Path, detector: Any) -> None:
    import torch

    state = detector.state_dict()
    for key in [key for key in state if key.startswith("head.classification") and key.endswith(".1.weight")]:
        state[key] = torch.zeros_like(state[key])  # every score is a ninety-first
        bias = state[key.replace("weight", "bias")] = torch.zeros(state[key].shape[0])
        bias[::91] = 30  # and that is the background's
    torch.save(state, tmp_path / "blind.pth")
    source, out = "torchvision:ssdlite320_mobilenet_v3_large", tmp_path / "models"
    done = export(source, "--weights", tmp_path / "blind.pth", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "equals torchvision's, by 0 detections" in done.stderr
    assert "Try both on pictures of yours." in done.stderr


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A repository with one segmentation model, exported in both formats, and the model."""
    import torch

    root, model = tmp_path_factory.mktemp("repository"), random_model("lraspp_mobilenet_v3_large")
    torch.save(model.state_dict(), root / "weights.pth")
    source, models = "torchvision:lraspp_mobilenet_v3_large", root / "models"
    done = export(source, "--weights", root / "weights.pth", "--out", models, "--name", "parts", "--format", "both")
    assert done.returncode == 0, done.stderr
    assert "letterboxed to 704 x 704" in done.stderr
    assert done.stderr.count("equals torchvision's (any batch)") == 2
    return models, model


def test_a_segmentation_entry_has_all_that_serving_needs(segmenter: tuple[Path, Any]) -> None:
    folder = segmenter[0] / "parts"
    manifest = yaml.safe_load((folder / "model.yaml").read_text())
    assert manifest["description"].endswith("letterboxed to 704 x 704, torchvision's own: shorter side 520")
    assert (manifest["input"]["size"], manifest["segmentation"]) == ([704, 704], {"background": True})
    labels = (folder / "labels.txt").read_text().splitlines()
    assert (labels[:2], len(labels)) == (["__background__", "aeroplane"], 21)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_the_served_map_is_torchvisions(segmenter: tuple[Path, Any], engine: str) -> None:
    """On a picture of 704 x 528, which nothing resizes: torchvision sees it between the same grey margins."""
    import torch
    import torchvision

    from app.vision.segmentation import decode_map

    models, model = segmenter
    pixels = cv2.resize(np.asarray(Image.open(io.BytesIO(scenery()))), (704, 528), interpolation=cv2.INTER_CUBIC)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    preset = torchvision.models.get_model_weights("lraspp_mobilenet_v3_large").DEFAULT.transforms()
    between = np.pad(pixels, ((88, 88), (0, 0), (0, 0)), constant_values=114)
    normal = torchvision.transforms.functional.normalize
    with torch.inference_mode():
        scores = model(normal(torch.from_numpy(between).permute(2, 0, 1) / 255, preset.mean, preset.std)[None])["out"]
    wanted = scores[0, :, 88:-88].argmax(0).numpy()
    with serving(models, engine=engine, device="cpu", precision="fp32") as server, server.client() as client:
        answer = client.post("/v1/predict", content=buffer.getvalue()).json()["segmentation"]
    found = decode_map(base64.b64decode(answer["map"]["png"]))
    assert found.shape == wanted.shape
    assert (found == wanted).mean() > 0.999
    numbers, counts = np.unique(wanted, return_counts=True)
    shares = dict(zip(numbers.tolist(), (counts / wanted.size).tolist(), strict=True))
    shares.pop(0, None)  # the background
    assert len(shares) > 3
    listed = {segment["class_id"]: segment["share"] for segment in answer["segments"]}
    assert listed == pytest.approx(shares, abs=1e-3)


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_mobilenet_v3_large"])
def test_an_auxiliary_head_is_left_out(tmp_path: Path, name: str) -> None:
    import torch
    import torchvision

    from app.commands import export_specs, zoo

    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, aux_loss=True)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    spec = export_specs.spec_of(zoo.open_model(name, str(tmp_path / "weights.pth")), None)
    with torch.inference_mode():
        (scores,) = spec.module(torch.zeros(1, 3, 64, 64))
    assert (spec.outputs, tuple(scores.shape)) == (("scores",), (1, 21, 64, 64))


@pytest.mark.parametrize(
    "name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn", "lraspp_mobilenet_v3_large"]
)
def test_weights_of_any_kind_for_other_classes_are_recognised(tmp_path: Path, name: str) -> None:
    import torch
    import torchvision

    from app.commands import zoo

    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=5)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    found = zoo.open_model(name, str(tmp_path / "weights.pth"))
    assert (found.classes, found.categories) == (5, None)


def test_weights_for_other_classes_need_no_word_about_them(tmp_path: Path) -> None:
    weights = save_weights(tmp_path, classes=3)
    done = export(
        "torchvision:resnet18", "--weights", weights, "--out", tmp_path / "models", "--name", "few", "--labels", "a,b,c"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models" / "few" / "labels.txt").read_text() == "a\nb\nc\n"


def test_without_names_classes_are_numbered() -> None:
    from app.commands.entries import fit_labels

    assert fit_labels(None, 3) == ("0", "1", "2")


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    message = refusal(tmp_path, weights=str(save_weights(tmp_path, classes=3)), labels="a,b")
    assert message == "The model has 3 classes, but --labels names 2. Give the right names with --labels."


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    message = refusal(tmp_path, "torchvision:squeezenet1_1", weights=str(save_weights(tmp_path)))
    assert "are not squeezenet1_1's: " in message
    assert "tensors are missing (the first: classifier.1.bias)" in message
    assert len(message.splitlines()) == 1


def test_weights_with_a_tensor_missing(tmp_path: Path) -> None:
    import torch

    state = resnet().state_dict()
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "some.pth")
    message = refusal(tmp_path, weights=str(tmp_path / "some.pth"))
    assert message.endswith("are not resnet18's: 1 tensors are missing (the first: layer1.0.conv1.weight).")


def test_a_checkpoint_of_a_training_script_is_taken(tmp_path: Path) -> None:
    import torch

    from app.commands import zoo

    state = {f"module.{key}": value for key, value in resnet().state_dict().items()}
    torch.save({"model": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    assert zoo.open_model("resnet18", str(tmp_path / "checkpoint.pth")).classes == 1000


def test_torchvisions_own_files_are_known_by_name(tmp_path: Path) -> None:
    import torch
    import torchvision

    from app.commands import zoo

    torch.manual_seed(0)
    state = torchvision.models.mobilenet_v2(weights=None).state_dict()
    sizes = {}
    for member in torchvision.models.MobileNet_V2_Weights:
        path = tmp_path / member.url.rpartition("/")[2]
        torch.save(state, path)
        sizes[member.name] = zoo.open_model("mobilenet_v2", str(path)).transforms.resize_size
    assert sizes == {"IMAGENET1K_V1": [256], "IMAGENET1K_V2": [232]}


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_weights_that_would_run_code(tmp_path: Path) -> None:
    import torch

    torch.save({"fc.weight": Trap(tmp_path / "sprung")}, tmp_path / "bad.pth")
    message = refusal(tmp_path, weights=str(tmp_path / "bad.pth"))
    assert "is no file of weights that can be read as data: it holds more than tensors." in message
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut short"])
def test_files_that_are_no_weights(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    message = refusal(tmp_path, weights=str(tmp_path / "bad.pth"))
    assert "is no file of weights" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "asked", "words"),
    [
        ("resnet18", {}, "give torchvision:NAME"),
        ("torchvision:resnet19", {}, "has no model 'resnet19'. It has resnet101, resnet152, resnet18,"),
        ("torchvision:quantized_resnet18", {}, "kind quantized, which is not served"),
        ("torchvision:r3d_18", {}, "kind video, which is not served"),
        ("torchvision:resnet18", {"weights": "no.pth"}, "is no file, and resnet18 has no weights of that name (only"),
        ("torchvision:resnet18", {"name": "../x"}, "cannot be a model's name"),
        ("torchvision:resnet18", {"labels": "no.txt"}, "there is no such file"),
    ],
)
def test_what_cannot_be_exported_is_said(tmp_path: Path, source: str, asked: dict[str, str], words: str) -> None:
    assert words in refusal(tmp_path, source, **asked)


def test_weights_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    message = refusal(tmp_path)
    assert "cannot be downloaded from https://download.pytorch.org/" in message
    assert "give it as --weights FILE" in message


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    taken = tmp_path / "models" / "mine"
    taken.mkdir(parents=True)
    with pytest.raises(StartupError, match="is there already"):
        run(Export("torchvision:resnet18", "DEFAULT", tmp_path / "models", "onnx", None, "mine"))
    assert list(taken.iterdir()) == []
