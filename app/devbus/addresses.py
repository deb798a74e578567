"""Where a link leads: the SDK writes whole URIs, other clients may write bare paths."""

from enum import Enum
from typing import Any

from app.devbus.amqp.errors import INVALID_FIELD, AmqpError
from app.devbus.amqp.types import Described

CBS = "$cbs"
MANAGEMENT_SUFFIX = "/$management"
SUBSCRIPTIONS = "/subscriptions/"


class Kind(Enum):
    """What answers at an address."""

    ENTITY = "entity"
    MANAGEMENT = "management"
    CBS = "cbs"


def read(terminus: Described | None) -> tuple[Kind, str]:
    """The kind and the entity path, in lower case, of a source or target (AMQP 1.0, part 3, 3.5.3 and 3.5.4)."""
    path = _path(_address(terminus)).lower()
    if path == CBS:
        return Kind.CBS, ""
    if path.endswith(MANAGEMENT_SUFFIX):
        return Kind.MANAGEMENT, path.removesuffix(MANAGEMENT_SUFFIX)
    return Kind.ENTITY, path


def _address(terminus: Described | None) -> Any:
    fields = terminus.value if terminus is not None else None
    if not isinstance(fields, list) or not fields or not isinstance(fields[0], str):
        raise AmqpError(INVALID_FIELD, "A link must have an address.")
    return fields[0]


def _path(address: str) -> str:
    _, scheme, rest = address.partition("://")
    return (rest.partition("/")[2] if scheme else address).strip("/")
