"""The commands of `python -m models.shelf.training`."""

import argparse
import json
import sys
from pathlib import Path

import torch
from rich.console import Console

from app.errors import RooError
from app.repository.sources.files import write_whole
from models.shelf.training.card import write_card
from models.shelf.training.checkpoints import newest, newest_path
from models.shelf.training.coco import DataRefused
from models.shelf.training.data import Wanted, drawn, seen_in
from models.shelf.training.examples import write_examples
from models.shelf.training.export import export
from models.shelf.training.manifest import write_manifest
from models.shelf.training.pools import Split
from models.shelf.training.session import Tracked, carry_out
from models.shelf.training.team import MemberLost
from models.shelf.training.train import Run, TrainingPlan, load_plan, resume

FOLDER = Path(__file__).resolve().parents[1]
WORK = Path("build/shelf")
SPLITS: tuple[Split, ...] = ("train", "val", "test")
COUNTS = (7000, 300, 1000)


def _render_all(arguments: argparse.Namespace) -> None:
    for split, count in zip(SPLITS, arguments.scenes, strict=True):
        drawn(arguments.work, split, count, arguments.threads)


def _validation(arguments: argparse.Namespace) -> Path:
    return arguments.val or drawn(arguments.work, "val", arguments.scenes[1], arguments.threads)


def _train(arguments: argparse.Namespace) -> bool:
    """Whether this process speaks for all that have trained."""
    held_out = tuple(str(path) for path in (arguments.val, arguments.test) if path is not None)
    data, generated = tuple(arguments.data or ()), arguments.generated
    wanted = Wanted(data, _labels(arguments), generated, arguments.scenes[0], held_out, arguments.threads)
    told = Tracked(arguments.tracking, arguments.experiment, _asked_data(arguments)) if arguments.tracking else None
    plan = _plan(arguments)
    first = carry_out(wanted, arguments.work, plan, arguments.steps, arguments.resume, arguments.weights, told)
    if first:
        seen = seen_in(arguments.work)
        trained = {"steps": _trained(arguments.work).step, "scenes": len(seen.files), "digest": seen.digest}
        write_whole(arguments.work / "trained.json", json.dumps(trained))
    return first


def _asked_data(arguments: argparse.Namespace) -> str:
    """What was asked for, without the signatures of addresses."""
    return " ".join(place.partition("?")[0] for place in arguments.data or ["drawn scenes"])


def _track(arguments: argparse.Namespace) -> None:
    from models.shelf.training.tracking import Teller, telling  # MLflow's client is needed only here

    tracked = Tracked(_tracking(arguments), arguments.experiment, _asked_data(arguments))
    teller = Teller(arguments.work, tracked.tracking(arguments.work, _trained(arguments.work).plan, 1))
    with telling(tracked.uri):
        teller.catch_up()
        teller.end(failed=False)


def _gate(arguments: argparse.Namespace) -> None:
    from models.shelf.training.gating import gate  # MLflow's client and pycocotools are needed only here

    gate(
        arguments.work,
        arguments.folder,
        arguments.test or drawn(arguments.work, "test", arguments.scenes[2], arguments.threads),
        _validation(arguments),
        _labels(arguments),
        arguments.push,
        arguments.tracking,
    )


def _alias(arguments: argparse.Namespace) -> None:
    from models.shelf.training.release import go_back, promote  # MLflow's client is needed only here
    from models.shelf.training.tracking import client_of, telling

    with telling(_tracking(arguments)) as uri:
        move = go_back if arguments.back else promote
        version = move(client_of(uri), arguments.folder.resolve().name)
    Console().print(f"champion is version {version}", highlight=False)


def _tracking(arguments: argparse.Namespace) -> str:
    if not arguments.tracking:
        raise DataRefused("Where is MLflow? --tracking URI.")
    return str(arguments.tracking)


def _labels(arguments: argparse.Namespace) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in arguments.label)


