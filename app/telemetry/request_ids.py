"""Ids of requests: the caller's own, or a new one; they stand in every line that is logged about a request."""

import random
import re
from collections.abc import Iterable

HEADER = b"x-request-id"
_ACCEPTED = re.compile(rb"[\x21-\x7e]{1,128}")


def id_for(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id that the caller gave, or a new one."""
    for name, value in headers:
        if name == HEADER and _ACCEPTED.fullmatch(value):
            return str(value.decode("ascii"))
    return f"{random.getrandbits(128):032x}"  # unique is enough: nothing is kept secret by it
