"""Bodies of requests that say a word or two: read as JSON whatever their type is called, as Triton reads them."""

import asyncio
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from app.errors import InvalidRequest, UploadTimeout

MOST_BYTES = 64 * 1024
READ_SECONDS = 10.0

T = TypeVar("T", bound=BaseModel)


async def small_model(request: Request, kind: type[T]) -> T:
    """What a request's body says, as a model of that kind; raises what `small_object` raises, and
    `RequestValidationError` for wrong fields.
    """
    content = await _read(request)
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None


def documented(kind: type[BaseModel]) -> dict[str, Any]:
    """Documents a body that `small_model` reads, and FastAPI does not: `openapi_extra` of its endpoint."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def small_object(request: Request) -> dict[str, Any]:
    """The object in a request's body; an empty body is an empty one. Raises `InvalidRequest` where it is none or too
    large, and `UploadTimeout`.
    """
    body = await _read(request)
    try:
        content = from_json(body) if body.strip() else {}
    except ValueError:
        raise InvalidRequest("The body is not JSON.") from None
    if not isinstance(content, dict):
        raise InvalidRequest("The body must be an object.")
    return content


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BYTES:
                    raise InvalidRequest(
                        f"The body has more than {MOST_BYTES} bytes. Files and configurations are not taken from "
                        "requests: put them into the model repository."
                    )
    except TimeoutError:
        raise UploadTimeout(f"The body did not arrive within {READ_SECONDS:.0f} s.") from None
    return bytes(body)
