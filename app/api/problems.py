"""Errors as `application/problem+json` (RFC 9457), one shape everywhere, from one table."""

import logging
import math
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

from app import errors
from app.api import request_id
from app.api.request_id import request_id_of
from app.oip.not_offered import why_not

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[errors.RequestError], HTTPStatus] = {
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    errors.UploadTimeout: HTTPStatus.REQUEST_TIMEOUT,
    errors.UnsupportedImage: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.InvalidImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.PayloadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.ImageTooLarge: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ModelNotFound: HTTPStatus.NOT_FOUND,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.Loading: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Draining: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.EngineFailure: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.CannotLoad: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.LetterNotFound: HTTPStatus.NOT_FOUND,
    errors.NoPicture: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.QueueUnavailable: HTTPStatus.BAD_GATEWAY,
    errors.UnsupportedEncoding: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.IdentityUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The one table: what a front-independent error is in HTTP."""

_FOR_THE_MOMENT = (
    errors.Draining,
    errors.Loading,
    errors.Overloaded,
    errors.RateLimited,
    errors.IdentityUnavailable,
)
RETRY_SECONDS = 1.0


class Problem(BaseModel):
    """Problem details, RFC 9457 section 3.1, with the members `code`, `retryable` and `request_id` of our own."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["The JPEG ends before its picture does."])
    code: str = Field(examples=["invalid_image"], description="Stable; programs may rely on it.")
    retryable: bool = Field(examples=[False], description="Whether sending the same request again can help.")
    request_id: str


OIP_PREFIX = "/v2"
"""The Open Inference Protocol's clients read `error`, and expect `application/json`."""


class InferenceError(Problem):
    """What every error at `/v2` is: the protocol's own member `error`, and a problem's beside it."""

    error: str = Field(examples=["The model shelf has no input 'x'."], description="The same as `detail`.")


def problem(status: int, code: str, detail: str, request_id: str, *, retryable: bool = False) -> Problem:
    """A problem without a page of its own: RFC 9457 section 4.2.1 asks for the status phrase as its title."""
    title = HTTPStatus(status).phrase
    return Problem(
        type="about:blank",
        title=title,
        status=status,
        detail=detail,
        code=code,
        retryable=retryable,
        request_id=request_id,
    )


COMPUTING: tuple[type[errors.RequestError], ...] = (
    errors.InvalidRequest,
    errors.ModelNotFound,
    errors.UploadTimeout,
    errors.PayloadTooLarge,
    errors.UnsupportedImage,
    errors.UnsupportedEncoding,
    errors.InvalidImage,
    errors.ImageTooLarge,
    errors.EngineFailure,
    errors.Loading,
    errors.Overloaded,
    errors.Draining,
    errors.DeadlineExceeded,
)
"""What any endpoint that computes may answer."""


def problem_of(error: errors.RequestError, request_id: str) -> Problem:
    """What the table makes of an error."""
    return problem(STATUS[type(error)], error.code, str(error), request_id, retryable=error.retryable)


def install(app: FastAPI) -> None:
    """Answer every error in the one shape."""
    app.add_exception_handler(errors.RequestError, _request_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)


def _response(body: Problem, scope: Scope, headers: dict[str, str] | None = None) -> JSONResponse:
    if is_oip(scope["path"]):
        return JSONResponse({"error": body.detail, **body.model_dump()}, body.status, headers)
    return JSONResponse(body.model_dump(), body.status, headers, media_type=MEDIA_TYPE)


def is_oip(path: str) -> bool:
    """Whether errors there are told as the Open Inference Protocol has them."""
    return path == OIP_PREFIX or path.startswith(f"{OIP_PREFIX}/")


async def _request_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.RequestError)
    return response_of(error, request.scope)


def response_of(error: errors.RequestError, scope: Scope, headers: dict[str, str] | None = None) -> JSONResponse:
    """The whole answer that the table makes of an error, for those who stand before the application as well."""
    body = problem_of(error, scope["state"]["request_id"])
    return _response(body, scope, {**retry_header(error), **(headers or {})})


def last_answer(body: Problem, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The whole answer as it goes over the wire, after which the connection ends: for what was no request."""
    content = body.model_dump_json().encode()
    own = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(content)),
        (b"connection", b"close"),
        (request_id.HEADER, body.request_id.encode()),
    ]
    lines = [b"%s: %s\r\n" % header for header in (*headers, *own)]
    return b"".join([b"HTTP/1.1 %d %s\r\n" % (body.status, body.title.encode()), *lines, b"\r\n", content])


def retry_header(error: errors.RequestError) -> dict[str, str]:
    """`Retry-After` in whole seconds (RFC 9110 section 10.2.3) for what is refused for the moment."""
    if isinstance(error, _FOR_THE_MOMENT):
        return {"retry-after": str(math.ceil(error.retry_after or RETRY_SECONDS))}
    return {}


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return of_validation(error, request.scope)


def of_validation(error: RequestValidationError, scope: Scope) -> JSONResponse:
    """The answer to options or JSON that are not as documented."""
    detail = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    code = errors.InvalidRequest.code
    return _response(problem(HTTPStatus.BAD_REQUEST, code, detail[:1000], scope["state"]["request_id"]), scope)


async def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path = request.scope["path"][:200]
    words: dict[int, tuple[str, str]] = {
        404: ("not_found", why_not(path) or f"There is nothing at {path}. The API is described at /docs."),
        405: ("method_not_allowed", f"{path} does not take {request.method}. The API is described at /docs."),
    }
    code, detail = words.get(error.status_code, ("invalid_request", str(error.detail)))
    headers = dict(error.headers or {})
    return _response(problem(error.status_code, code, detail, request_id_of(request)), request.scope, headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return unexpected(request.scope)


def unexpected(scope: Scope) -> JSONResponse:
    """The answer to what nobody foresaw. The traceback goes to the server, which logs it, never to the caller."""
    detail = "Something went wrong inside the service. It has been logged under this request id."
    return _response(problem(500, "internal_error", detail, scope["state"]["request_id"]), scope)


def responses(*kinds: type[errors.RequestError], path: str = "") -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for these errors at `path`."""
    media_type, schema = ("application/json", InferenceError) if is_oip(path) else (MEDIA_TYPE, Problem)
    documented: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status = int(STATUS[kind])
        words = (kind.__doc__ or "").splitlines()[0]
        known = documented.get(status, {}).get("description")
        documented[status] = {
            "description": f"{known} Or: {words}" if known else words,
            "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{schema.__name__}"}}},
        }
    return documented
