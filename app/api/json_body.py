"""A JSON body, read while it arrives: pictures become bytes at once, and what is left of the JSON is small."""

import re
import secrets

from pydantic import ValidationError
from pydantic_core import from_json

from app.api.base64_text import Base64Text
from app.api.body import UploadLimits
from app.api.picture_buffer import PictureBuffer
from app.api.schemas import JsonPredictRequest
from app.core.admission import Permit
from app.errors import InvalidRequest, Overloaded, RequestError

SHORT = 1024
"""Bytes of a string that stays in the JSON; longer ones are taken for pictures."""
MOST_NAMES = 64
"""In one object; each that is not known is an error of its own, and thousands take tens of milliseconds to make."""
PLACE_BYTES = 16 * 1024
PICTURE_BYTES = 2 * SHORT
"""How much JSON there may be beside pictures: for options, and more for each picture that may be sent."""
MOST_BYTES = 1024 * 1024
"""Whatever the settings say: what is not bounded so takes the event loop's time and memory."""

_IN_STRING = re.compile(rb'[^"\\]*+(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^"\\]*+)*+', re.DOTALL)
_SHORT_STRINGS = re.compile(rb'(?:[^"]*+"(?:[^"\\]|\\.){0,512}+")*+', re.DOTALL)
"""As many strings as end here and are none too long, with all in between: one by one they would take milliseconds."""
_LONGEST_ESCAPE = 6
_POSITION = re.compile(r" at line \d+ column \d+")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Picture = bytes | RequestError


