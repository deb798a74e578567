"""From a request body to pictures' bytes: raw, multipart or base64 in JSON. Limits come before reading."""

import asyncio
from dataclasses import dataclass

from starlette.types import Receive, Scope

from app.api.body import Body, UploadLimits, content_length
from app.api.form_body import FormBody
from app.api.json_body import JsonBody
from app.api.picture_buffer import PictureBuffer
from app.api.unpacking import PLAIN
from app.core.admission import Permit
from app.errors import InvalidRequest, RequestError, UnsupportedImage
from app.wire.predict_options import PredictOptions

RAW_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
"""As they are documented. What a picture is, is seen from its bytes: any `image/…` and none at all will do as well."""
_RAW_TOO = (
    b"",
    b"application/octet-stream",
    b"binary/octet-stream",
    b"application/x-www-form-urlencoded",  # what `curl --data-binary @FILE` says of any file unless told otherwise
)
_FORM = b"multipart/form-data"
_JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class Upload:
    """One picture of a request: its bytes, or the error that is its answer."""

    id: str | None
    content: bytes | RequestError


@dataclass(frozen=True, slots=True)
class ReceivedBody:
    """The pictures of a request. `single`: the body was one raw picture, and the answer is one object."""

    uploads: list[Upload]
    options: PredictOptions
    single: bool


@dataclass(frozen=True, slots=True)
class Head:
    """What a request's headers say that matters here. `content_type` is the whole header, `kind` its media type."""

    kind: bytes
    content_type: bytes
    accept: bytes | None
    body: Body


def read_head(scope: Scope, receive: Receive) -> Head:
    """Look at the headers once."""
    content_type, declared, encoding, accept = b"", b"", b"", None
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            declared = value
        elif name == b"accept":
            accept = value if accept is None else accept + b"," + value
        elif name == b"content-encoding":
            encoding = value.strip().lower()
    body = Body(receive, content_length(declared), encoding)
    return Head(content_type.partition(b";")[0].strip().lower(), content_type, accept, body)


class Uploads:
    """Reads requests' pictures within these limits."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._turns = asyncio.Lock()

    async def receive(self, head: Head, options: PredictOptions, permit: Permit) -> ReceivedBody:
        """Read a request's pictures; room for their bytes is taken of `permit` as they arrive.

        Raises `UnsupportedImage`, `InvalidRequest`, `PayloadTooLarge`, `UploadTimeout`, `Overloaded`.
        """
        kind = head.kind
        if kind.startswith(b"image/") or kind in _RAW_TOO:
            return await self._raw(head.body, options, permit)
        if kind == _FORM:
            return await self._form(head, options, permit)
        if kind == _JSON:
            return await self._json(head.body, options, permit)
        raise UnsupportedImage(
            f"A body of type {kind[:100].decode('latin-1')!r} is not taken. Send the picture itself as "
            f"{', '.join(RAW_TYPES)}, or several as multipart/form-data or application/json."
        )

    async def _raw(self, body: Body, options: PredictOptions, permit: Permit) -> ReceivedBody:
        picture, most = PictureBuffer(permit, self._limits.image_bytes), self._limits.image_bytes
        if body.encoding in PLAIN:
            await body.read(picture.write, most, self._limits)
        else:
            await body.read_in_turns(picture.write, most, self._limits, permit, self._turns)
        if not picture.size:
            raise InvalidRequest(
                "The body is empty. Send the bytes of a picture, for example with curl --data-binary @FILE."
            )
        return ReceivedBody([Upload(None, picture.content())], options, single=True)

    async def _form(self, head: Head, options: PredictOptions, permit: Permit) -> ReceivedBody:
        form = FormBody(head.content_type, permit, self._limits)
        await head.body.read_in_turns(form.feed, self._limits.body_bytes, self._limits, permit, self._turns)
        fields, pictures = form.finish()
        return ReceivedBody([Upload(*picture) for picture in pictures], _merge(options, fields), single=False)

    async def _json(self, body: Body, options: PredictOptions, permit: Permit) -> ReceivedBody:
        json = JsonBody(permit, self._limits)
        await body.read_in_turns(json.feed, self._limits.body_bytes, self._limits, permit, self._turns)
        async with self._turns:
            parsed, contents = json.finish()
            await asyncio.sleep(0)
        uploads = [Upload(item.id, content) for item, content in zip(parsed.images, contents, strict=True)]
        return ReceivedBody(uploads, _merge(options, parsed), single=False)


def _merge(query: PredictOptions, body: PredictOptions) -> PredictOptions:
    return query.model_copy(update={name: getattr(body, name) for name in body.model_fields_set if name != "images"})
