"""`traffic.yaml`, written by a roll-out and read by services, also where it is a ConfigMap's file."""

from pathlib import Path

import pytest
import yaml

from app.errors import InvalidManifest
from app.repository import repository, stamps, traffic_file
from tests.fixtures.models import add_versions

CHANGE = {"traffic": {"1": 90.0, "2": 10.0}, "rollout": {"to": "2", "step": 0}}


def test_a_change_leaves_the_rest_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "traffic.yaml"
    path.write_text("# ours\ntraffic: {1: 100}\nshadow: {2: 10}\nstages: {stable: 1}\n")
    path.chmod(0o640)
    traffic_file.write(path, CHANGE)
    assert yaml.safe_load(path.read_text()) == {"shadow": {"2": 10}, "stages": {"stable": "1"}, **CHANGE}
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["traffic.yaml"]


def test_a_service_reads_the_shares_and_leaves_the_roll_out_to_who_wrote_it(tmp_path: Path) -> None:
    folder = add_versions(tmp_path, traffic={"1": 100}, stages={"stable": "1"})
    traffic_file.write(folder / "traffic.yaml", CHANGE)
    route = repository.read_model(tmp_path, "colour").manifest.route
    assert (route.shares, route.stages) == ({"1": 90, "2": 10}, {"stable": "1"})


def test_a_wrong_file_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "traffic.yaml"
    path.write_text("trafic: {1: 100}\n")
    with pytest.raises(InvalidManifest, match="trafic"):
        traffic_file.write(path, CHANGE)
    assert path.read_text() == "trafic: {1: 100}\n"


def test_a_link_into_a_config_map_is_followed_and_its_change_is_seen(tmp_path: Path) -> None:
    """Kubernetes writes another folder beside the old one, and has a link lead to it."""
    folder = add_versions(tmp_path / "models", traffic={"1": 100})
    mount = tmp_path / "mount"
    for name, shares in (("first", "{1: 100}"), ("second", "{1: 80, 2: 20}")):
        (mount / name).mkdir(parents=True)
        (mount / name / "colour.yaml").write_text(f"traffic: {shares}\n")
    (mount / "..data").symlink_to("first")
    (mount / "colour.yaml").symlink_to("..data/colour.yaml")
    (folder / "traffic.yaml").symlink_to(mount / "colour.yaml")
    before = stamps.of_model(folder)
    (mount / "..new").symlink_to("second")
    (mount / "..new").replace(mount / "..data")
    assert stamps.of_model(folder) != before
    assert repository.read_model(tmp_path / "models", "colour").manifest.route.shares == {"1": 80, "2": 20}
    traffic_file.write(folder / "traffic.yaml", {"traffic": {"1": 100.0}})
    assert (folder / "traffic.yaml").is_symlink()
    assert (mount / "second" / "colour.yaml").read_text().startswith("traffic:")
