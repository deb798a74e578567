"""Web pages of elsewhere, which may have their visitor's browser send what it sends anybody's."""

from urllib.parse import urlsplit

from fastapi import Request

from app.errors import Forbidden

_OWN = ("same-origin", "none")
"""What `Sec-Fetch-Site` says of a page's own requests, and of what its user asked for (Fetch Metadata, section 2.3)."""


def refuse_foreign_pages(request: Request) -> None:
    """Raises `Forbidden` where a page of another origin asks: where nobody is asked for a key, a request that changes
    something needs no leave of the browser's. Programs send neither header.

    Over plain HTTP browsers send the origin alone; it is compared with the host, which proxies may have written anew.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    by_host = origin is None or _host(origin) == request.headers.get("host")
    if not (by_host if site is None else site in _OWN):
        raise Forbidden("Pages of other origins may not do this.")


def _host(origin: str) -> str | None:
    """The host and port of an origin; None where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
