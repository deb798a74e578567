"""One training step, one resumed step, one export, in a tiny configuration."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch

from app.commands import quantization
from app.repository.repository import read_entry
from models.shelf.training.augment import augmented, batch
from models.shelf.training.checkpoints import newest_path
from models.shelf.training.coco import DataRefused
from models.shelf.training.corpus import Corpus, coco, save
from models.shelf.training.detect import detect, onnx_network
from models.shelf.training.export import Deployed, export, fuse
from models.shelf.training.jpeg import encode
from models.shelf.training.loss import Targets, assign, detection_loss, edge_loss, overlap
from models.shelf.training.manifest import write_manifest
from models.shelf.training.network import BINS, NEAREST, Detector, cells
from models.shelf.training.scenes import render
from models.shelf.training.served import load_weights
from models.shelf.training.session import Training
from models.shelf.training.team import together
from models.shelf.training.train import Shard, TrainingPlan, resume, start, train, train_step

torch.set_num_threads(1)  # where others want a core, threads wait for each other after every layer
TINY = TrainingPlan(
    steps=3, pictures=2, widths=(8, 8, 16, 16, 16), neck=16, phases=((1.0, ((128, 96),)),), bf16=False, warmup=1
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("scenes")
    entries = [save(render("train", seed, (320, 180)), folder / f"{seed}.jpg", 90) for seed in range(3)]
    (folder / "annotations.json").write_text(json.dumps(coco(entries)))
    return Corpus(folder / "annotations.json")


def test_training_changes_the_weights_saves_and_resumes(corpus: Corpus, tmp_path: Path) -> None:
    run = start(TINY)
    before = run.model.backbone.stem[0][0].weight.clone()
    train(run, corpus, tmp_path)
    assert run.step == TINY.steps
    assert not torch.equal(before, run.model.backbone.stem[0][0].weight)
    again = resume(newest_path(tmp_path).read_bytes())
    assert again.step == TINY.steps
    assert again.plan == TINY
    for mine, theirs in zip(run.average.state_dict().values(), again.average.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_steps_on_one_batch_tighten_its_boxes(corpus: Corpus) -> None:
    run = start(TrainingPlan(steps=30, shards=1, widths=TINY.widths, neck=16, bf16=False, warmup=1, rate=4e-3))
    shards = [Shard(*batch(corpus, np.arange(2), np.random.default_rng(0), (192, 128)), [0, 1])]
    losses = [train_step(run, shards)[1] for _ in range(25)]
    assert losses[-1] < 0.8 * losses[0]


def test_export_gives_the_same_boxes_and_scores_at_any_batch_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Detector((8, 8, 16, 16, 16), 16)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    model.eval()
    path = tmp_path / "m" / "1" / "model.onnx"
    export(model, path)
    network = onnx_network(path)
    images = np.random.default_rng(0).random((3, 3, 320, 512), np.float32)
    quantization.quantize(path, path.with_name("model.int8.onnx"), (image[None] for image in images))
    write_manifest(tmp_path / "m", 0.35)
    assert "int8" in read_entry(tmp_path / "m").manifest.precisions
    with torch.no_grad():
        boxes, logits, _ = model(torch.from_numpy(images))
        fused_boxes, scores = Deployed(fuse(model))(torch.from_numpy(images))
    assert torch.allclose(boxes, fused_boxes, atol=1e-2)
    assert torch.allclose(logits.sigmoid(), scores, atol=1e-4)
    for count in (1, 3):
        found_boxes, found_scores = network(images[:count])
        np.testing.assert_allclose(found_boxes, boxes[:count].numpy(), atol=1e-2)
        np.testing.assert_allclose(found_scores, scores[:count].numpy(), atol=1e-4)
    assert len(detect(network, [encode(np.zeros((90, 160, 3), np.uint8), 90)], 0.5)) == 1


def test_assignment_gives_cells_to_the_object_they_predict() -> None:
    centre, stride = cells(64, 64, torch.device("cpu"))
    truth = torch.tensor([[8.0, 8.0, 40.0, 40.0], [44.0, 44.0, 50.0, 50.0]])
    targets = Targets(torch.tensor([0, 0]), torch.tensor([1, 3]), truth, torch.tensor([False, False]))
    boxes = torch.cat([centre - 2 * stride[:, None], centre + 2 * stride[:, None]], 1)[None]
    scores = torch.full((1, len(centre), 5), 0.1)
    image, cell, obj, quality = assign(boxes, scores, targets, centre, stride)
    assert set(obj.tolist()) == {0, 1}, "a tiny object is never left without a cell"
    assert len(set(zip(image.tolist(), cell.tolist(), strict=True))) == len(cell), "a cell answers for one object"
    best = cell[obj == 0][quality[obj == 0].argmax()]
    assert overlap(boxes[0, best], truth[0]) == overlap(boxes[0], truth[0].expand_as(boxes[0])).max()


def test_a_perfect_answer_costs_almost_nothing_and_ignored_objects_cost_nothing() -> None:
    centre, stride = cells(64, 64, torch.device("cpu"))
    truth = torch.tensor([[8.0, 8.0, 40.0, 40.0]])
    none = Targets(torch.tensor([0]), torch.tensor([1]), truth, torch.tensor([True]))
    boxes = truth.expand(1, len(centre), 4).clone()
    logits = torch.full((1, len(centre), 5), -12.0)
    logits[..., 1] = torch.where(((centre > 8) & (centre < 40)).all(1), 8.0, -12.0)
    edges = torch.zeros(1, 4, BINS, len(centre))
    class_loss, box_loss, edge = detection_loss((boxes, logits, edges), none, centre, stride)
    assert class_loss < 1e-3
    assert (box_loss, edge) == (0, 0)


def test_an_edge_between_two_bins_is_learned_as_both() -> None:
    centre, stride = torch.tensor([[100.0, 100.0]]), torch.tensor([8.0])
    box = centre.repeat(1, 2) + torch.tensor([[-20.0, -20.0, 20.0, 20.0]])  # 2.5 strides
    edges = torch.full((1, 4, BINS), -30.0)
    low = int(2.5 - NEAREST)
    edges[..., low : low + 2] = 0.0
    assert float(edge_loss(edges, box, centre, stride)) == pytest.approx(float(np.log(2)))
    assert edge_loss(edges, box - 40.0, centre, stride) > 10, "elsewhere they say nothing"


def test_augmented_boxes_stay_on_their_pixels() -> None:
    image = np.zeros((180, 320, 3), np.uint8)
    image[60:120, 100:220] = 255
    objects = np.array([[100, 60, 220, 120, 0, 0]], np.float32)
    for seed in range(8):
        moved, found = augmented(image, objects, np.random.default_rng(seed), (256, 160))
        if len(found):
            x1, y1, x2, y2 = found[0, :4].astype(int)
            assert moved[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3].mean() > 80
            assert moved.astype(int).max(2)[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3].min() > 60


def test_unpacked_pictures_are_the_same_and_large_ones_shrink_with_their_boxes(tmp_path: Path) -> None:
    entries = [save(render("train", 5, size), tmp_path / f"{size[0]}.jpg", 92) for size in ((320, 180), (1280, 720))]
    (tmp_path / "annotations.json").write_text(json.dumps(coco(entries)))
    plain, unpacked = Corpus(tmp_path / "annotations.json"), Corpus(tmp_path / "annotations.json")
    unpacked.unpack(tmp_path / "pictures.u8")
    assert np.array_equal(plain.picture(0), unpacked.picture(0))
    assert unpacked.picture(1).shape == (360, 640, 3)
    assert np.allclose(plain.objects[1][:, :4], 2 * unpacked.objects[1][:, :4])
    assert pickle.loads(pickle.dumps(unpacked)).picture(1).shape == (360, 640, 3)


def test_two_processes_train_one_model(corpus: Corpus, tmp_path: Path) -> None:
    corpus.unpack(tmp_path / "pictures.u8")
    together(Training(tmp_path, corpus, TINY), 2)
    assert resume(newest_path(tmp_path).read_bytes()).step == TINY.steps


def test_training_begins_where_a_served_version_is(corpus: Corpus, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = Detector(TINY.widths, TINY.neck)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
    model.eval()
    export(model, tmp_path / "1" / "model.onnx")
    images = batch(corpus, np.arange(3), np.random.default_rng(0), (192, 128))[0]
    begun = Detector(TINY.widths, TINY.neck)
    load_weights(begun, tmp_path / "1" / "model.onnx", [images])
    with torch.no_grad():
        for mine, theirs in zip(begun.eval()(images), model(images), strict=True):
            assert torch.allclose(mine, theirs, atol=2e-3)
        learning = begun.train()(images)[1]
    assert torch.allclose(learning, model(images)[1], atol=0.05), "what is measured is what training normalises by"


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    export(Detector((8, 8, 16, 16, 24), 16), tmp_path / "model.onnx")
    with pytest.raises(DataRefused, match="has not the weights of this network"):
        load_weights(Detector(TINY.widths, TINY.neck), tmp_path / "model.onnx", [])
    with pytest.raises(DataRefused, match=r"is no model: it has no model\.yaml"):
        load_weights(Detector(TINY.widths, TINY.neck), tmp_path, [])
