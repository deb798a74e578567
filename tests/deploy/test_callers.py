"""The endpoint as each place sets it up: in production, over HTTP, with mounted keys that change while it runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.manifests import environment, render
from tests.deploy.places import KUBERNETES
from tests.deploy.test_containerapp import values
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until

OLD, NEW = "old-key-0123456789abcdef01", "new-key-0123456789abcdef01"
NOT_HERE = (
    *("ROO_SERVICEBUS_NAMESPACE", "ROO_QUEUE", "ROO_QUEUE_SHARE", "ROO_QUEUE_SESSIONS", "ROO_RESULTS_QUEUE"),
    *("ROO_REPLY_TO", "ROO_BLOB_ACCOUNTS", "ROO_RESULTS_CONTAINER", "ROO_API_KEYS_FILE", "ROO_DRAIN_DELAY"),
)
"""What leads to Azure, where the keys are, and the wait for proxies that are not there."""


class Mounted:
    """A secret's file as Kubernetes mounts it: `api-keys -> ..data/api-keys`, `..data -> ..1`, replaced by a rename."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version = 0
        self.file = folder / "api-keys"
        self.file.symlink_to("..data/api-keys")

    def holds(self, *lines: str) -> None:
        """Replace what is mounted."""
        self._version += 1
        fresh = self._folder / f"..{self._version}"
        fresh.mkdir()
        (fresh / "api-keys").write_text("\n".join(lines))
        (self._folder / "..fresh").symlink_to(fresh.name)
        (self._folder / "..fresh").rename(self._folder / "..data")


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    """The mounted secret, with the old key in it."""
    secret = Mounted(tmp_path)
    secret.holds(f"backend:{OLD}")
    return secret


@pytest.fixture(params=["aks", "containerapp"])
def guarded(request: pytest.FixtureRequest, repository: Path, mounted: Mounted) -> Iterator[Server]:
    """The service with the settings of `overlays/cpu`, and with those of `containerapp.bicep`."""
    place = environment(render(KUBERNETES / "overlays/cpu")) if request.param == "aks" else values("keys")
    settings = {
        name.removeprefix("ROO_").lower(): value
        for name, value in place.items()
        if name.startswith("ROO_") and name not in NOT_HERE
    }
    with serving(repository, default_model="colour", api_keys_file=mounted.file, **settings) as running:
        yield running


def test_a_key_opens_it_and_is_rotated_while_it_runs(guarded: Server, mounted: Mounted) -> None:
    with guarded.client() as client:

        def asked(key: str | None) -> int:
            headers = {} if key is None else {"X-Api-Key": key}
            return client.post("/v1/predict", content=solid((10, 200, 30)), headers=headers).status_code

        assert client.get("/readyz").status_code == 200
        assert [asked(key) for key in (None, NEW, OLD)] == [401, 401, 200]
        mounted.holds(f"backend:{OLD}", f"backend:{NEW}")
        until(lambda: asked(NEW) == 200)
        assert asked(OLD) == 200
        mounted.holds(f"backend:{NEW}")
        until(lambda: asked(OLD) == 401)
        assert asked(NEW) == 200
    guarded.terminate()
    assert guarded.wait() == 0
