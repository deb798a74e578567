"""The service's peers: pinned to what the service runs on, one of them started, and none left behind."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from app.bench import pictures
from app.bench.pictures import Workload
from app.bench.processes import Child
from benchmarks.peers import network
from benchmarks.peers.__main__ import PEERS, _best_class, _free_port
from benchmarks.peers.environments import HERE
from benchmarks.peers.family import Family, Peer
from benchmarks.peers.settings import CLASSES, PEER_MODEL, SIDE
from tests.bench.children import ROOT
from tests.fixtures.waiting import until


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's file."""
    return network.add_model(tmp_path_factory.mktemp("models"))


def test_the_network_tells_pictures_apart(graph: Path) -> None:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(0).normal(0, 1, (2, 3, SIDE, SIDE)).astype(np.float32)
    (scores,) = session.run(None, {"image": batch})
    assert scores.shape == (2, CLASSES)
    assert np.isfinite(scores).all()
    assert not np.allclose(scores[0], scores[1])


@pytest.mark.parametrize("peer", PEERS)
def test_peers_run_on_what_the_service_is_locked_to(peer: str) -> None:
    pins = dict(line.split("==") for line in (HERE / f"{peer}.txt").read_text().split())
    locked = (ROOT / "requirements-dev.lock").read_text()
    shared = [name for name in pins if re.search(rf"^{re.escape(name.partition('[')[0])}==", locked, re.MULTILINE)]
    assert {"numpy", "onnxruntime", "opencv-python-headless", "pydantic"} <= set(shared)
    for name in shared:
        assert f"\n{name.partition('[')[0]}=={pins[name]} " in f"\n{locked}"


def test_a_peer_is_measured_with_all_its_processes_and_none_is_left(graph: Path, tmp_path: Path) -> None:
    """Plain FastAPI, which needs no environment of its own for that."""
    port, (ready_path, path, form) = _free_port(), PEERS["fastapi"]
    environment = {**os.environ, PEER_MODEL: str(graph)}
    arguments = ["benchmarks.peers.fastapi_peer", "--port", str(port)]
    child = Child("fastapi", arguments, tmp_path, environment=environment, cwd=ROOT, python=Path(sys.executable))
    workload = Workload("200x150", "textures", [pictures.encode(".jpg", pictures.texture(200, 150, seed=1))])
    with Family(child) as family:
        peer = Peer("fastapi", family, port, ready_path, path, form=form)
        assert 0 <= _best_class(peer, workload.pictures[0]) < CLASSES
        measured = peer.measure(workload, 4, 0.1, 0.5)
        members = list(family._members())
        assert measured.pictures
        assert measured.errors == 0
        assert measured.cpu_seconds > 0
        assert len(members) >= 3, "the supervisor and its workers"
        assert family.proportional_mb() > 50
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in members))
