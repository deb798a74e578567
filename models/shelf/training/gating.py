"""The way from a checkpoint to a candidate that serving finds: exported, judged, pushed, registered."""

import json
from collections.abc import Mapping
from pathlib import Path

from app.repository.sources.files import write_whole
from models.shelf.training.checkpoints import newest_path
from models.shelf.training.coco import annotations_in
from models.shelf.training.data import seen_in
from models.shelf.training.duplicates import look, refuse_shared
from models.shelf.training.export import export
from models.shelf.training.gate import Judged, judge
from models.shelf.training.journal import NAME, records
from models.shelf.training.measuring import Version
from models.shelf.training.metrics import Pictures
from models.shelf.training.plots import plot_losses, plot_precision
from models.shelf.training.quantize import quantize
from models.shelf.training.release import push, register, staged
from models.shelf.training.tracking import Teller, telling
from models.shelf.training.train import resume


def gate(
    work: Path,
    champion: Path,
    held_out: Path,
    validation: Path,
    labels: Mapping[str, str],
    address: str | None,
    tracking: str | None,
) -> Judged:
    """Judges the newest checkpoint in `work` against the model in the folder `champion` on `held_out` pictures.

    What passes is at `address` afterwards, a version with the alias `candidate` in MLflow at `tracking`, and in
    `work`/entry. The table is printed and kept as `gate.json`, and plots beside it, either way.

    Raises `CandidateRefused`, after which nothing is anywhere else; `DataRefused` for held-out pictures that were
    trained on; what a push raises.
    """
    model = resume(newest_path(work).read_bytes()).average
    pictures = Pictures(annotations_in(held_out), labels=labels)
    refuse_shared(seen_in(work), look([pictures.annotations], pictures.files))

    def write(folder: Path) -> None:
        export(model, folder / "model.onnx")
        quantize(folder / "model.onnx", validation, labels)

    entry, old, new = staged(champion.resolve(), work, write)
    judged = judge(Version(entry, old), Version(entry, new), pictures)
    judged.print()
    write_whole(work / "gate.json", json.dumps(judged.as_json(), indent=1))
    plots = work / "plots"
    plots.mkdir(exist_ok=True)
    plot_losses(records(work / NAME), plots / "losses.png")
    plot_precision(judged.curves, plots / "precision-recall.png")
    judged.refuse_unless_passed()
    folder = work / "entry" / entry.name
    if address is not None:
        push(folder, address)
    if tracking is not None:
        with telling(tracking):
            teller = Teller.of(work, tracking)
            teller.client.log_artifacts(teller.run_id, str(plots), "plots")
            teller.client.log_artifact(teller.run_id, str(work / "gate.json"))
            register(teller.client, teller.run_id, folder, new, judged)
    return judged
