"""One roll-out for several replicas: all follow one traffic.yaml, and what one sees takes a version back in all."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from app.cli import cli
from app.core.guards import LEAST
from app.core.traffic import pick
from app.errors import RooError
from tests.fixtures.models import add_versions
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until

WHITE = solid((255, 255, 255))
PATIENCE = 60.0
"""Seconds for the command to start and to have its way, however busy the machine."""
HALVES = {"1": 50.0, "2": 50.0}
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two services of one repository, whose version 2 never fails and finds nothing at all."""

    servers: tuple[Server, Server]
    clients: tuple[httpx.Client, httpx.Client]
    file: Path

    def arguments(self, *options: str) -> list[str]:
        """What somebody would type behind `roo-vision` for both."""
        urls = [argument for server in self.servers for argument in ("--url", server.url)]
        return ["rollout", "colour", *options, *urls]

    @contextmanager
    def shared(self, *options: str) -> "Iterator[subprocess.Popen[str]]":
        """The command by the file, running; killed at the end."""
        arguments = self.arguments("--traffic-file", str(self.file), *options)
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [sys.executable, "-m", "app", *arguments], stdout=pipe, stderr=pipe, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def told(self, *options: str) -> str:
        """All that the command says where it ends at once."""
        result = CliRunner().invoke(cli, self.arguments(*options))
        error = result.exception
        assert isinstance(error, SystemExit | RooError | None), error
        return " ".join(f"{result.output} {error}".replace("│", " ").split())

    def shares(self) -> list[dict[str, float]]:
        """What both say."""
        return [client.get("/v1/models/colour").json()["traffic"] for client in self.clients]

    def answered(self, robot: str, client: httpx.Client) -> str:
        """Which version answers a robot there."""
        headers = {"roo-sticky": robot, "x-request-id": f"request-{next(_numbers)}"}
        response = client.post("/v1/predict", content=WHITE, headers=headers)
        assert response.status_code == 200
        return str(response.json()["version"])


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    root = tmp_path_factory.mktemp("shared")
    nothing = {"classification": {"softmax": False, "top_k": 1, "score_threshold": 0.6}}
    folder = add_versions(root, traffic={"1": 100}, shadow={"2": 100}, **nothing)
    with ExitStack() as both:
        one, other = (both.enter_context(serving(root, repository_poll=0.2)) for _ in range(2))
        clients = both.enter_context(one.client()), both.enter_context(other.client())
        yield Pair((one, other), clients, folder / "traffic.yaml")


@pytest.fixture
def pair(services: Pair) -> Pair:
    """Both with version 1 alone."""
    services.file.write_text("# ours\ntraffic: {1: 100}\nshadow: {2: 100}\n")
    until(lambda: services.shares() == [{"1": 100}] * 2)
    return services


def test_steps_go_on_by_what_both_have_counted(pair: Pair, tmp_path: Path) -> None:
    applied = tmp_path / "applied"
    plan = ["--to", "2", "--steps", "50,100", "--every", "1s", "--guard", "error_ratio<5%"]
    with pair.shared(*plan, "--apply", f"cp {pair.file} {applied}") as running:
        until(lambda: pair.shares() == [HALVES] * 2, patience=PATIENCE)
        robots = [f"robot-{number}" for number in range(130)]
        wanted = {robot: pick("colour", robot, HALVES) for robot in robots}
        news = sum(version == "2" for version in wanted.values())
        assert news < LEAST < 2 * news  # so that neither replica's own pictures are enough
        while running.poll() is None and pair.shares() == [HALVES] * 2:
            for robot, client in itertools.product(robots, pair.clients):
                assert pair.answered(robot, client) in (wanted[robot], "2")
        out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "colour to version 2: done, version 1: 0 %, version 2: 100 %"
    assert pair.shares() == [{"1": 0, "2": 100}] * 2
    assert yaml.safe_load(pair.file.read_text())["shadow"] == {"2": 100}
    assert applied.read_text() == pair.file.read_text()


def test_what_one_replica_sees_takes_a_version_back_in_all_also_after_a_restart_of_who_looks(pair: Pair) -> None:
    plan = ["--to", "2", "--steps", "50,100", "--every", "1h", "--guard", "agreement>0.97"]
    with pair.shared(*plan) as running:
        until(lambda: pair.shares() == [HALVES] * 2, patience=PATIENCE)
        running.kill()
    file = ("--traffic-file", str(pair.file))
    assert pair.told(*file).startswith("colour to version 2: running, version 1: 50 %, version 2: 50 %")
    assert "a roll-out to version 2 runs; stop it first" in pair.told(*file, "--to", "3")
    with pair.shared("--to", "2") as running:
        while running.poll() is None and pair.shares() == [HALVES] * 2:
            pair.answered(f"robot-{next(_numbers)}", pair.clients[0])  # the other one is asked nothing at all
        out, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 1
    assert "back, version 1: 100 % (at 50 %: agreement>0.97: it is 0, the limit 0.97)" in out
    assert pair.shares() == [{"1": 100}] * 2


def test_it_is_stopped_by_hand_and_by_who_changes_the_file(pair: Pair) -> None:
    with pair.shared("--to", "2", "--guard", "") as running:
        until(lambda: pair.shares() == [{"1": 95, "2": 5}] * 2, patience=PATIENCE)
        said = pair.file.read_text()
        pair.file.write_text("traffic: {")
        assert running.stderr is not None
        assert "is not YAML" in running.stderr.readline()
        pair.file.write_text(said)
        assert "(stopped by hand)" in pair.told("--traffic-file", str(pair.file), "--stop")
        assert pair.shares() == [{"1": 100}] * 2
        assert "was changed by somebody else, and stays so" in running.communicate(timeout=PATIENCE)[1]
    assert running.returncode == 1


def test_what_cannot_be_is_one_sentence(pair: Pair, tmp_path: Path) -> None:
    for options, words in (
        (["--to", "2"], "A service's own roll-out is one replica's."),
        (["--to", "3", "--traffic-file", str(pair.file)], "does not serve version 3 of colour: 1, 2"),
        (["--to", "2", "--traffic-file", str(tmp_path / "absent" / "traffic.yaml")], "traffic.yaml cannot be written"),
        (["--to", "2", "--traffic-file", str(tmp_path)], "cannot be read"),
        (["--traffic-file", str(pair.file)], "tells of no roll-out of colour"),
        (["--to", "2", "--traffic-file", str(pair.file), "--url", "http://127.0.0.1:1"], "cannot be asked"),
    ):
        assert words in pair.told(*options)
    assert pair.shares() == [{"1": 100}] * 2
    pair.file.write_text(json.dumps({"traffic": {1: 100}, "rollout": {"to": "2"}}))
    assert "`rollout` cannot be read" in pair.told("--traffic-file", str(pair.file))
