"""`Roo-Sticky`: a header of HTTP, and metadata of gRPC, by which requests that belong together meet one version."""

import re
from collections.abc import Iterable

from app.errors import InvalidRequest

HEADER = b"roo-sticky"
PARAMETER = "sticky"
"""Its name among the parameters of the Open Inference Protocol."""
MOST_CHARACTERS = 256
DOCUMENTED = {
    "name": "Roo-Sticky",
    "in": "header",
    "required": False,
    "description": "Requests with the same text, a robot's name for one, are answered by one version of the model, "
    "where several share the traffic.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS},
}
"""The header in OpenAPI's words."""
_ACCEPTED = re.compile(rb"[\x20-\x7e]{1,256}")


def key_in(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key that a request's headers give, their names being in lower case; None where they give none.

    Raises `InvalidRequest` where it is not as it should be, or there are two.
    """
    said = [value for name, value in headers if name == HEADER]
    if not said:
        return None
    if len(said) > 1 or not _ACCEPTED.fullmatch(said[0]):
        raise InvalidRequest("Roo-Sticky is one value of 1 to 256 printable ASCII characters, as a robot's name.")
    return said[0].decode("ascii")
