"""Which URLs are blobs that may be read: a message adds a container, a name and perhaps a signature, never a host."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from app.errors import SourceRefused, StartupError
from app.host.loopback import is_loopback

_AZURE, _HIERARCHICAL = ".blob.core.", ".dfs.core."
_VERSIONS = {"snapshot", "sharesnapshot", "versionid"}
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True)
class BlobPlace:
    """Where a blob is: the account's URL from the settings, and what was asked for there."""

    account: str
    container: str
    name: str
    signature: str
    """The link's own, as a query; empty where it has none."""

    def __str__(self) -> str:
        """For people; never with the signature."""
        return f"{self.account.partition('//')[2]}/{self.container}/{self.name}"[:300]


class Accounts:
    """The storage accounts that may be read."""

    def __init__(self, settings: tuple[str, ...]) -> None:
        """`settings` are bases such as `https://robots.blob.core.windows.net`; raises `StartupError` for another."""
        self._accounts = tuple(_account(setting) for setting in settings)

    def place_of(self, url: str) -> BlobPlace:
        """Where a message's link leads; raises `SourceRefused`."""
        link = _split(url)
        if link is None:
            raise SourceRefused("`image_url` is not the https URL of a blob: https://ACCOUNT/CONTAINER/BLOB.")
        account = next((account for account in self._accounts if _belongs(link, account)), None)
        if account is None:
            raise SourceRefused(
                f"Nothing is fetched from {str(link.hostname)[:200]!r}. Storage accounts that may be read are named in "
                "ROO_BLOB_ACCOUNTS."
            )
        container, _, name = unquote(link.path[len(account.path) + 1 :]).partition("/")
        if not container or not name:
            raise SourceRefused("`image_url` names no blob: https://ACCOUNT/CONTAINER/BLOB.")
        return BlobPlace(account.geturl(), container, name, _signature(link.query))


def container_of(setting: str) -> BlobPlace:
    """The container for results: its account, its name, and the signature that its URL may bear. No blob's name yet.

    Raises `StartupError`.
    """
    link = _setting("ROO_RESULTS_CONTAINER", setting)
    path, _, name = link.path.rpartition("/")
    if not name:
        raise StartupError("ROO_RESULTS_CONTAINER is not the URL of a container: https://ACCOUNT/CONTAINER.")
    return BlobPlace(link._replace(path=path, query="").geturl(), unquote(name), "", link.query)


def _account(setting: str) -> SplitResult:
    """An account's base, checked; without a scheme it is https."""
    base = _setting("ROO_BLOB_ACCOUNTS", setting)
    if base.query:
        raise StartupError("ROO_BLOB_ACCOUNTS: an account is named without a signature or another query.")
    if base.path and _AZURE in str(base.hostname):
        raise StartupError("ROO_BLOB_ACCOUNTS names accounts, https://NAME.blob.core.windows.net, and not containers.")
    return base


def _setting(variable: str, setting: str) -> SplitResult:
    """A URL of the settings; nothing of it is quoted where it is wrong, for it may bear a signature."""
    link = _split(setting if "//" in setting else f"https://{setting}")
    if link is None:
        raise StartupError(f"{variable} is not an https URL.")
    if link.scheme == "http" and not is_loopback(link.hostname):
        raise StartupError(f"{variable} must begin with https://; http:// is for a stand-in on this machine.")
    return link._replace(path=link.path.rstrip("/"))


def _split(url: str) -> SplitResult | None:
    """The parts of a plain http(s) URL; None for anything that two readers might understand differently."""
    try:
        link = urlsplit(url)
        _ = link.port  # reading it checks it
    except ValueError:
        return None
    if link.scheme not in ("http", "https") or not link.hostname or link.fragment:
        return None
    if "@" in link.netloc or not link.netloc.isascii() or _UNSAFE.search(url):
        return None
    path = unquote(link.path)
    return None if _UNSAFE.search(path) or {".", ".."} & set(path.split("/")) else link


def _belongs(link: SplitResult, account: SplitResult) -> bool:
    # Event Grid names a blob of an account with hierarchical namespace by its other endpoint.
    host = str(link.hostname).replace(_HIERARCHICAL, _AZURE)
    same = (link.scheme, host, link.port) == (account.scheme, account.hostname, account.port)
    return same and link.path.startswith(f"{account.path}/")


def _signature(query: str) -> str:
    """A link's query, where it is a signature (SAS); the client hands on what belongs to one and drops the rest.

    Snapshots and versions are refused: the client would write their names into the request unescaped.
    """
    fields = parse_qs(query)
    if query and ("sig" not in fields or fields.keys() & _VERSIONS):
        raise SourceRefused("`image_url` has a query that is not a signature alone. Link the blob as it is now.")
    return query