def _plan(arguments: argparse.Namespace) -> TrainingPlan:
    fields = json.loads(arguments.plan.read_text()) if arguments.plan else {}
    said = {"seed": arguments.seed, "rate": arguments.rate, "shards": arguments.shards, "pictures": arguments.pictures}
    return load_plan({**fields, **{name: value for name, value in said.items() if value is not None}})


def _trained(work: Path) -> Run:
    return resume(newest_path(work).read_bytes())


def _export(arguments: argparse.Namespace) -> None:
    from models.shelf.training.evaluate import threshold_on  # pycocotools is needed only here
    from models.shelf.training.quantize import quantize

    model = _trained(arguments.work).average
    target = arguments.folder / "1" / "model.onnx"
    export(model, target)
    torch.save({"average": model.state_dict()}, arguments.folder / "weights.pt")
    validation = _validation(arguments)
    quantize(target, validation)
    write_manifest(arguments.folder, threshold_on(target, validation))


def _quantize(arguments: argparse.Namespace) -> None:
    from models.shelf.training.quantize import quantize  # pycocotools is needed only here

    validation = _validation(arguments)
    quantize(arguments.folder / "1" / "model.onnx", validation)
    write_manifest(arguments.folder, _threshold(arguments.folder))


def _threshold(folder: Path) -> float:
    import yaml

    return float(yaml.safe_load((folder / "model.yaml").read_text())["detection"]["score_threshold"])


def _evaluate(arguments: argparse.Namespace) -> None:
    from models.shelf.training.evaluate import evaluate  # pycocotools is needed only here

    folder = arguments.folder
    threshold = _threshold(folder)
    test = arguments.test or drawn(arguments.work, "test", arguments.scenes[2], arguments.threads)
    content, _ = newest(arguments.work)
    unexported = resume(content).average if content else None
    model = folder / "1" / "model.onnx"
    result = evaluate(model, test, threshold, folder / "docs", unexported, arguments.variants)
    result["trained"] = json.loads((arguments.work / "trained.json").read_text())
    (folder / "docs" / "metrics.json").write_text(json.dumps(result, indent=1) + "\n")
    write_card(folder)


def _all(arguments: argparse.Namespace) -> None:
    if not _train(arguments):
        return
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
        "track": (_track, "tell MLflow what it missed of a run"),
        "gate": (_gate, "compare with what is served; what is better is registered and pushed"),
        "promote": (_alias, "give MLflow's alias `champion` to the candidate, or --back"),
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
        command.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --work")
        command.add_argument("--weights", type=Path, help="model's folder, ONNX file or checkpoint to fine-tune from")
        command.add_argument("--data", nargs="*", help="COCO files or folders with their pictures, or azblob://…")
        command.add_argument(
            "--label", nargs="*", default=[], help="which label a category is: 'KLT box=tote'; '-' none"
        )
        command.add_argument("--generated", type=float, default=0.0, help="share of drawn scenes beside --data, 0 to 1")
        command.add_argument("--plan", type=Path, help="fields of the plan of training, as JSON")
        command.add_argument("--tracking", help="MLflow's URI (https://…, azureml://…) to tell of the run")
        command.add_argument("--experiment", default="shelf", help="its experiment there")
        command.add_argument("--push", help="where serving pulls from: a folder or azblob://…; `gate` pushes there")
        command.add_argument("--back", action="store_true", help="give `champion` back to what was it before")
        command.add_argument("--seed", type=int, help="the same one gives the same losses")
        command.add_argument("--rate", type=float, help="highest learning rate")
        command.add_argument("--shards", type=int, help="parts of a batch; at least the number of processes")
        command.add_argument("--pictures", type=int, help="pictures in a batch")
        command.add_argument("--val", type=Path, help="COCO annotations that choose the threshold")
        command.add_argument("--test", type=Path, help="COCO annotations to measure on")
        command.add_argument("--variants", type=int, default=300, help="pictures for the comparisons")
    return parser


def main() -> None:
    """Do what the command line says."""
    parsed = _parser().parse_args()
    try:
        parsed.action(parsed)
    except (DataRefused, MemberLost, RooError) as error:
        sys.exit(str(error) or 1)
