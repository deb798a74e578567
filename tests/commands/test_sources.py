"""What pictures are called where something is written about them."""

from pathlib import Path

import pytest

from app.commands.sources import find_sources
from app.errors import StartupError


def touched(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names_of(paths: list[Path], out: Path | None = None) -> list[str]:
    return [source.name for source in find_sources(paths, out)]


def test_folders_below_the_one_named_are_kept(tmp_path: Path) -> None:
    touched(tmp_path, "a/1.jpg", "b/1.jpg", "b/deep er/2.PNG", "b/notes.txt")
    (tmp_path / "b" / "folder.jpg").mkdir()
    found = find_sources([tmp_path])
    assert [source.name for source in found] == ["a/1", "b/1", "b/deep er/2"]
    assert found[2].file_name == "b/deep er/2.PNG"


def test_names_that_would_be_the_same_are_not(tmp_path: Path) -> None:
    touched(tmp_path, "x/1.jpg", "x/1.png", "X2/1.jpg", "x/A.jpg", "x/a.png")
    assert names_of([tmp_path / "x", tmp_path / "X2", tmp_path / "x" / "1.jpg"]) == [
        "1",
        "1.png",
        "A",
        "a.png",
        "1.jpg",
        "1.jpg-1",
    ]


def test_a_file_is_called_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched(tmp_path, "a/my cat.jpg", "..b.jpg")
    (tmp_path / "c").mkdir()
    monkeypatch.chdir(tmp_path / "c")
    assert names_of([Path("../a/my cat.jpg"), Path("../..b.jpg")]) == ["my cat", "..b"]


def test_what_was_written_before_is_no_picture_to_answer(tmp_path: Path) -> None:
    touched(tmp_path, "pictures/1.jpg", "pictures/out/1.jpg", "pictures/out/crops/cat/1-1.jpg")
    pictures = tmp_path / "pictures"
    assert names_of([pictures], pictures / "out") == ["1"]
    assert names_of([pictures / "out"], tmp_path) == ["1", "crops/cat/1-1"]
    assert len(names_of([pictures])) == 3


def test_a_folder_without_pictures_is_said(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="No pictures"):
        find_sources([tmp_path])
