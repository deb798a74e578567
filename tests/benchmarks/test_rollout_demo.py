"""What `make demo-rollout` shows: a version that is worse, and a plot of who answered."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime

from app.repository.repository import scan
from benchmarks import rollout_demo
from benchmarks.rollout_demo import DIMMED, Seen


def test_its_versions_are_one_network_and_a_dimmed_one(tmp_path: Path) -> None:
    rollout_demo.add_versions(tmp_path)
    (entry,) = scan(tmp_path)
    assert entry.manifest.route.shares == {"1": 100}
    picture = np.random.default_rng(1).random((1, 3, 320, 512), np.float32)
    scores = []
    for path in entry.versions.values():
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        scores.append(session.run(["scores"], {session.get_inputs()[0].name: picture})[0])
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_allclose(scores[0] * DIMMED, scores[2], rtol=1e-6)


def test_what_was_seen_becomes_a_picture(tmp_path: Path) -> None:
    shares = [(0.0, {"1": 100.0}), (5.0, {"1": 80.0, "2": 20.0}), (9.0, {"1": 100.0})]
    answers = Counter({(second, version): 5 for second in range(8) for version in ("1", "2")})
    seen = Seen(shares, answers, [(9.0, "shelf to version 2: back, version 1: 100 % (at 20 %: it is 1, the limit 2)")])
    rollout_demo.draw(seen, tmp_path / "out" / "plot.png")
    assert (tmp_path / "out" / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_said_of_both_roll_outs_can_be_read() -> None:
    shares = [(float(second), {"2": 100.0}) for second in range(105)]
    bad = "shelf to version 3: back, version 1: 0 %, version 2: 100 % (at 30 %: agreement>0.9: it is 0, the limit 0.9)"
    good = "shelf to version 2: done, version 1: 0 %, version 2: 100 %"
    figure = rollout_demo.plot(Seen(shares, Counter(), [(90.5, good), (100.3, bad)]))
    figure.draw_without_rendering()
    first, other = (text.get_window_extent() for text in figure.axes[0].texts)
    assert not first.overlaps(other)
    for box in (first, other):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
