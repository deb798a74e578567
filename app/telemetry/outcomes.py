"""How work ended, as metrics count it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.errors import RequestError


@contextmanager
def outcome_told(tell: Callable[[str], None], success: str = "ok") -> Iterator[None]:
    """Tell once how the `with` block ended: with `success`, the error's code, `cancelled`, or `defect` for all that
    nobody expected.
    """
    outcome = "defect"
    try:
        yield
        outcome = success
    except RequestError as error:
        outcome = error.code
        raise
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    finally:
        tell(outcome)
