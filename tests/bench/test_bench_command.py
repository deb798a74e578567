"""`roo-vision bench` as a user starts it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app import cli
from tests.bench.children import IN_BACKGROUND, started, wait_for_children
from tests.fixtures.models import add_box_model, add_colour_model
from tests.fixtures.pictures import solid

COMMAND = [sys.executable, "-m", "app", "bench"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one model."""
    root = tmp_path_factory.mktemp("models")
    add_box_model(root)
    return root


def test_a_quick_run_measures_prints_and_writes_everything(models: Path, tmp_path: Path) -> None:
    places = ["--models-dir", str(models), "--out", str(tmp_path)]
    options = ["--quick", "--seconds", "1", "--concurrency", "2", "--soak", "40", *places]
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("service", "start to ready", "CPU without requests", "over 40 mixed"):
        assert words in done.stdout
    found = json.loads((tmp_path / "bench.json").read_text())
    assert len(found["slices"]) == 2
    assert found["errors"] == []
    assert all(item["measured"]["pictures"] for item in found["slices"])
    assert found["machine"]["packages"]["onnxruntime"]
    assert found["settings"]["models_dir"] == str(models)
    assert found["soak"]["samples"][-1]["answered"] == 40
    assert (tmp_path / "bench.md").read_text().startswith("Machine: ")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--concurrency", "1,none"], "such as 1,8,32"),
        (["--rounds", "0"], "--rounds"),
        (["--model", "nothing"], "there are: box"),
        (["--models-dir", "/nowhere"], "/nowhere"),
        (["--out", "/dev/null/bench"], "--out"),
    ],
)
def test_bad_options_say_what_is_wrong(
    options: list[str],
    words: str,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--models-dir", str(models), *options], monkeypatch) == 2
    assert words in capsys.readouterr().err


def test_one_of_several_models_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_box_model(tmp_path)
    add_colour_model(tmp_path)
    assert run(["--models-dir", str(tmp_path)], monkeypatch) == 2
    assert "box, colour" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_no_process_behind(number: signal.Signals, models: Path, tmp_path: Path) -> None:
    options = ["--quick", "--seconds", "60", "--models-dir", str(models), "--out", str(tmp_path)]
    with started(*COMMAND, *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as bench:
        children = wait_for_children(bench.pid, 1)
        bench.send_signal(number)
        assert bench.wait(30) != 0
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize("options", [["bench", "--quick", "--seconds", "60"], ["demo", "--pictures", "100000"]])
def test_a_run_in_the_background_ends_on_sigterm_and_its_children_too(
    options: list[str], models: Path, tmp_path: Path
) -> None:
    (models / "box" / "examples").mkdir(exist_ok=True)
    (models / "box" / "examples" / "grey.jpg").write_bytes(solid((90, 90, 90)))
    places = ["--models-dir", str(models), *(["--out", str(tmp_path)] if options[0] == "bench" else [])]
    command = [*IN_BACKGROUND, sys.executable, "-m", "app", *options, *places]
    with started(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        children = wait_for_children(process.pid, 1)
        process.terminate()
        assert process.wait(30) == 143
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def run(options: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """The command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["roo-vision", "bench", *options])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code
