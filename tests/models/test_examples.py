"""The examples of chains: small, as their script writes them, and such that the bundled detector goes with them."""

import shutil
import sys
from pathlib import Path

import onnx

from app.loading.chains import unfit
from app.repository import repository

ROOT = Path(__file__).parents[2] / "models"


def test_the_classifier_is_what_its_script_writes() -> None:
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        from make_carton_damage import network
    finally:
        sys.path.pop(0)
    path = ROOT / "examples" / "carton-damage" / "1" / "model.onnx"
    assert onnx.load(path) == network()
    assert path.stat().st_size < 300_000


def test_they_are_no_part_of_the_default_repository_and_fit_beside_the_detector(tmp_path: Path) -> None:
    assert [entry.name for entry in repository.survey(ROOT).entries] == ["shelf"]
    assert repository.survey(ROOT).failures == {}
    shutil.copytree(ROOT / "shelf", tmp_path / "shelf", ignore=shutil.ignore_patterns("*.pt", "training", "docs"))
    for name in ("carton-damage", "shelf-damage", "shelf-text"):
        shutil.copytree(ROOT / "examples" / name, tmp_path / name)
    found = repository.survey(tmp_path)
    wrong = unfit(found.chains, {entry.name: entry for entry in found.entries}, found.failures)
    assert list(wrong) == ["shelf-text"]
    assert "asks text-detection, and there is no such model" in str(wrong["shelf-text"])
