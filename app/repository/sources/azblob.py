"""Models in a container of Azure Blob Storage.

Entered with the Azure identity of this process, or with a signature (SAS) that the container's URL bears. A token goes
over https alone, and no redirect is followed. Reading needs the role Storage Blob Data Reader on the container.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobProperties, ContainerClient, ContentSettings

from app.errors import ModelsRefused, ModelsUnavailable
from app.host.blob_options import CAREFUL
from app.repository.sources.base import PIECE_BYTES, Interrupted, SourceFile
from app.repository.sources.containers import ContainerPlace

SHA256 = "sha256"
"""The metadata of a blob that holds its content's digest in hexadecimal, as `push` writes it."""
_OPTIONS: dict[str, Any] = {
    **CAREFUL,
    "connection_timeout": 5,
    "read_timeout": 30,
    "max_single_get_size": PIECE_BYTES,
    "max_chunk_get_size": PIECE_BYTES,
    "max_single_put_size": PIECE_BYTES,
    "max_block_size": PIECE_BYTES,
}
_BUSY = {408, 429, 500, 502, 503, 504}


class BlobContainer:
    """The blobs below a prefix of one container."""

    def __init__(self, place: ContainerPlace) -> None:
        self._place = place
        self._prefix = f"{place.prefix}/" if place.prefix else ""
        # A token of ours never goes over plain http, nor beside a signature.
        ours = not place.signature and place.account.startswith("https:")
        self._credential = DefaultAzureCredential() if ours else None
        account = f"{place.account}?{place.signature}" if place.signature else place.account
        self._client = ContainerClient(account, place.container, credential=self._credential, **_OPTIONS)

    @property
    def address(self) -> str:
        """The container and the prefix, without a signature."""
        return str(self._place)

    def files(self) -> list[SourceFile]:
        """The blobs below the prefix, without the markers of folders that hierarchical accounts list as blobs."""
        with self._told(""):
            listed = self._client.list_blobs(name_starts_with=self._prefix or None, include=["metadata"])
            return [self._described(blob) for blob in listed if not _is_folder(blob)]

    def read(self, file: SourceFile, offset: int) -> Iterator[bytes]:
        """The blob's content from `offset` on, as long as it is the one that was listed."""
        if offset >= file.size:
            return
        with self._told(file.path):
            stream = self._client.download_blob(
                self._prefix + file.path,
                offset=offset,
                length=file.size - offset,
                etag=file.stamp,
                match_condition=MatchConditions.IfNotModified,
                # What is stored is what was hashed; decoded it might have any size.
                decompress=False,
            )
            yield from stream.chunks()

    def write(self, path: str, content: Path, sha256: str, over: SourceFile | None) -> None:
        """Upload a file as a blob: as a new one, or in place of the one that was listed."""
        condition: dict[str, Any] = {"overwrite": False}
        if over is not None:
            condition = {"overwrite": True, "etag": over.stamp, "match_condition": MatchConditions.IfNotModified}
        with self._told(path), content.open("rb") as file:
            self._client.upload_blob(
                self._prefix + path,
                file,
                length=content.stat().st_size,
                metadata={SHA256: sha256},
                content_settings=ContentSettings(content_type="application/octet-stream"),
                **condition,
            )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        if self._credential is not None:
            self._credential.close()

    def _described(self, blob: BlobProperties) -> SourceFile:
        encoding = blob.content_settings.content_encoding
        if encoding and encoding.lower() != "identity":
            raise ModelsRefused(
                f"{self.address}: the blob {blob.name} is stored with Content-Encoding {encoding[:50]!r}. Upload it as "
                "it is, without one."
            )
        digest = {name.lower(): value for name, value in (blob.metadata or {}).items()}.get(SHA256)
        md5 = blob.content_settings.content_md5
        path = blob.name.removeprefix(self._prefix)
        stamp = f'"{str(blob.etag).strip(chr(34))}"'  # a listing has it without the quotes that a condition needs
        return SourceFile(path, int(blob.size), stamp, digest, bytes(md5).hex() if md5 else None)

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Azure's errors in words of ours; their own texts may quote a signature."""
        what = f"{self.address}/{path}" if path else self.address
        try:
            yield
        except (ResourceModifiedError, ResourceExistsError) as error:
            raise ModelsRefused(f"{what} was changed by somebody else meanwhile ({_said(error)}). Try again.") from None
        except ResourceNotFoundError as error:
            raise ModelsUnavailable(f"{what} is not there ({_said(error)}).") from None
        except ClientAuthenticationError as error:
            raise ModelsUnavailable(f"{what}: {self._entry(error)}") from None
        except (ServiceRequestError, ServiceResponseError) as error:
            raise Interrupted(f"{what}: the storage does not answer ({type(error).__name__}).") from None
        except HttpResponseError as error:
            raise self._not_done(what, error) from None
        except AzureError as error:
            raise ModelsUnavailable(f"{what}: the storage fails ({type(error).__name__}).") from None

    def _not_done(self, what: str, error: HttpResponseError) -> ModelsUnavailable:
        status = error.status_code
        if status is None or status in _BUSY:  # None: a body that ended early, at every try of the client's own
            return Interrupted(f"{what}: the storage does not give it whole ({_said(error)}).")
        if 300 <= status < 400:
            return ModelsUnavailable(f"{what}: the storage points elsewhere, and no redirect is followed.")
        if status in (401, 403):
            return ModelsUnavailable(f"{what}: {self._entry(error)}")
        return ModelsUnavailable(f"{what}: the storage answers {_said(error)}.")

    def _entry(self, error: HttpResponseError) -> str:
        if self._place.signature:
            return f"the signature is refused ({_said(error)}). Make a new one that may read and list."
        if self._credential is None:
            return f"the storage wants to know who asks ({_said(error)}), and over http nobody says so."
        return (
            f"this identity may not ({_said(error)}). Give it the role Storage Blob Data Reader (to push: Contributor) "
            "on the container, and set AZURE_CLIENT_ID where there are several."
        )


def _is_folder(blob: BlobProperties) -> bool:
    return (blob.metadata or {}).get("hdi_isfolder") == "true"


def _said(error: HttpResponseError) -> str:
    """The status and Azure's name for the failure, which is what its documentation is searched by."""
    code = getattr(error, "error_code", None)
    return f"{error.status_code or ''} {getattr(code, 'value', code) or type(error).__name__}".strip()[:100]
