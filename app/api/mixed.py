"""`multipart/mixed` (RFC 2046 section 5.1.3): JSON and pictures in one answer."""

import secrets
from collections.abc import Iterable
from typing import NamedTuple

from starlette.responses import Response

MEDIA_TYPE = "multipart/mixed"

_SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png"}


class Part(NamedTuple):
    """One part: its media type, the name that it is called by, and its bytes."""

    media_type: str
    name: str
    content: bytes


class MixedResponse(Response):
    """Parts in their order. `chunks` are its body, piece by piece: joined they would be there twice."""

    def __init__(self, parts: Iterable[Part]) -> None:
        boundary = secrets.token_hex(16)  # no picture's bytes can be made to hold it
        self.chunks: list[bytes] = []
        for part in parts:
            self.chunks += [_head(boundary, part), part.content, b"\r\n"]
        self.chunks.append(f"--{boundary}--\r\n".encode())
        length = sum(map(len, self.chunks))
        headers = {"content-type": f"{MEDIA_TYPE}; boundary={boundary}", "content-length": str(length)}
        super().__init__(None, headers=headers)


def _head(boundary: str, part: Part) -> bytes:
    suffix = _SUFFIXES.get(part.media_type)
    filename = "" if suffix is None else f'; filename="{part.name}{suffix}"'
    return (
        f"--{boundary}\r\n"
        f"Content-Type: {part.media_type}\r\n"
        f'Content-Disposition: inline; name="{part.name}"{filename}\r\n'
        f"Content-Length: {len(part.content)}\r\n\r\n"
    ).encode()
