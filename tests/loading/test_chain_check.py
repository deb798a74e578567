"""Chains that cannot be served: said when they are loaded, with the step and what to do."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.assembly import build
from app.commands import signing
from app.errors import InvalidManifest, StartupError
from app.loading.chains import unfit
from app.repository import repository
from app.repository.signatures import Trust
from app.settings import Settings
from tests.commands.test_cli import roo
from tests.fixtures.chains import ONE_STEP, add_cells_model, add_chain, write_pipeline
from tests.fixtures.models import add_colour_model, write_manifest

FIND = {"model": "cells"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    add_cells_model(root)
    add_colour_model(root)
    add_colour_model(root, "deep", input={"size": [16, 16], "resize": "stretch", "range": [0, 4095]})
    folder = add_colour_model(root, "rows")
    write_manifest(folder, {"task": "tensors"})
    write_pipeline(root / "other", ONE_STEP)
    return root


def refused(root: Path, steps: dict[str, Any]) -> str:
    """What is said of such a chain beside those models."""
    found = repository.survey(root)
    path = write_pipeline(root / "chain", steps)
    try:
        chain = repository.read_chain(root / "chain")
        entries = {entry.name: entry for entry in found.entries}
        return str(unfit([chain, *found.chains], entries, {"gone": "its file is damaged."})["chain"])
    except InvalidManifest as error:
        return str(error)
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ({"find": FIND, "self": {"on": "find", "model": "chain"}}, "steps.self: asks chain, which is the chain itself"),
        ({"find": FIND, "loop": {"on": "find", "model": "other"}}, "steps.loop: asks other, which is a chain"),
        ({"find": {"model": "none"}}, "steps.find: asks none, and there is no such model; there are: cells, colour"),
        ({"find": {"model": "gone"}}, "asks gone, which is not served: its file is damaged."),
        ({"find": {"model": "cells:7"}}, "asks cells:7, and of cells that is not served; there are: 1"),
        ({"find": {"model": "cells:candidate"}}, "asks cells:candidate, and of cells that is not served"),
        ({"find": {"model": "a b"}}, "it must be NAME, NAME:VERSION or NAME:STAGE"),
        ({"find": {**FIND, "on": "find"}}, "the first step is asked about the whole picture; remove `on`"),
        ({"find": {**FIND, "max_crops": 3}}, "the first step is asked about the whole picture; remove `max_crops`"),
        ({"find": FIND, "see": {"model": "colour"}}, "steps.see: needs `on`, the step whose findings are cut out"),
        ({"find": FIND, "see": {"model": "colour", "on": "see"}}, "steps.see: is on itself"),
        (
            {"find": FIND, "a": {"model": "cells", "on": "b"}, "b": {"model": "cells", "on": "a"}},
            "steps.a: is on b, which stands below it, and would wait for it",
        ),
        ({"find": FIND, "see": {"model": "colour", "on": "fnd"}}, "is on fnd, which is not there; above it: find"),
        ({"find": {"model": "colour"}, "see": {"model": "colour", "on": "find"}}, "the first step must find boxes"),
        ({"find": FIND, "see": {"model": "rows", "on": "find"}}, "steps.see: the task of rows is tensors"),
        (
            {"find": FIND, "see": {"model": "colour", "on": "find", "where": {"classes": ["carton"]}}},
            "where.classes: cells has no class 'carton'; it has red, green, blue",
        ),
        (
            {"find": FIND, "see": {"model": "colour", "on": "find", "turn": {"red": 90}}},
            "turn: goes by the class of a crop, and the task of cells is detection",
        ),
        ({"find": FIND, "see": {"model": "colour", "on": "find", "turn": {"red": 45}}}, "steps.see.turn.red: "),
        ({"find": FIND, "see": {"model": "colour", "on": "find", "crop": "quad"}}, "cells finds upright boxes alone"),
        (
            {
                "find": FIND,
                "kind": {"model": "colour", "on": "find"},
                "again": {"model": "cells", "on": "kind", "turn": {"red": 180}},
            },
            "could not be told in the picture's pixels",
        ),
        (
            {
                "find": FIND,
                "kind": {"model": "colour", "on": "find"},
                "a": {"model": "colour", "on": "kind", "margin": 1},
            },
            "margin: kind tells classes, so that its crops are looked at again",
        ),
        ({"find": FIND, "see": {"model": "colour", "on": "find", "max_crops": 1000}}, "steps.see.max_crops: "),
        (
            {"find": FIND, **{f"see{n}": {"model": "colour", "on": "find", "max_crops": 256} for n in range(3)}},
            "they may ask about 768 crops of one picture (max_crops); at most 512 are allowed",
        ),
        (
            {"find": FIND, "see": {"model": "colour", "on": "find", "options": {"iou_threshold": 0.3}}},
            "steps.see: options: iou_threshold cannot be obeyed",
        ),
        (
            {
                "find": FIND,
                "see": {"model": "colour", "on": "find"},
                "too": {"model": "deep", "on": "find"},
            },
            "deep and colour see a picture differently",
        ),
        ({"find": FIND, "see": {"model": "colour", "on": "find", "if": "score > 1"}}, "steps.see.if: is not a field"),
        ({}, "steps: "),
    ],
)
def test_what_cannot_work_is_said_with_its_place(models: Path, steps: dict[str, Any], said: str) -> None:
    message = refused(models, steps)
    assert said in message
    assert "pipeline.yaml" in message


def settings(root: Path, **fields: Any) -> Settings:
    return Settings(models_dir=root, calibrate=False, lanes=1, **fields)


def test_a_chain_that_does_not_fit_stops_no_model_unless_all_are_wanted(tmp_path: Path) -> None:
    add_chain(tmp_path, {"find": FIND, "see": {"model": "absent", "on": "find"}})
    core = build(settings(tmp_path))
    core.load()
    registry = core.service.registry
    assert registry.names() == ["cells", "colour"]
    assert registry.unserved == ["chain"]
    assert "asks absent, and there is no such model" in registry.failures["chain"]
    core.executor.stop(10)
    strict = build(settings(tmp_path, strict_repository=True))
    with pytest.raises(StartupError, match="asks absent"):
        strict.load()


def test_a_repository_of_chains_alone_says_what_they_lack(tmp_path: Path) -> None:
    write_pipeline(tmp_path / "chain", ONE_STEP)
    with pytest.raises(StartupError, match="asks cells, and there is no such model; there are: none"):
        build(settings(tmp_path))


def test_a_folder_is_a_model_or_a_chain(tmp_path: Path) -> None:
    add_cells_model(tmp_path)
    write_pipeline(tmp_path / "cells", ONE_STEP)
    (failure,) = repository.survey(tmp_path).failures.values()
    assert "can be only one of a model and a chain" in str(failure)


def test_a_chain_alone_is_no_repository(tmp_path: Path) -> None:
    write_pipeline(tmp_path / "chain", ONE_STEP)
    with pytest.raises(StartupError, match="holds a chain, which asks other models"):
        repository.survey(tmp_path / "chain", "chain")


def test_what_changes_in_the_repository_is_picked_up(tmp_path: Path) -> None:
    add_chain(tmp_path)
    core = build(settings(tmp_path, repository_poll=3600))
    core.load()
    poller, registry = core.poller, core.service.registry
    assert poller is not None

    def look() -> None:
        for _ in range(3):
            poller.look()

    try:
        assert list(registry.chains) == ["chain"]
        write_pipeline(tmp_path / "chain", {"find": FIND}, version=2)
        write_pipeline(tmp_path / "another", ONE_STEP)
        look()
        assert {name: chain.pipeline.version for name, chain in registry.chains.items()} == {
            "another": "1",
            "chain": "2",
        }
        (tmp_path / "another" / "pipeline.yaml").unlink()
        shutil.rmtree(tmp_path / "colour")
        look()
        assert list(registry.chains) == ["chain"]
        shutil.rmtree(tmp_path / "cells")
        look()
        assert registry.chains == {}
        assert "asks cells" in registry.failures["chain"]
    finally:
        poller.stop()
        core.control.stop()
        core.executor.stop(10)


def test_a_signature_covers_a_chain(tmp_path: Path) -> None:
    root = tmp_path / "models"
    add_chain(root)
    key = tmp_path / "key"
    signing.generate(key)
    for name in ("cells", "colour", "chain"):
        signing.sign(root, name, key)
    trust = Trust.read(tmp_path / "key.pub")
    found = repository.survey(root, None, trust)
    assert found.failures == {}
    assert found.chains[0].signed_by == next(iter(trust.keys))
    write_pipeline(root / "chain", {"find": FIND})
    assert "was changed after it was signed" in str(repository.survey(root, None, trust).failures["chain"])


def test_the_commands_list_show_and_check_chains(tmp_path: Path) -> None:
    add_chain(tmp_path)
    where = ("--models-dir", tmp_path)
    listed = roo("models", "list", *where)
    assert listed.returncode == 0, listed.stderr
    assert "chain" in listed.stdout
    assert json.loads(roo("models", "show", "chain", *where).stdout)["steps"]["colour"]["max_crops"] == 32
    assert "✓ chain: chain" in roo("models", "check", tmp_path).stdout
    write_pipeline(tmp_path / "chain", {"find": {"model": "absent"}})
    for command in (("list", *where), ("check", tmp_path), ("check", tmp_path / "chain")):
        done = roo("models", *command)
        assert done.returncode == 1
        assert "asks absent, and there is no such model" in " ".join(done.stdout.split())
