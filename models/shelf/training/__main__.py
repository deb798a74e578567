"""Command line: python -m models.shelf.training {all,render,train,export,evaluate,examples}."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from models.shelf.training.card import write_card
from models.shelf.training.corpus import CAMERA_SIZES, TRAIN_SIZES, Corpus, write_corpus
from models.shelf.training.examples import write_examples
from models.shelf.training.export import export, write_manifest
from models.shelf.training.train import Plan, Run, resume, start, train

FOLDER = Path(__file__).resolve().parents[1]
WORK = Path("build/shelf")
COUNTS = {"train": 4500, "val": 200, "test": 1000}


def _render(work: Path, split: str, count: int, processes: int) -> Path:
    path = work / split / "annotations.json"
    if path.exists():
        return path
    if split == "train":
        return write_corpus("train", range(count), TRAIN_SIZES, work / split, processes)
    if split == "val":
        return write_corpus("val", range(count), TRAIN_SIZES, work / split, processes)
    return write_corpus("test", range(count), CAMERA_SIZES, work / split, processes)


def _run(arguments: argparse.Namespace) -> Run:
    """A fresh run, a resumed one, or fine-tuning: the weights of a checkpoint under a new, gentler plan."""
    last = arguments.work / "last.pt"
    if arguments.resume and last.exists():
        plan = replace(Plan(), steps=arguments.steps) if arguments.steps else None
        return resume(last, plan)
    plan = replace(Plan(), **({"steps": arguments.steps} if arguments.steps else {}))
    if arguments.weights is None:
        return start(plan)
    run = start(replace(plan, rate=5e-4, steps=arguments.steps or 1500))
    state = torch.load(arguments.weights, weights_only=True)
    run.model.load_state_dict(state["average"])
    run.average.load_state_dict(state["average"])
    return run


def _train(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    paths = arguments.data or [_render(arguments.work, "train", COUNTS["train"], arguments.threads)]
    corpora = [Corpus(path) for path in paths]
    corpus = corpora[0]
    for other in corpora[1:]:
        corpus.extend(other)
    run = _run(arguments)
    train(run, corpus, arguments.work)
    (arguments.work / "trained.json").write_text(json.dumps({"steps": run.step, "scenes": len(corpus)}))


def _export(arguments: argparse.Namespace) -> None:
    from models.shelf.training.evaluate import threshold_on  # pycocotools is needed only here

    model = resume(arguments.work / "last.pt").average
    target = arguments.folder / "1" / "model.onnx"
    export(model, target)
    validation = arguments.val or _render(arguments.work, "val", COUNTS["val"], arguments.threads)
    write_manifest(arguments.folder, threshold_on(target, validation))


def _evaluate(arguments: argparse.Namespace) -> None:
    import yaml

    from models.shelf.training.evaluate import evaluate  # pycocotools is needed only here

    folder = arguments.folder
    threshold = yaml.safe_load((folder / "model.yaml").read_text())["detection"]["score_threshold"]
    test = arguments.test or _render(arguments.work, "test", COUNTS["test"], arguments.threads)
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
        "render": (lambda a: [_render(a.work, s, n, a.threads) for s, n in COUNTS.items()], "render the data sets"),
        "train": (_train, "train on generated scenes, or on --data"),
        "export": (_export, "write model.onnx and model.yaml"),
        "evaluate": (_evaluate, "measure on held-out scenes"),
        "examples": (lambda a: write_examples(a.folder / "examples"), "write the example pictures"),
    }
    for name, (action, text) in actions.items():
        command = commands.add_parser(name, help=text)
        command.set_defaults(action=action)
        command.add_argument("--work", type=Path, default=WORK, help="data sets and checkpoints")
        command.add_argument("--folder", type=Path, default=FOLDER, help="the model's folder in the repository")
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--steps", type=int, help="optimiser steps in all")
        command.add_argument("--resume", action="store_true", help="go on from last.pt in --work")
        command.add_argument("--weights", type=Path, help="checkpoint to fine-tune from")
        command.add_argument("--data", type=Path, nargs="*", help="COCO annotations, beside their pictures")
        command.add_argument("--val", type=Path, help="COCO annotations that choose the threshold")
        command.add_argument("--test", type=Path, help="COCO annotations to measure on")
        command.add_argument("--variants", type=int, default=300, help="pictures for the comparisons")
    return parser


if __name__ == "__main__":
    parsed = _parser().parse_args()
    parsed.action(parsed)
