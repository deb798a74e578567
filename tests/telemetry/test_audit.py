"""What operators did stays known: in the log, at hand, and in a file that outlives the process."""

import json
import logging
from pathlib import Path

import pytest

from app.errors import StartupError
from app.telemetry.audit import KEPT, Audit


def test_the_newest_come_first_and_a_restart_forgets_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "audit.jsonl"
    with caplog.at_level(logging.INFO):
        audit = Audit(path)
        audit.note("key:anna", "resubmit", queue="jobs", letters=2, matching={"reason": "X"})
        audit.note("key:otto", "drop", queue="jobs")
    assert [entry["action"] for entry in audit.latest()] == ["drop", "resubmit"]
    assert [json.loads(line)["caller"] for line in path.read_text().splitlines()] == ["key:anna", "key:otto"]
    assert "key:anna: resubmit" in caplog.text
    with path.open("a") as file:
        file.write('{"half a li')
    after = Audit(path)
    assert after.latest() == audit.latest()
    after.note("key:änne", "drop")
    assert Audit(path).latest() == after.latest()


def test_what_is_kept_at_hand_is_bounded() -> None:
    audit = Audit()
    for number in range(KEPT + 3):
        audit.note("key:anna", "drop", letters=number)
    assert [entry["letters"] for entry in audit.latest()[:2]] == [KEPT + 2, KEPT + 1]
    assert len(audit.latest()) == KEPT


def test_a_file_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="ROO_AUDIT_LOG"):
        Audit(tmp_path)


def test_a_file_that_cannot_be_written_any_more_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    audit = Audit(folder / "audit.jsonl")
    (folder / "audit.jsonl").unlink()
    folder.rmdir()
    audit.note("key:anna", "drop")
    assert "cannot be written" in caplog.text
    assert audit.latest()[0]["action"] == "drop"
