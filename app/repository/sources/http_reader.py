"""Small answers and large files over HTTP, for the places that are asked so."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from app.errors import ModelsRefused, ModelsUnavailable
from app.host.loopback import is_loopback
from app.repository.sources.base import PIECE_BYTES, Interrupted

_MOST_BYTES = 8 * 2**20
_BUSY = {408, 425, 429, 500, 502, 503, 504}


class Refused(ModelsUnavailable):
    """The answer was a status that is no success; `response` has what it said of itself, without its body."""

    def __init__(self, message: str, response: httpx.Response) -> None:
        super().__init__(message)
        self.response = response


class HttpReader:
    """GETs, with redirects followed to https alone, and without the credential once they lead to another host."""

    def __init__(self, auth: tuple[str, str] | None = None) -> None:
        self._client = httpx.Client(
            auth=auth,
            follow_redirects=True,
            max_redirects=5,
            timeout=httpx.Timeout(30.0, connect=5.0),
            # Decoded, a body might have any size; and what was hashed is what is stored.
            headers={"Accept-Encoding": "identity"},
            event_hooks={"request": [_refuse_clear_text]},
        )

    def get(self, url: str, headers: Mapping[str, str] | None = None, **options: Any) -> httpx.Response:
        """A small answer, read whole. Raises `Refused`, `Interrupted` and `ModelsRefused`."""
        return self._whole("GET", url, headers, **options)

    def post(self, url: str, data: Mapping[str, str]) -> httpx.Response:
        """The answer to a form; raises as `get` does."""
        return self._whole("POST", url, None, data=data)

    def json(self, url: str, headers: Mapping[str, str] | None = None, **options: Any) -> dict[str, Any]:
        """An answer that is a JSON object."""
        return as_object(self.get(url, headers, **options))

    def stream(self, url: str, offset: int, headers: Mapping[str, str] | None = None) -> Iterator[bytes]:
        """A file's content from `offset` on, in pieces, also from a server that only knows whole files."""
        ranged = {**(headers or {}), **({"Range": f"bytes={offset}-"} if offset else {})}
        with self._answered("GET", url, ranged) as response:
            behind = offset if response.status_code == 200 else 0
            for piece in response.iter_raw(PIECE_BYTES):
                if len(piece) > behind:
                    yield piece[behind:]
                behind = max(0, behind - len(piece))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _whole(self, method: str, url: str, headers: Mapping[str, str] | None, **options: Any) -> httpx.Response:
        with self._answered(method, url, headers, **options) as response:
            body = bytearray()
            for piece in response.iter_raw(2**16):
                body += piece
                if len(body) > _MOST_BYTES:
                    raise ModelsRefused(f"{_place(response.url)} answers with more than {_MOST_BYTES} bytes.")
            return httpx.Response(response.status_code, headers=response.headers, content=bytes(body))

    @contextmanager
    def _answered(
        self, method: str, url: str, headers: Mapping[str, str] | None, **options: Any
    ) -> Iterator[httpx.Response]:
        try:
            with self._client.stream(method, url, headers=headers, **options) as response:
                if response.status_code in _BUSY:
                    raise Interrupted(f"{_place(response.url)} answers {response.status_code}.")
                if not response.is_success:
                    raise Refused(f"{_place(response.url)} answers {response.status_code}.", response)
                yield response
        except httpx.TooManyRedirects:
            raise ModelsUnavailable(f"{_place(httpx.URL(url))} leads from one place to the next without end.") from None
        except httpx.TransportError as error:
            raise Interrupted(f"{_place(httpx.URL(url))} does not answer ({type(error).__name__}).") from None
        except httpx.InvalidURL:
            raise ModelsUnavailable(f"{_place(httpx.URL(url))} points to what is no address.") from None


def as_object(response: httpx.Response) -> dict[str, Any]:
    """The JSON object that an answer is; raises `ModelsRefused`."""
    try:
        content = response.json()
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ModelsRefused("The place of the models answers with something that is not a JSON object.")
    return content


def _refuse_clear_text(request: httpx.Request) -> None:
    if request.url.scheme != "https" and not is_loopback(request.url.host):
        raise ModelsUnavailable(f"{_place(request.url)} would be asked in clear text, which is for this machine alone.")


def _place(url: httpx.URL) -> str:
    """For people; without a query, which may bear a signature, and without a password."""
    return f"{url.netloc.decode('ascii')}{url.path}"[:300]
