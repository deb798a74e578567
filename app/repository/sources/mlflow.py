"""One model of an MLflow registry, by its alias or version, through the server's REST interface.

What was registered is a model's folder as a repository has it, with `model.yaml` at its top; the server has to hand out
the artifacts itself, which it does unless it was started with `--no-serve-artifacts`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from app.errors import ModelsRefused, ModelsUnavailable, StartupError
from app.host.loopback import is_loopback
from app.repository.sources.base import SourceFile
from app.repository.sources.http_reader import HttpReader, Refused

PREFIX = "mlflow+"
_MOST_FOLDERS = 1000


@dataclass(frozen=True, slots=True, repr=False)
class RegisteredPlace:
    """A server, the model's name there, and an alias or a version; and who asks, where the server wants to know."""

    server: str
    name: str
    alias: str = ""
    version: str = ""
    login: tuple[str, str] | None = None

    def __str__(self) -> str:
        """For people; never with a password."""
        which = f"@{self.alias}" if self.alias else f"/{self.version}"
        return f"{PREFIX}{self.server}/{self.name}{which}"


def registered_of(url: SplitResult) -> RegisteredPlace:
    """The model that `mlflow+https://HOST/NAME@ALIAS` or `…/NAME/VERSION` names; raises `StartupError`."""
    base, _, last = url.path.rpartition("/")
    name, _, alias = last.partition("@")
    version = ""
    if not alias and last.isdecimal():
        (base, _, name), version = base.rpartition("/"), last
    scheme = url.scheme.removeprefix(PREFIX)
    if not url.hostname or url.query or not name or not (alias or version):
        raise StartupError(
            "The models' source is not a registered model: mlflow+https://HOST/NAME@ALIAS, or …/NAME/VERSION."
        )
    if scheme == "http" and not is_loopback(url.hostname):
        raise StartupError("The models' source must be mlflow+https://; http is for a server on this machine.")
    login = (unquote(url.username), unquote(url.password or "")) if url.username else None
    server = f"{scheme}://{url.netloc.rpartition('@')[2]}{base}"
    return RegisteredPlace(server, unquote(name), unquote(alias), version, login)


class RegisteredModel:
    """The files of one model version; nothing is ever written to it."""

    def __init__(self, place: RegisteredPlace) -> None:
        self._place = place
        self._api = f"{place.server}/api/2.0"
        self._http = HttpReader(place.login)
        self._root = ""

    @property
    def address(self) -> str:
        """The model's address."""
        return str(self._place)

    def files(self) -> list[SourceFile]:
        """The files of the version that the alias leads to now, below the model's name."""
        version = self._place.version or self._version()
        self._root = self._artifacts(version)
        # Nothing but the size tells a version that was overwritten, which MLflow does not do by itself.
        return [
            SourceFile(f"{self._place.name}/{path}", size, f"version {version} at {self._root}")
            for path, size in self._listed()
        ]

    def read(self, file: SourceFile, offset: int) -> Iterator[bytes]:
        """The artifact's content from `offset` on."""
        inner = file.path.partition("/")[2]
        url = f"{self._api}/mlflow-artifacts/artifacts/{quote(f'{self._root}/{inner}')}"
        try:
            yield from self._http.stream(url, offset)
        except Refused as error:
            raise self._told(error) from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _version(self) -> str:
        asked = {"name": self._place.name, "alias": self._place.alias}
        answer = self._asked("mlflow/registered-models/alias", asked)
        try:
            return str(answer["model_version"]["version"])
        except (KeyError, TypeError):
            raise self._strange() from None

    def _artifacts(self, version: str) -> str:
        """Where the server has the version's artifacts, as it calls the place itself."""
        asked = {"name": self._place.name, "version": version}
        uri = self._asked("mlflow/model-versions/get-download-uri", asked).get("artifact_uri")
        if not isinstance(uri, str):
            raise self._strange()
        place = urlsplit(uri)
        if place.scheme != "mlflow-artifacts":
            raise ModelsUnavailable(
                f"{self.address} has its artifacts at {place.scheme or 'a folder'}: only what the server hands out "
                "itself is read. Start it with --serve-artifacts, or pull from where they are."
            )
        return place.path.strip("/")

    def _listed(self) -> Iterator[tuple[str, int]]:
        """Every file below the version's artifacts with its size in bytes."""
        folders = [""]
        for asked, folder in enumerate(folders):  # which grows meanwhile
            if asked == _MOST_FOLDERS:
                raise ModelsRefused(f"{self.address} has more than {_MOST_FOLDERS} folders.")
            place = f"{self._root}/{folder}".rstrip("/")
            for entry in self._asked("mlflow-artifacts/artifacts", {"path": place}).get("files", []):
                try:
                    path, is_folder = f"{folder}/{entry['path']}".lstrip("/"), bool(entry["is_dir"])
                    size = 0 if is_folder else int(entry["file_size"])
                except (KeyError, TypeError, ValueError):
                    raise self._strange() from None
                if is_folder:
                    folders.append(path)
                else:
                    yield path, size

    def _asked(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        try:
            return self._http.json(f"{self._api}/{path}", params=asked)
        except Refused as error:
            raise self._told(error) from None

    def _told(self, refused: Refused) -> ModelsUnavailable:
        status = refused.response.status_code
        if status in (401, 403):
            return ModelsUnavailable(
                f"{self.address}: the server wants to know who asks, or does not let it ({status}): "
                "mlflow+https://USER:PASSWORD@HOST/…"
            )
        try:
            said = str(json.loads(refused.body)["message"])
        except (ValueError, KeyError, TypeError):
            said = "nothing more"
        return ModelsUnavailable(f"{self.address}: the server answers {status}: {said[:200]}")

    def _strange(self) -> ModelsRefused:
        return ModelsRefused(f"{self.address}: the server does not answer as MLflow does.")
