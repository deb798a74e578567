"""Models in an OCI registry, as an artifact of files: what `oras push` makes, read by the distribution specification.

Every layer is a file; its title (`org.opencontainers.image.title`) is its place in the repository. Digests are checked,
the manifest's too where the address or the registry names it.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult

import httpx

from app.errors import ModelsRefused, ModelsUnavailable, StartupError
from app.host.loopback import is_loopback
from app.repository.sources.base import SourceFile
from app.repository.sources.http_reader import HttpReader, Refused, as_object
from app.repository.sources.registry_login import login_of

_TITLE, _UNPACK = "org.opencontainers.image.title", "io.deis.oras.content.unpack"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ArtifactPlace:
    """A registry, a repository in it, and a tag or digest."""

    registry: str
    repository: str
    reference: str

    def __str__(self) -> str:
        mark = "@" if _DIGEST.fullmatch(self.reference) else ":"
        return f"oci://{self.registry}/{self.repository}{mark}{self.reference}"

    @property
    def base(self) -> str:
        """The repository's own URL."""
        scheme = "http" if is_loopback(self.registry.partition(":")[0]) else "https"
        return f"{scheme}://{self.registry}/v2/{self.repository}"


def artifact_of(url: SplitResult) -> ArtifactPlace:
    """The artifact that `oci://REGISTRY/REPOSITORY:TAG` or `…@sha256:DIGEST` names; raises `StartupError`."""
    path = url.path.strip("/")
    name, mark, reference = path.partition("@") if "@" in path else path.partition(":")
    fits = _DIGEST.fullmatch(reference) if mark == "@" else _TAG.fullmatch(reference or "latest")
    if not url.netloc or "@" in url.netloc or url.query or not _NAME.fullmatch(name) or not fits:
        raise StartupError("The models' source is not an artifact: oci://REGISTRY/REPOSITORY:TAG, or …@sha256:DIGEST.")
    return ArtifactPlace(url.netloc, name, reference or "latest")


class Artifact:
    """The files of one artifact; nothing is ever written to it."""

    def __init__(self, place: ArtifactPlace) -> None:
        self._place = place
        self._http = HttpReader()
        self._login = login_of(place.registry)
        self._token = ""

    @property
    def address(self) -> str:
        """The artifact's name."""
        return str(self._place)

    def files(self) -> list[SourceFile]:
        """The layers of the manifest."""
        manifest = self._manifest()
        layers = manifest.get("layers")
        if manifest.get("mediaType") == _INDEX or not isinstance(layers, list):
            raise ModelsRefused(f"{self.address} is not an artifact of files, but an index or something else.")
        return [self._described(layer) for layer in layers]

    def read(self, file: SourceFile, offset: int) -> Iterator[bytes]:
        """The blob's content from `offset` on."""
        url = f"{self._place.base}/blobs/{file.stamp}"
        try:
            yield from self._http.stream(url, offset, self._headers())
        except Refused as error:
            self._enter(error)  # a token lasts for minutes, and large files longer
            yield from self._http.stream(url, offset, self._headers())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _manifest(self) -> dict[str, Any]:
        url = f"{self._place.base}/manifests/{self._place.reference}"
        accepted = {"Accept": f"{_MANIFEST}, {_INDEX}"}
        try:
            answer = self._http.get(url, accepted)
        except Refused as error:
            self._enter(error)
            try:
                answer = self._http.get(url, accepted | self._headers())
            except Refused as again:
                raise self._told(again.response) from None
        wanted = {answer.headers.get("Docker-Content-Digest", ""), self._place.reference}
        found = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        for digest in filter(_DIGEST.fullmatch, wanted):
            if digest != found:
                raise ModelsRefused(f"{self.address}: the manifest has the digest {found}, not {digest}.")
        return as_object(answer)

    def _described(self, layer: Any) -> SourceFile:
        try:
            notes = layer.get("annotations") or {}
            digest, size, title = str(layer["digest"]), int(layer["size"]), notes.get(_TITLE)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ModelsRefused(f"{self.address} has a manifest that is not one of the OCI specification.") from None
        if not isinstance(title, str) or notes.get(_UNPACK) == "true":
            raise ModelsRefused(
                f"{self.address} is an image, or holds folders as archives, and only files are read. Push them one by "
                "one: cd models && oras push REGISTRY/REPOSITORY:TAG $(find shelf -type f)"
            )
        known = _DIGEST.fullmatch(digest)
        if known is None or size < 0:
            raise ModelsRefused(f"{self.address}: {title} has a digest that is not SHA-256, or no size.")
        return SourceFile(title, size, digest, known[1])

    def _headers(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    def _enter(self, refused: Refused) -> None:
        """Get what the registry asks for; raises `ModelsUnavailable` where that is not to be had."""
        challenge = refused.response.headers.get("WWW-Authenticate", "")
        if refused.response.status_code != 401 or not challenge:
            raise self._told(refused.response) from None
        try:
            self._token = self._login.answered(self._http, challenge, self._place.repository)
        except Refused as error:
            raise self._told(error.response) from None

    def _told(self, response: httpx.Response) -> ModelsUnavailable:
        if response.status_code == 404:
            return ModelsUnavailable(f"{self.address} is not there (404).")
        if response.status_code in (401, 403):
            who = "the login of ~/.docker/config.json" if self._login.known else "somebody without a login"
            return ModelsUnavailable(
                f"{self.address}: the registry refuses {who} ({response.status_code}). `docker login` or `oras login` "
                "writes one."
            )
        return ModelsUnavailable(f"{self.address}: the registry answers {response.status_code}.")
