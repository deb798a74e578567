"""Versions that share the traffic: one key meets one of them, and one of them is rolled out."""

from collections.abc import Iterator

import pytest

from app.client import InvalidRequest, Refused
from app.core.traffic import pick
from tests.client.conftest import Connect
from tests.fixtures.models import add_versions
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving

SHARES = {"1": 50.0, "2": 50.0}
WHITE = solid((255, 255, 255))


@pytest.fixture(scope="module")
def versioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("versions")
    add_versions(root, traffic=SHARES)
    with serving(root, model_control="open") as server:
        yield server


def test_a_key_meets_one_version_whatever_is_asked(connect: Connect, versioned: Server) -> None:
    robots = [f"robot {number}" for number in range(8)]
    wanted = {robot: pick("colour", robot, SHARES) for robot in robots}
    assert set(wanted.values()) == {"1", "2"}
    with connect(versioned.url) as client:
        for robot in robots:
            assert client.predict(WHITE, sticky=robot).version == wanted[robot]
            assert {each.version for each in client.predict_many([WHITE] * 3, sticky=robot)} == {wanted[robot]}
            assert client.draw(WHITE, sticky=robot, media_type="image/png").startswith(b"\x89PNG")


@pytest.mark.parametrize("key", ["", "Roboter ö", "two\r\nlines: 1", "a" * 257, "\ud800"])
def test_a_key_that_no_header_takes_is_not_sent(connect: Connect, key: str) -> None:
    with connect("http://localhost:1") as client, pytest.raises(InvalidRequest, match="Roo-Sticky is one value"):
        client.predict(WHITE, sticky=key)


def test_a_roll_out_is_begun_looked_at_and_stopped(connect: Connect, versioned: Server) -> None:
    with connect(versioned.url) as client:
        begun = client.begin_rollout("colour", 2, steps=[60, 100], every="1h", guards=["error_ratio<1%"])
        assert (begun.phase, begun.shares, begun.every) == ("running", {"1": 40.0, "2": 60.0}, 3600.0)
        assert client.rollout("colour").guards == ["error_ratio<1%"]
        with pytest.raises(Refused, match="runs; wait for its end"):
            client.begin_rollout("colour", "2")
        stopped = client.stop_rollout("colour")
        assert (stopped.phase, stopped.reason, stopped.shares) == ("back", "stopped by hand", SHARES)
        with pytest.raises(InvalidRequest, match="every: a time is a number"):
            client.begin_rollout("colour", "2", every="soon")
        with pytest.raises(Refused, match="no roll-out of 'absent'"):
            client.rollout("absent")
