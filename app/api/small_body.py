"""Bodies of requests that say a word or two: read as JSON whatever their type is called, as Triton reads them."""

import asyncio
from typing import Any

from fastapi import Request
from pydantic_core import from_json

from app.errors import InvalidRequest, UploadTimeout

MOST_BYTES = 64 * 1024
READ_SECONDS = 10.0


async def small_object(request: Request) -> dict[str, Any]:
    """The object in a request's body; an empty body is an empty one. Raises `InvalidRequest` where it is none or too
    large, and `UploadTimeout`.
    """
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
    try:
        content = from_json(bytes(body)) if body.strip() else {}
    except ValueError:
        raise InvalidRequest("The body is not JSON.") from None
    if not isinstance(content, dict):
        raise InvalidRequest("The body must be an object.")
    return content
