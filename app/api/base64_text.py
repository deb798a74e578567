"""Base64 as people send it, decoded while it arrives: plain or URL-safe, with line breaks, as a `data:` URL."""

import binascii
import json

from app.api.picture_buffer import PictureBuffer
from app.errors import InvalidRequest

_STANDARD = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n"
_PREFIX = b"data:"
_MOST_PREFIX = 256
_USUAL = ((rb"\/", b"/"), (rb"\u002B", b"+"), (rb"\u002b", b"+"), (rb"\n", b""), (rb"\r", b""))
"""Replaced at once; the JSON parser, which knows all escapes, takes fifty times as long for many."""


class Base64Text:
    """One JSON string's contents, as they stand in the JSON, become a picture's bytes.

    PHP escapes each `/`, .NET each `+`, and line breaks are always escaped: escapes are read as JSON has them.
    """

    __slots__ = ("_buffer", "_carry", "_padded", "_started")

    def __init__(self, buffer: PictureBuffer) -> None:
        self._buffer = buffer
        self._carry = b""
        self._padded = False
        self._started = False

    def feed(self, text: bytes) -> None:
        """Decode more of it; no escape may be cut in two. Raises `InvalidRequest`, `PayloadTooLarge`, `Overloaded`."""
        if b"\\" in text:
            text = _unescaped(text)
        if not self._started:
            text = _without_prefix(text)
            self._started = True
        text = self._carry + text.translate(_STANDARD, _WHITESPACE)
        if b"=" in text:
            text, _, rest = text.partition(b"=")
            self._padded = True
            if rest.strip(b"="):
                raise _damaged()
        elif self._padded and text != self._carry:
            raise _damaged()
        whole = len(text) & ~3
        self._carry = text[whole:]
        if whole:
            self._buffer.write(_decoded(text[:whole]))

    def finish(self) -> bytes:
        """All bytes; padding may be missing, as URL-safe writers leave it out."""
        if self._carry:
            self._buffer.write(_decoded(self._carry + b"=" * (-len(self._carry) % 4)))
        return self._buffer.content()


def _unescaped(text: bytes) -> bytes:
    if b"\\\\" in text:  # an escaped backslash, which base64 has not, and which would mislead what follows
        raise _damaged()
    for escape, meant in _USUAL:
        text = text.replace(escape, meant)
    if b"\\" not in text:
        return text
    try:
        read: str = json.loads(b'"%s"' % text, strict=False)
        return read.encode("ascii")
    except (ValueError, RecursionError):
        raise _damaged() from None


def _without_prefix(text: bytes) -> bytes:
    text = text.lstrip(_WHITESPACE)
    if text[: len(_PREFIX)].lower() != _PREFIX:
        return text
    prefix, comma, _ = text[:_MOST_PREFIX].partition(b",")
    if not comma or not prefix.lower().endswith(b";base64"):
        raise InvalidRequest("The picture's data: URL is not in base64. Send data:image/jpeg;base64,… or base64 alone.")
    return text[len(prefix) + 1 :]


def _decoded(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise _damaged() from None


def _damaged() -> InvalidRequest:
    return InvalidRequest("The picture is not valid base64.")
