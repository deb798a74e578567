"""From a request body to pictures' bytes: raw, multipart or base64 in JSON. Limits come before reading."""

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from app.api.schemas import JsonPredictRequest, PredictOptions
from app.core.admission import Permit
from app.errors import InvalidRequest, PayloadTooLarge, UnsupportedImage, UploadTimeout

RAW_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
CURLS_DEFAULT = "application/x-www-form-urlencoded"
"""What `curl --data-binary @FILE` says of any file when it is not told otherwise; taken as a raw picture."""
CHUNKED_ROOM = 256 * 1024
"""Bytes by which the room of a body without a declared length grows."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Bytes of a body, pictures in it, and seconds it may take to arrive."""

    body_bytes: int
    images: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Upload:
    """One picture of a request: its bytes, or the error that is its answer."""

    id: str | None
    content: bytes | InvalidRequest


@dataclass(frozen=True, slots=True)
class ReceivedBody:
    """The pictures of a request. `single`: the body was one raw picture, and the answer is one object."""

    uploads: list[Upload]
    options: PredictOptions
    single: bool


async def receive(request: Request, options: PredictOptions, permit: Permit, limits: UploadLimits) -> ReceivedBody:
    """Read a request's pictures; room for its bytes is taken of `permit` before they are read.

    Raises `UnsupportedImage`, `InvalidRequest`, `PayloadTooLarge`, `UploadTimeout`, `Overloaded`.
    """
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if kind not in (*RAW_TYPES, CURLS_DEFAULT, "multipart/form-data", "application/json"):
        raise UnsupportedImage(
            f"A body of type {kind[:100]!r} is not taken. Send the picture itself as {', '.join(RAW_TYPES)}, "
            "or several as multipart/form-data or application/json."
        )
    body = await _read(request, limits, permit.take_bytes)
    return await _parse(kind, body, request, options, limits)


async def _parse(
    kind: str, body: bytes, request: Request, options: PredictOptions, limits: UploadLimits
) -> ReceivedBody:
    if kind == "multipart/form-data":
        return ReceivedBody(await _from_multipart(request, body, limits), options, single=False)
    if kind == "application/json":
        # Parsing and decoding megabytes of base64 would hold up the event loop.
        parsed, uploads = await asyncio.to_thread(_from_json, body, limits)
        return ReceivedBody(uploads, _merge(options, parsed), single=False)
    if not body:
        raise InvalidRequest(
            "The body is empty. Send the bytes of a picture, for example with curl --data-binary @FILE."
        )
    return ReceivedBody([Upload(None, body)], options, single=True)


async def _read(request: Request, limits: UploadLimits, reserve: Callable[[int], None]) -> bytes:
    """The whole body; `reserve` is called for room before the bytes that fill it are read."""
    chunks: list[bytes] = []
    length, room = 0, _declared_length(request)
    if room > limits.body_bytes:
        raise _too_large(limits)
    reserve(room)
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in request.stream():
                length += len(chunk)
                if length > limits.body_bytes:
                    raise _too_large(limits)
                if length > room:  # a chunked body declares no length: its room grows as it comes
                    reserve(length + CHUNKED_ROOM - room)
                    room = length + CHUNKED_ROOM
                chunks.append(chunk)
    except TimeoutError:
        raise UploadTimeout(f"The request body did not arrive within {limits.seconds:g} seconds.") from None
    except ClientDisconnect:
        raise InvalidRequest("The connection closed before the whole request body had arrived.") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _declared_length(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdecimal() else 0


def _too_large(limits: UploadLimits) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request body is larger than the {limits.body_bytes} bytes that are taken.")


async def _from_multipart(request: Request, body: bytes, limits: UploadLimits) -> list[Upload]:
    async def stream() -> AsyncGenerator[bytes]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=limits.images, max_fields=0)
    parser.spool_max_size = limits.body_bytes  # pictures stay in memory: the root file system may be read-only
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"The multipart body cannot be read: {error.message}") from None
    except (KeyError, UnicodeDecodeError, ValueError):
        # Starlette reads `boundary` and part headers without checking them first.
        raise InvalidRequest(
            "The multipart body cannot be read: its headers are damaged or have no boundary."
        ) from None
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        uploads = [Upload(file.filename, await file.read()) for file in files]
    finally:
        await form.close()
    if not uploads:
        raise InvalidRequest(
            "The multipart body has no files. Send at least one, for example with curl -F image=@FILE."
        )
    return uploads


def _from_json(body: bytes, limits: UploadLimits) -> tuple[JsonPredictRequest, list[Upload]]:
    try:
        parsed = JsonPredictRequest.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in error.errors())
        raise InvalidRequest(f"The JSON body is not as documented at /docs: {problems[:1000]}") from None
    if len(parsed.images) > limits.images:
        raise InvalidRequest(
            f"The request has {len(parsed.images)} pictures; at most {limits.images} are taken at once."
        )
    return parsed, [Upload(item.id, _from_base64(item.image)) for item in parsed.images]


def _from_base64(text: str) -> bytes | InvalidRequest:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return InvalidRequest(
            "The picture is not valid base64. Encode its bytes without line breaks or a data: prefix."
        )


def _merge(query: PredictOptions, body: PredictOptions) -> PredictOptions:
    return query.model_copy(update={name: getattr(body, name) for name in body.model_fields_set if name != "images"})
