"""The commands of `python -m models.shelf.training`: all, render, train, export, quantize, evaluate, examples."""

import argparse
import json
from pathlib import Path

import torch

from models.shelf.training.card import write_card
from models.shelf.training.corpus import CAMERA_SIZES, TRAIN_SIZES, Corpus, write_corpus
from models.shelf.training.examples import write_examples
from models.shelf.training.export import export
from models.shelf.training.manifest import write_manifest
from models.shelf.training.pools import Split
from models.shelf.training.session import Training
from models.shelf.training.team import together
from models.shelf.training.train import resume

FOLDER = Path(__file__).resolve().parents[1]
WORK = Path("build/shelf")
SPLITS: tuple[Split, ...] = ("train", "val", "test")
COUNTS = (7000, 300, 1000)


def _render(work: Path, split: Split, count: int, processes: int) -> Path:
    """The annotations of one data set, which is drawn unless it is there already."""
    path = work / split / "annotations.json"
    sizes = TRAIN_SIZES if split == "train" else CAMERA_SIZES
    return path if path.exists() else write_corpus(split, range(count), sizes, work / split, processes)


def _render_all(arguments: argparse.Namespace) -> None:
    for split, count in zip(SPLITS, arguments.scenes, strict=True):
        _render(arguments.work, split, count, arguments.threads)


def _train(arguments: argparse.Namespace) -> None:
    paths = arguments.data or [_render(arguments.work, "train", arguments.scenes[0], arguments.threads)]
    corpora = [Corpus(path) for path in paths]
    corpus = corpora[0]
    for other in corpora[1:]:
        corpus.extend(other)
    arguments.work.mkdir(parents=True, exist_ok=True)
    corpus.unpack(arguments.work / "pictures.u8")
    run = Training(arguments.work, corpus, steps=arguments.steps, resumed=arguments.resume, weights=arguments.weights)
    together(run, arguments.threads)
    steps = resume(arguments.work / "last.pt").step
    (arguments.work / "trained.json").write_text(json.dumps({"steps": steps, "scenes": len(corpus)}))


def _export(arguments: argparse.Namespace) -> None:
    from models.shelf.training.evaluate import threshold_on  # pycocotools is needed only here
    from models.shelf.training.quantize import quantize

    model = resume(arguments.work / "last.pt").average
    target = arguments.folder / "1" / "model.onnx"
    export(model, target)
    torch.save({"average": model.state_dict()}, arguments.folder / "weights.pt")
    validation = arguments.val or _render(arguments.work, "val", arguments.scenes[1], arguments.threads)
    quantize(target, validation)
    write_manifest(arguments.folder, threshold_on(target, validation))


def _quantize(arguments: argparse.Namespace) -> None:
    from models.shelf.training.quantize import quantize  # pycocotools is needed only here

    validation = arguments.val or _render(arguments.work, "val", arguments.scenes[1], arguments.threads)
    quantize(arguments.folder / "1" / "model.onnx", validation)
    write_manifest(arguments.folder, _threshold(arguments.folder))


def _threshold(folder: Path) -> float:
    import yaml

    return float(yaml.safe_load((folder / "model.yaml").read_text())["detection"]["score_threshold"])


def _evaluate(arguments: argparse.Namespace) -> None:
    from models.shelf.training.evaluate import evaluate  # pycocotools is needed only here

    folder = arguments.folder
    threshold = _threshold(folder)
    test = arguments.test or _render(arguments.work, "test", arguments.scenes[2], arguments.threads)
    last = arguments.work / "last.pt"
    unexported = resume(last).average if last.exists() else None
    model = folder / "1" / "model.onnx"
    result = evaluate(model, test, threshold, folder / "docs", unexported, arguments.variants)
    result["trained"] = json.loads((arguments.work / "trained.json").read_text())
    (folder / "docs" / "metrics.json").write_text(json.dumps(result, indent=1) + "\n")
    write_card(folder)


def _all(arguments: argparse.Namespace) -> None:
    _train(arguments)
    _export(arguments)
    if not arguments.data:
        _evaluate(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.shelf.training", description=__doc__)
    commands = parser.add_subparsers(required=True)
    actions = {
        "all": (_all, "render, train, export, evaluate"),
        "render": (_render_all, "render the data sets"),
        "train": (_train, "train on generated scenes, or on --data"),
        "export": (_export, "write model.onnx, model.int8.onnx and model.yaml"),
        "quantize": (_quantize, "write model.int8.onnx again, and its digest"),
        "evaluate": (_evaluate, "measure on held-out scenes"),
        "examples": (lambda a: write_examples(a.folder / "examples"), "write the example pictures"),
    }
    for name, (action, text) in actions.items():
        command = commands.add_parser(name, help=text)
        command.set_defaults(action=action)
        command.add_argument("--work", type=Path, default=WORK, help="data sets and checkpoints")
        command.add_argument("--folder", type=Path, default=FOLDER, help="the model's folder in the repository")
        command.add_argument("--threads", type=int, default=2, help="processes that render and train")
        command.add_argument(
            "--scenes", type=int, nargs=3, default=COUNTS, help="pictures to train, choose, measure on"
        )
        command.add_argument("--steps", type=int, help="optimiser steps in all")
        command.add_argument("--resume", action="store_true", help="go on from last.pt in --work")
        command.add_argument("--weights", type=Path, help="checkpoint to fine-tune from")
        command.add_argument("--data", type=Path, nargs="*", help="COCO annotations, beside their pictures")
        command.add_argument("--val", type=Path, help="COCO annotations that choose the threshold")
        command.add_argument("--test", type=Path, help="COCO annotations to measure on")
        command.add_argument("--variants", type=int, default=300, help="pictures for the comparisons")
    return parser


def main() -> None:
    """Do what the command line says."""
    parsed = _parser().parse_args()
    parsed.action(parsed)
