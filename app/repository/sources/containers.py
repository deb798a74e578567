"""How a container of Blob Storage is written down: `azblob://ACCOUNT/CONTAINER/PREFIX`, or its URL."""

from dataclasses import dataclass
from urllib.parse import SplitResult, unquote

from app.errors import StartupError
from app.host.loopback import is_loopback

_HOST = "blob.core.windows.net"
_FORM = "azblob://ACCOUNT/CONTAINER/PREFIX, or https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX"


@dataclass(frozen=True, slots=True)
class ContainerPlace:
    """An account's URL, a container of it, and what its blobs' names begin with; a signature, or an empty text."""

    account: str
    container: str
    prefix: str
    signature: str = ""

    def __str__(self) -> str:
        """For people; never with the signature."""
        place = f"{self.account.partition('//')[2]}/{self.container}"
        return f"{place}/{self.prefix}" if self.prefix else place


def place_of(url: SplitResult) -> ContainerPlace:
    """Where the address leads. Raises `StartupError`, which quotes nothing of it, as it may bear a signature."""
    path = unquote(url.path).strip("/")
    if url.scheme == "azblob":
        host = url.netloc if "." in url.netloc else f"{url.netloc}.{_HOST}"
        account = f"https://{host}"
    elif url.hostname and ".blob." in url.hostname:
        account = f"{url.scheme}://{url.netloc}"
    else:  # a stand-in, whose paths begin with the account's name
        name, _, path = path.partition("/")
        account = f"{url.scheme}://{url.netloc}/{name}"
    container, _, prefix = path.partition("/")
    if not url.netloc or "@" in url.netloc or not container or url.fragment:
        raise StartupError(f"The models' source is not a container of Blob Storage: {_FORM}.")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise StartupError("The models' source must begin with https://; http:// is for a stand-in on this machine.")
    return ContainerPlace(account, container, prefix.strip("/"), url.query)
