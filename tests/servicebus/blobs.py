"""A stand-in for Blob Storage: enough of its REST interface for the real client to read and write blobs."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

ACCOUNT = "devstoreaccount1"
_TIMES = {"ETag": '"0x1"', "Last-Modified": "Wed, 18 Nov 2026 15:13:39 GMT"}


@dataclass(slots=True)
class Trouble:
    """An answer other than the blob: to requests of one method (or of all), so many times or for ever."""

    status: int = 0
    code: str = ""
    method: str = ""
    times: int = -1
    location: str = ""
    silent: bool = False
    """Whether nothing at all is answered."""

    def applies_to(self, method: str) -> bool:
        """Whether it is this request's turn; counts it."""
        if self.times == 0 or self.method not in ("", method):
            return False
        self.times -= 1
        return True


@dataclass(slots=True)
class Blob:
    """What is stored. `claimed` is the length that is told before the content is asked for; None is the true one."""

    content: bytes
    content_type: str = "application/octet-stream"
    claimed: int | None = None
    content_encoding: str = ""
    cut_at: int | None = None
    """Octets after which the connection ends, although more were announced."""


@dataclass(slots=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str] = field(default_factory=dict)


class Blobs:
    """`async with Blobs() as storage`: blobs by `container/name`, in a path-style account on a free port."""

    def __init__(self) -> None:
        self.blobs: dict[str, Blob] = {}
        self.containers = {"shots", "results"}
        self.troubles: defaultdict[str, list[Trouble]] = defaultdict(list)
        self.seen: list[Seen] = []
        self._released = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        await self._runner.cleanup()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._runner.addresses[0][1])

    @property
    def account(self) -> str:
        """The account's URL, as a setting has it."""
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def methods(self) -> list[str]:
        """What was asked, in order."""
        return [request.method for request in self.seen]

    def url(self, name: str) -> str:
        """A blob's URL."""
        return f"{self.account}/{name}"

    def put(self, name: str, content: bytes, **settings: int | str) -> str:
        """Store a blob; returns its URL."""
        self.blobs[name] = Blob(content, **settings)  # type: ignore[arg-type]
        return self.url(name)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(Seen(request.method, request.raw_path, request.query_string, dict(request.headers)))
        name = request.path.removeprefix(f"/{ACCOUNT}/")
        for trouble in self.troubles[name]:
            if trouble.applies_to(request.method):
                return await self._trouble(trouble)
        if request.method == "PUT":
            return await self._store(request, name)
        if name not in self.blobs:
            return _refusal(404, "BlobNotFound")
        blob = self.blobs[name]
        return _properties(blob) if request.method == "HEAD" else await _content(request, blob)

    async def _trouble(self, trouble: Trouble) -> web.Response:
        if trouble.silent:
            await self._released.wait()
        return _refusal(trouble.status or 500, trouble.code, trouble.location)

    async def _store(self, request: web.Request, name: str) -> web.Response:
        if name.partition("/")[0] not in self.containers:
            return _refusal(404, "ContainerNotFound")
        kind = request.headers.get("x-ms-blob-content-type", "")
        self.blobs[name] = Blob(await request.read(), kind)
        return web.Response(status=201, headers={**_TIMES, "x-ms-request-server-encrypted": "true"})


def _refusal(status: int, code: str, location: str = "") -> web.Response:
    headers = {"x-ms-error-code": code} if code else {}
    return web.Response(status=status, headers={**headers, "Location": location} if location else headers)


def _properties(blob: Blob) -> web.Response:
    size = len(blob.content) if blob.claimed is None else blob.claimed
    headers = {**_TIMES, "Content-Length": str(size), "Content-Type": blob.content_type, "x-ms-blob-type": "BlockBlob"}
    if blob.content_encoding:
        headers["Content-Encoding"] = blob.content_encoding
    return web.Response(headers=headers)


async def _content(request: web.Request, blob: Blob) -> web.StreamResponse:
    first, last = _range(request)
    part = blob.content[first : last + 1]
    headers = {
        **_TIMES,
        "Content-Length": str(len(part)),
        "Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(blob.content)}",
        "x-ms-blob-type": "BlockBlob",
        **({"Content-Encoding": blob.content_encoding} if blob.content_encoding else {}),
    }
    response = web.StreamResponse(status=206, headers=headers)
    await response.prepare(request)
    await response.write(part[: blob.cut_at])
    if blob.cut_at is not None and request.transport is not None:
        request.transport.close()
    return response


def _range(request: web.Request) -> tuple[int, int]:
    wanted = request.headers.get("x-ms-range") or request.headers["Range"]
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    return int(first), int(last)
