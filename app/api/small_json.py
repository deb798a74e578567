"""A small JSON body, read within bounds: FastAPI would take one of any size, for as long as it comes."""

import asyncio
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from app.errors import InvalidRequest, UploadTimeout

MOST_BYTES = 64 * 1024
READ_SECONDS = 10.0

T = TypeVar("T", bound=BaseModel)


async def read(request: Request, kind: type[T]) -> T:
    """What the body says; raises `InvalidRequest`, `UploadTimeout`, and `RequestValidationError` for wrong fields."""
    body = b""
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BYTES:
                    raise InvalidRequest(f"The body has more than {MOST_BYTES} bytes.")
    except TimeoutError:
        raise UploadTimeout(f"The body did not arrive within {READ_SECONDS:.0f} s.") from None
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None
