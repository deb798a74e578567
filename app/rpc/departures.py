"""Callers who go before their answer has reached them are not an error of the service."""

import logging

import grpc

_LOGGER = "grpc._cython.cygrpc"


def keep_out_of_the_log() -> None:
    """gRPC knows of a broken connection only after its answer could not be sent, and logs an error with a traceback."""
    logging.getLogger(_LOGGER).addFilter(_concerns_the_service)


def _concerns_the_service(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, grpc.aio.InternalError)