class JsonBody:
    """Fed with pieces of the body. Strings too long to be anything but a picture are decoded as they come, and a name
    that nobody can guess stands for each in the JSON that is kept, which `pydantic` then reads.
    """

    def __init__(self, permit: Permit, limits: UploadLimits) -> None:
        self._permit = permit
        self._limits = limits
        self._most = min(MOST_BYTES, PLACE_BYTES + limits.images * PICTURE_BYTES)
        self._name = f"picture-{secrets.token_hex(16)}-"
        self._kept = bytearray()
        self._pictures: list[Picture] = []
        self._string: bytearray | None = None
        self._long: _LongString | None = None
        self._cut = b""

    def feed(self, data: bytes) -> None:
        """Read more; raises `InvalidRequest` as soon as it is clear that the body is none that is taken."""
        if self._cut:
            data, self._cut = self._cut + data, b""
        at = 0
        while at < len(data):
            at = self._outside(data, at) if self._string is None else self._inside(data, at)

    def finish(self) -> tuple[JsonPredictRequest, list[Picture]]:
        """The request, and its pictures in their order."""
        kept = bytes(self._kept).removeprefix(_BYTE_ORDER_MARK)
        self._check_count(kept)
        try:
            request = JsonPredictRequest.model_validate_json(kept)
        except ValidationError as error:
            raise InvalidRequest(f"The JSON body is not as documented at /docs: {self._explain(error)}") from None
        found = [item.image.removeprefix(self._name) for item in request.images if item.image.startswith(self._name)]
        if [int(number) for number in found] != list(range(len(self._pictures))):
            raise InvalidRequest(f"The JSON body has a text of over {SHORT} bytes where no picture belongs.")
        long = iter(self._pictures)
        return request, [
            next(long) if item.image.startswith(self._name) else self._decode(item.image) for item in request.images
        ]

    def _check_count(self, kept: bytes) -> None:
        """Before `pydantic`, which takes tens of milliseconds for thousands of pictures or names, wrong or right."""
        try:
            body = from_json(kept)
        except ValueError:
            return  # what is no JSON is told by who reads it in earnest
        images = body.get("images") if isinstance(body, dict) else None
        items = images if isinstance(images, list) else []
        if len(items) > self._limits.images:
            raise self._too_many()
        for found in (body, *items):
            if isinstance(found, dict) and len(found) > MOST_NAMES:
                raise InvalidRequest(f"The JSON body has more than {MOST_NAMES} names in one object; see /docs.")

    def _outside(self, data: bytes, at: int) -> int:
        short = _SHORT_STRINGS.match(data, at)
        if short is not None and short.end() > at:
            self._keep(data[at : short.end()])
            return short.end()
        quote = data.find(b'"', at)
        end = quote + 1 if quote >= 0 else len(data)
        self._keep(data[at:end])
        if quote >= 0:
            self._string = bytearray()
        return end

    def _inside(self, data: bytes, at: int) -> int:
        """Read on to the string's end or the data's; returns where that is."""
        assert self._string is not None
        end = data.find(b'"', at)
        stop = end if end >= 0 else len(data)
        if data.find(b"\\", at, stop) >= 0:
            found = _IN_STRING.match(data, at)
            stop = found.end() if found else at
            end = stop if data[stop : stop + 1] == b'"' else -1
            if end < 0:  # it is cut off in the midst of an escape, or that is none
                self._cut = data[stop:]
                if len(self._cut) >= _LONGEST_ESCAPE:
                    raise InvalidRequest("The JSON body cannot be read: a text has a damaged escape.")
        self._take(data[at:stop])
        if end >= 0:
            self._end_string()
            return end + 1
        return len(data)

    def _take(self, piece: bytes) -> None:
        if self._long is not None:
            self._long.feed(piece)
        elif len(self._string or b"") + len(piece) <= SHORT:
            assert self._string is not None
            self._string += piece
        else:
            if len(self._pictures) == self._limits.images:
                raise self._too_many()
            self._long = _LongString(PictureBuffer(self._permit, self._limits.image_bytes))
            self._long.feed(bytes(self._string or b"") + piece)

    def _end_string(self) -> None:
        if self._long is not None:
            self._keep(f"{self._name}{len(self._pictures)}".encode())
            self._pictures.append(self._long.finish())
        else:
            self._keep(self._string or b"")
        self._keep(b'"')
        self._string = self._long = None

    def _keep(self, piece: bytes | bytearray) -> None:
        if len(self._kept) + len(piece) > self._most:
            raise InvalidRequest(
                f"The JSON body has more than {self._most} bytes besides its pictures; at most {self._limits.images} "
                "pictures are taken at once."
            )
        self._kept += piece

    def _decode(self, text: str) -> Picture:
        string = _LongString(PictureBuffer(self._permit, self._limits.image_bytes))
        string.feed(text.encode("utf-8", "replace"))
        return string.finish()

    def _too_many(self) -> InvalidRequest:
        return InvalidRequest(f"The request has more than {self._limits.images} pictures, the most taken at once.")

    def _explain(self, error: ValidationError) -> str:
        problems = error.errors(include_url=False, include_context=False, include_input=False)[:5]
        found = [f"{'.'.join(map(str, item['loc']))[:100] or 'body'}: {item['msg']}" for item in problems]
        said = "; ".join(found).replace(self._name, "picture ")[:1000]
        return _POSITION.sub("", said) if self._pictures else said  # positions of the JSON without its pictures


class _LongString:
    """A picture in base64, or what is wrong with it: that is its own answer, and the others are read on."""

    def __init__(self, buffer: PictureBuffer) -> None:
        self._buffer = buffer
        self._text = Base64Text(buffer)
        self._error: RequestError | None = None

    def feed(self, piece: bytes) -> None:
        if self._error is None:
            try:
                self._text.feed(piece)
            except Overloaded:
                raise
            except RequestError as error:
                self._fail(error)

    def finish(self) -> Picture:
        if self._error is None:
            try:
                return self._text.finish()
            except Overloaded:
                raise
            except RequestError as error:
                self._fail(error)
        assert self._error is not None
        return self._error

    def _fail(self, error: RequestError) -> None:
        self._error = error.with_traceback(None)  # it leads back here, and would keep all of this
        self._buffer.drop()
