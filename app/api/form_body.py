"""A `multipart/form-data` body (RFC 7578), parsed while it arrives, straight into each picture's own memory."""

import re
from itertools import islice
from urllib.parse import unquote

from pydantic import ValidationError

from app.api.body import UploadLimits
from app.api.picture_buffer import PictureBuffer
from app.core.admission import Permit
from app.errors import InvalidRequest, PayloadTooLarge, RequestError, UnsupportedImage
from app.vision import image
from app.wire.predict_options import PredictOptions

MOST_HEAD_BYTES = 8 * 1024
MOST_BOUNDARY = 200
MOST_PADDING = 256
MOST_OPTION_BYTES = 1024
MOST_PARAMETERS = 32
MOST_OTHERS = 64
"""Parts that are no pictures: options, and files that nobody chose."""

_OPTIONS = frozenset(PredictOptions.model_fields)
_PARAMETER = re.compile(rb';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*+))', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)

Picture = tuple[str | None, bytes | RequestError]
"""A picture's name, and its bytes or what is wrong with it."""


class FormBody:
    """Fed with pieces of the body. A field that is named like an option is one; every other part is a picture."""

    def __init__(self, content_type: bytes, permit: Permit, limits: UploadLimits) -> None:
        boundary = _parameters(content_type).get("boundary", b"")
        if not 0 < len(boundary) <= MOST_BOUNDARY:
            raise _damaged("Content-Type names no boundary")
        self._delimiter = b"\r\n--" + boundary
        self._permit = permit
        self._limits = limits
        self._held = b"\r\n"  # the first boundary may stand at the very beginning
        self._state = FormBody._preamble  # not bound: it would lead back here, and keep all pictures
        self._part: _Part | None = None
        self._parts = 0
        self._pictures: list[Picture] = []
        self._options: dict[str, str] = {}

    def feed(self, data: bytes) -> None:
        """Read more; raises `InvalidRequest` as soon as it is clear that the body cannot be read."""
        data = self._held + data
        at = 0
        while True:
            state, before = self._state, at
            at = state(self, data, at)
            if at == before and self._state is state:
                break
        self._held = data[at:]

    def finish(self) -> tuple[PredictOptions, list[Picture]]:
        """The options among the fields, and the pictures in their order."""
        if self._state is not FormBody._epilogue:
            raise _damaged("it ends before its last boundary")
        try:
            options = PredictOptions.model_validate(self._options)
        except ValidationError as error:
            said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:5])
            raise InvalidRequest(f"A field of the form is not as documented at /docs: {said[:1000]}") from None
        if not self._pictures:
            raise InvalidRequest(
                "The multipart body has no files. Send at least one, for example with curl -F image=@FILE."
            )
        return options, self._pictures

    # Each state reads on from `at` and returns where the next one begins; `at` itself where more must arrive first.

    def _preamble(self, data: bytes, at: int) -> int:
        found = data.find(self._delimiter, at)
        if found < 0:
            return max(at, len(data) - len(self._delimiter) + 1)
        self._state = FormBody._boundary
        return found + len(self._delimiter)

    def _boundary(self, data: bytes, at: int) -> int:
        """After a delimiter: `--` where it was the last, else the end of its line, which belongs to the head."""
        if len(data) - at < 2:
            return at
        if data.startswith(b"--", at):
            self._state = FormBody._epilogue
            return len(data)
        end = data.find(b"\r\n", at, at + MOST_PADDING)
        if data[at : end if end >= 0 else len(data)].strip(b" \t\r") or (end < 0 and len(data) - at >= MOST_PADDING):
            raise _damaged("what follows a boundary is no end of line")
        if end < 0:
            return at
        self._state = FormBody._head
        return end

    def _head(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n\r\n", at, at + MOST_HEAD_BYTES)
        if end < 0:
            if len(data) - at >= MOST_HEAD_BYTES:
                raise _damaged(f"the headers of a part are larger than {MOST_HEAD_BYTES} bytes, or have no end")
            return at
        self._begin_part(data[at:end])
        self._state = FormBody._content
        return end + 4

    def _content(self, data: bytes, at: int) -> int:
        assert self._part is not None
        found = data.find(self._delimiter, at)
        end = found if found >= 0 else max(at, len(data) - len(self._delimiter) + 1)
        if end > at:
            self._part.write(memoryview(data)[at:end])
        if found < 0:
            return end
        self._end_part()
        self._state = FormBody._boundary
        return found + len(self._delimiter)

    def _epilogue(self, data: bytes, at: int) -> int:
        return len(data)

    def _begin_part(self, head: bytes) -> None:
        name, filename = _names(head)
        self._parts += 1
        if self._parts > self._limits.images + MOST_OTHERS:
            raise InvalidRequest("The form has too many fields.")
        is_option = filename is None and name in _OPTIONS
        if not is_option and len(self._pictures) == self._limits.images:
            raise InvalidRequest(f"The form has more than {self._limits.images} pictures, the most taken at once.")
        most = MOST_OPTION_BYTES if is_option else self._limits.image_bytes
        self._part = _Part(name, filename, PictureBuffer(self._permit, most), is_option=is_option)

    def _end_part(self) -> None:
        part, self._part = self._part, None
        assert part is not None
        content = part.content()
        if part.is_option:
            if isinstance(content, RequestError):
                raise InvalidRequest(f"The form's field {part.name!r} is too long for an option.")
            if value := content.decode("utf-8", "replace").strip():  # browsers send fields that were left empty
                before = self._options.get(part.name) if part.name == "classes" else None
                self._options[part.name] = f"{before},{value}" if before else value
        elif part.filename != "" or content:  # a form's file that nobody chose is sent with neither name nor content
            part.check_field(content)
            self._pictures.append((part.filename or part.name or None, content))


class _Part:
    """What arrives between two boundaries."""

    def __init__(self, name: str, filename: str | None, buffer: PictureBuffer, *, is_option: bool) -> None:
        self.name = name
        self.filename = filename
        self.is_option = is_option
        self._buffer = buffer
        self._error: PayloadTooLarge | None = None

    def write(self, data: memoryview) -> None:
        if self._error is None:
            try:
                self._buffer.write(data)
            except PayloadTooLarge as error:
                self._error = error.with_traceback(None)  # it leads back here, and would keep all of this

    def content(self) -> bytes | RequestError:
        return self._error or self._buffer.content()

    def check_field(self, content: bytes | RequestError) -> None:
        """Raises `InvalidRequest` for a short field that is neither a picture nor an option: one that is misspelt."""
        if self.filename is not None or isinstance(content, RequestError) or len(content) > MOST_OPTION_BYTES:
            return
        try:
            image.read_header(content)
        except UnsupportedImage:
            raise InvalidRequest(
                f"The form's field {self.name[:100]!r} is neither a picture nor one of the options "
                f"{', '.join(sorted(_OPTIONS))}."
            ) from None
        except RequestError:
            return  # a picture, if a damaged one


def _names(head: bytes) -> tuple[str, str | None]:
    """A part's name and its file's, which is None where it says none (RFC 7578 section 4.2; RFC 8187 for `*`)."""
    for line in head.split(b"\r\n"):
        field, _, value = line.partition(b":")
        if field.strip().lower() == b"content-disposition":
            found = _parameters(value)
            filename = found.get("filename")
            text = None if filename is None else _text(filename)
            if "filename*" in found:
                text = unquote(found["filename*"].decode("latin-1").rpartition("'")[2])
            return _text(found.get("name", b"")), text
    return "", None


def _parameters(value: bytes) -> dict[str, bytes]:
    return {
        name.decode("ascii", "replace").lower(): _ESCAPE.sub(rb"\1", quoted) if quoted else plain or b""
        for name, quoted, plain in (found.groups() for found in islice(_PARAMETER.finditer(value), MOST_PARAMETERS))
    }


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")[:256]


def _damaged(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The multipart body cannot be read: {reason}.")
