"""Errors that travel on the wire (AMQP 1.0, part 2, section 2.8.14) and the conditions used here."""

from app.devbus.amqp.types import Described, Symbol

ERROR_DESCRIPTOR = 0x1D

DECODE_ERROR = Symbol("amqp:decode-error")
INTERNAL_ERROR = Symbol("amqp:internal-error")
INVALID_FIELD = Symbol("amqp:invalid-field")
NOT_ALLOWED = Symbol("amqp:not-allowed")
NOT_FOUND = Symbol("amqp:not-found")
NOT_IMPLEMENTED = Symbol("amqp:not-implemented")
RESOURCE_LIMIT_EXCEEDED = Symbol("amqp:resource-limit-exceeded")
UNAUTHORIZED = Symbol("amqp:unauthorized-access")
CONNECTION_FORCED = Symbol("amqp:connection:forced")
FRAMING_ERROR = Symbol("amqp:connection:framing-error")
UNATTACHED_HANDLE = Symbol("amqp:session:unattached-handle")
HANDLE_IN_USE = Symbol("amqp:session:handle-in-use")
DETACH_FORCED = Symbol("amqp:link:detach-forced")
MESSAGE_SIZE_EXCEEDED = Symbol("amqp:link:message-size-exceeded")
TRANSFER_LIMIT_EXCEEDED = Symbol("amqp:link:transfer-limit-exceeded")

# Service Bus's own, as the SDK maps them to its exceptions.
SERVER_BUSY = Symbol("com.microsoft:server-busy")
TIMEOUT = Symbol("com.microsoft:timeout")
MESSAGE_LOCK_LOST = Symbol("com.microsoft:message-lock-lost")
MESSAGE_NOT_FOUND = Symbol("com.microsoft:message-not-found")
SESSION_LOCK_LOST = Symbol("com.microsoft:session-lock-lost")
SESSION_CANNOT_BE_LOCKED = Symbol("com.microsoft:session-cannot-be-locked")
ARGUMENT_ERROR = Symbol("com.microsoft:argument-error")


class AmqpError(Exception):
    """Something the peer is told about: a condition for its program, a description for its reader."""

    def __init__(self, condition: Symbol, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description

    def described(self) -> Described:
        """The error as a value. All three fields are there: the SDK waits for ever for an answer that has fewer."""
        return Described(ERROR_DESCRIPTOR, [self.condition, self.description, {}])
