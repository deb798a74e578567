"""Requests that a stranger may send: each as small as it can be for what it costs a service that takes no care."""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from app.bench.load import HOST

MIB = 1 << 20
FORM, JSON, RAW = "multipart/form-data; boundary=b", "application/json", "application/octet-stream"
SIDE = 7000
"""Pixels along each side of the large pictures: 49 million in all, just below the default limit."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """A request as it goes over the wire, and how many connections send it at once."""

    name: str
    request: bytes
    connections: int


def all_bodies() -> list[Hostile]:
    """All of them; making them takes some seconds."""
    return [
        _hostile("form, one file of 60 MiB", FORM, _form(bytes(60 * MIB))),
        _hostile("form, 19 MiB without a line's end in a part's head", FORM, _endless_head(19 * MIB)),
        _hostile("form, 300,000 empty parts", FORM, _form(*[b""] * 300_000)),
        _hostile("form, 32 pictures of 850 kB", FORM, _form(*[bytes(850_000)] * 32)),
        _hostile("JSON, 32 pictures of 640 kB in base64", JSON, _json(32, 640_000)),
        _hostile("JSON, 3 MB of malformed entries", JSON, b'{"images":[' + b"1," * 1_500_000 + b"1]}"),
        _hostile("JSON, 3 MB of unknown keys", JSON, b"{" + b'"a":1,' * 500_000 + b'"images":[]}'),
        _hostile("PNG of 49 MP with transparency", RAW, _picture("RGBA", "PNG")),
        _hostile("PNG of 49 MP, 16 bits", RAW, _picture("I;16", "PNG")),
        _hostile("progressive JPEG of 49 MP", RAW, _picture("RGB", "JPEG", progressive=True, quality=30)),
        _hostile("drawn answer for 49 MP", RAW, _picture("RGB", "JPEG", quality=30), "image/png"),
    ]


def _hostile(name: str, media_type: str, body: bytes, accept: str = JSON) -> Hostile:
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {media_type}\r\nAccept: {accept}\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Hostile(name, head.encode() + body, max(8, min(32, 256 * MIB // len(body))))


def _form(*parts: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n'
    return b"".join(head + part + b"\r\n" for part in parts) + b"--b--\r\n"


def _endless_head(size: int) -> bytes:
    return b"--b\r\nContent-Disposition: " + b"x" * size


def _json(pictures: int, size: int) -> bytes:
    picture = base64.b64encode(bytes(size)).decode()
    return json.dumps({"images": [{"image": picture}] * pictures}).encode()


def _picture(mode: str, kind: str, **options: object) -> bytes:
    made: dict[str, Callable[[], Image.Image]] = {
        "RGBA": lambda: Image.new("RGBA", (SIDE, SIDE), (200, 30, 90, 128)),
        "RGB": lambda: Image.new("RGB", (SIDE, SIDE), (200, 30, 90)),
        "I;16": lambda: Image.fromarray(np.full((SIDE, SIDE), 30_000, np.uint16)),
    }
    file = io.BytesIO()
    made[mode]().save(file, kind, **options)
    return file.getvalue()
