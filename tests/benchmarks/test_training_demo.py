"""The demonstration of training: the champion that it begins with, and its page."""

from pathlib import Path

from app.repository.repository import read_entry
from benchmarks import training_demo
from benchmarks.training_demo import Told


def test_the_champion_is_a_model_like_the_bundled_one_with_other_weights(tmp_path: Path) -> None:
    training_demo.forgetful(tmp_path / "shelf")
    entry = read_entry(tmp_path / "shelf")
    assert list(entry.versions) == ["1"]
    assert entry.labels == read_entry(training_demo.BUNDLED).labels
    assert entry.versions["1"].read_bytes() != (training_demo.BUNDLED / "1" / "model.onnx").read_bytes()


def test_the_page_has_what_happened_and_the_tables(tmp_path: Path) -> None:
    told = Told(lines=[(12.4, "one was killed <at> step 40")], tables={"worse": "mAP50 │ 0.9"})
    training_demo.page(told, tmp_path)
    text = (tmp_path / "index.html").read_text("utf-8")
    assert "<td>12 s</td><td>one was killed &lt;at&gt; step 40</td>" in text
    assert "The worse candidate" in text
    assert "mAP50 │ 0.9" in text
    assert "better/plots/losses.png" in text
