"""From an address to the place that it names."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.errors import StartupError
from app.repository.sources.base import Source, Target
from app.repository.sources.folder import Folder

KINDS = "a folder, azblob://ACCOUNT/CONTAINER/PREFIX, a container's https URL, or oci://REGISTRY/REPOSITORY:TAG"


def open_source(address: str) -> Source:
    """The place of that address, which its user closes.

    Raises `StartupError` where it is none, without quoting it beyond its scheme: it may bear a signature.
    """
    try:
        url = urlsplit(address)
        _ = url.port  # reading it checks it
    except ValueError:
        raise StartupError(f"The models' source is not an address. It is {KINDS}.") from None
    if url.scheme in ("azblob", "https", "http"):
        # Azure's SDK takes a third of a second to import; only its users wait.
        from app.repository.sources.azblob import BlobContainer
        from app.repository.sources.containers import place_of

        return BlobContainer(place_of(url))
    if url.scheme == "oci":
        from app.repository.sources.oci import Artifact, artifact_of

        return Artifact(artifact_of(url))
    if url.scheme == "file":
        return Folder(Path(unquote(url.path)))
    if "://" not in address:
        return Folder(Path(address))
    raise StartupError(f"The models' source begins with {url.scheme}://, which is not known. It is {KINDS}.")


def open_target(address: str) -> Target:
    """As `open_source`, for a place that can be written to."""
    place = open_source(address)
    if not isinstance(place, Target):
        raise StartupError(f"Models cannot be pushed to {place.address}, only to a folder or a container of blobs.")
    return place
