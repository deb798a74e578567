"""From a request body to pictures' bytes: raw, multipart or base64 in JSON. Limits come before reading."""

from dataclasses import dataclass

from starlette.types import Receive, Scope

from app.api.body import Body, UploadLimits
from app.api.form_body import FormBody
from app.api.json_body import JsonBody
from app.api.picture_buffer import PictureBuffer
from app.api.schemas import PredictOptions
from app.core.admission import Permit
from app.errors import InvalidRequest, RequestError, UnsupportedImage

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
    content_type, declared, encoding, accept, chunked = b"", b"", b"", None, False
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            declared = value
        elif name == b"accept":
            accept = value if accept is None else accept + b"," + value
        elif name == b"content-encoding":
            encoding = value.strip().lower()
        elif name == b"transfer-encoding":
            chunked = True
    length = int(declared) if declared.isdigit() else 0
    body = Body(receive, length, encoding, chunked=chunked)
    return Head(content_type.partition(b";")[0].strip().lower(), content_type, accept, body)


async def receive(head: Head, options: PredictOptions, permit: Permit, limits: UploadLimits) -> ReceivedBody:
    """Read a request's pictures; room for their bytes is taken of `permit` as they arrive.

    Raises `UnsupportedImage`, `InvalidRequest`, `PayloadTooLarge`, `UploadTimeout`, `Overloaded`.
    """
    kind = head.kind
    if kind.startswith(b"image/") or kind in _RAW_TOO:
        picture = PictureBuffer(permit, limits.image_bytes)
        await head.body.read(picture.write, limits.image_bytes, limits)
        if not picture.size:
            raise InvalidRequest(
                "The body is empty. Send the bytes of a picture, for example with curl --data-binary @FILE."
            )
        return ReceivedBody([Upload(None, picture.content())], options, single=True)
    if kind == _FORM:
        form = FormBody(head.content_type, permit, limits)
        await head.body.read(form.feed, limits.body_bytes, limits)
        fields, pictures = form.finish()
        return ReceivedBody([Upload(*picture) for picture in pictures], _merge(options, fields), single=False)
    if kind == _JSON:
        json = JsonBody(permit, limits)
        await head.body.read(json.feed, limits.body_bytes, limits)
        parsed, contents = json.finish()
        uploads = [Upload(item.id, content) for item, content in zip(parsed.images, contents, strict=True)]
        return ReceivedBody(uploads, _merge(options, parsed), single=False)
    raise UnsupportedImage(
        f"A body of type {kind[:100].decode('latin-1')!r} is not taken. Send the picture itself as "
        f"{', '.join(RAW_TYPES)}, or several as multipart/form-data or application/json."
    )


def _merge(query: PredictOptions, body: PredictOptions) -> PredictOptions:
    return query.model_copy(update={name: getattr(body, name) for name in body.model_fields_set if name != "images"})
