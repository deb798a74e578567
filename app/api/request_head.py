"""What a request's head must have so that everybody who reads it sees the same request (RFC 9112), and what is said of
one that has it not.
"""

from collections.abc import Collection
from http import HTTPStatus

import httptools

from app import errors

MOST_HEAD_BYTES = 64 * 1024
VERSIONS = ("1.1", "1.0")

Headers = Collection[tuple[bytes, bytes]]


class RefusedError(httptools.HttpParserError):
    """What arrives is no request that is taken: the status, the code and the words that say so."""

    def __init__(self, detail: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST, code: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code or errors.InvalidRequest.code


def too_large() -> RefusedError:
    """For headers without end."""
    detail = f"The request's headers are larger than the {MOST_HEAD_BYTES} bytes that are taken."
    return RefusedError(detail, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large")


def measure(url: bytes, headers: Headers) -> None:
    """Raises `RefusedError` where they are too large. For heads that came with more than that."""
    if len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > MOST_HEAD_BYTES:
        raise too_large()


def check(version: str, headers: Headers) -> None:
    """Raises `RefusedError` for what a proxy in front may have read as another request, or as a longer one.

    `headers` have their names in lower case. HTTP/1.0 knows no `Host`, and probes send none.
    """
    if version not in VERSIONS:
        raise RefusedError(
            f"HTTP/{version} is not spoken here, but HTTP/1.1.", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "http_version"
        )
    hosts, codings = 0, b""
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            codings += b"," + value if codings else value
    if hosts > 1 or (not hosts and version != "1.0"):
        raise RefusedError(f"A request in HTTP/1.1 has one Host header; this one has {hosts or 'none'}.")
    if codings and codings.strip().lower() != b"chunked":
        raise RefusedError(
            "Of Transfer-Encoding only chunked is taken; compress with Content-Encoding instead.",
            HTTPStatus.NOT_IMPLEMENTED,
            "transfer_encoding",
        )


def without_upgrade(parser: httptools.HttpRequestParser, url: bytes, headers: Headers) -> bytes:
    """The head that `parser` has read, again, without its wish for another protocol."""
    method = parser.get_method()
    if method == b"CONNECT":
        raise httptools.HttpParserError("CONNECT is not taken; this is no proxy")
    lines = [b"%s %s HTTP/%s\r\n" % (method, url, parser.get_http_version().encode())]
    lines += [b"%s: %s\r\n" % (name, value) for name, value in headers if name != b"upgrade"]
    return b"".join([*lines, b"\r\n"])


def refusal(error: httptools.HttpParserError) -> RefusedError:
    """What the parser found wrong, in words."""
    cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
    if isinstance(cause, RefusedError):
        return cause
    said = str(cause) if isinstance(cause, httptools.HttpParserError) else "the address cannot be read"
    return RefusedError(f"This is not a request in HTTP/1.1: {said}.")
