"""Web pages of elsewhere, which may have their visitor's browser send what it sends anybody's."""

from urllib.parse import urlsplit

from fastapi import Request

from app.errors import Forbidden

_OWN = ("same-origin", "none")
"""What `Sec-Fetch-Site` says of a page's own requests, and of what its user asked for (Fetch Metadata, section 2.3)."""


def refuse_foreign_pages(request: Request) -> None:
    """Raises `Forbidden` where a page of another origin asks: where nobody is asked for a key, a request that changes
    something needs no leave of the browser's. Programs send neither header.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    if site not in _OWN or (origin is not None and urlsplit(origin).netloc != request.headers.get("host")):
        raise Forbidden("Pages of other origins may not do this.")
