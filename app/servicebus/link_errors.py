"""What the SDK raises, told apart in one place: an answer of the broker, or a link that is gone."""

import contextlib
from collections.abc import Iterator

from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageSizeExceededError,
    MessagingEntityDisabledError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
    ServiceBusServerBusyError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)

_ANSWERS = (
    MessageLockLostError,
    MessageSizeExceededError,
    MessagingEntityDisabledError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusQuotaExceededError,
    ServiceBusServerBusyError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)
_REFUSING = ("amqp:not-allowed", "amqp:not-implemented", "com.microsoft:argument-error")
"""Conditions of the plain `ServiceBusError` with which the broker says no to what it was asked."""

_MOST_WORDS = 300


class LinkLost(Exception):
    """The link that we speak over is gone, or nothing is heard on it. Opening another may help."""


@contextlib.contextmanager
def speaking() -> Iterator[None]:
    """Let the broker's answers through; whatever else the SDK raises says that the link is gone, and is `LinkLost`.

    There is no list of what a lost connection looks like: by the moment at which it is lost, it is an AMQP error, an
    `OSError`, a `ValueError` where the SDK has shut its handler down, and an `AttributeError` where it is about to.
    """
    try:
        yield
    except LinkLost:
        raise
    except Exception as error:
        if is_answer(error):
            raise
        raise LinkLost(words(error)) from error


def is_answer(error: BaseException) -> bool:
    """Whether the broker said this, over a link that works."""
    if isinstance(error, _ANSWERS):
        return True
    return type(error) is ServiceBusError and any(condition in str(error) for condition in _REFUSING)


def words(error: BaseException) -> str:
    """An error for people, on one line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:_MOST_WORDS]
