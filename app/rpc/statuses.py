"""What a front-independent error is in gRPC: one table."""

import math

import grpc

from app import errors

STATUS: dict[type[errors.RequestError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotAcceptable: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnsupportedImage: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidImage: grpc.StatusCode.INVALID_ARGUMENT,
    errors.PayloadTooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ImageTooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UploadTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.ModelNotFound: grpc.StatusCode.NOT_FOUND,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Loading: grpc.StatusCode.UNAVAILABLE,
    errors.Overloaded: grpc.StatusCode.UNAVAILABLE,
    errors.Draining: grpc.StatusCode.UNAVAILABLE,
    errors.EngineFailure: grpc.StatusCode.INTERNAL,
    errors.Unauthorized: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.CannotLoad: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LetterNotFound: grpc.StatusCode.NOT_FOUND,
    errors.NoPicture: grpc.StatusCode.FAILED_PRECONDITION,
    errors.QueueUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.UnsupportedEncoding: grpc.StatusCode.INVALID_ARGUMENT,
    errors.RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.IdentityUnavailable: grpc.StatusCode.UNAVAILABLE,
}

MOST_DETAILS = 2000
"""Characters: a longer text may not fit into what a peer takes of headers, and the call would fail for that instead."""


def details(error: errors.RequestError) -> str:
    """The words for the caller."""
    return str(error)[:MOST_DETAILS]


def trailing(error: errors.RequestError, request_id: str) -> tuple[tuple[str, str], ...]:
    """What a problem over HTTP says beside its words: `code`, `retryable`, `retry-after` (seconds), the request id."""
    found = [("code", error.code), ("retryable", str(error.retryable).lower()), ("x-request-id", request_id)]
    if error.retry_after is not None:
        found.append(("retry-after", str(math.ceil(error.retry_after))))
    return tuple(found)
