"""What becomes of a message, from one table.

A message that was answered, with its result stored, is completed. For all else the error decides: what will never
succeed goes to the dead-letter queue with a reason that an operator can act on; what may succeed later, or elsewhere,
is abandoned and comes again; what nobody has tried is released, which uses up no delivery; what is no longer ours is
left alone.
"""

from dataclasses import dataclass
from enum import Enum

from app import errors


class Verb(Enum):
    """How a message is settled; `LEAVE` does nothing, its lock is the broker's affair."""

    COMPLETE = "complete"
    DEAD_LETTER = "dead_letter"
    ABANDON = "abandon"
    RELEASE = "release"
    """Given back as if it had never been delivered: this delivery is not counted."""
    LEAVE = "leave"


VERBS: dict[type[errors.RequestError], Verb] = {
    errors.InvalidRequest: Verb.DEAD_LETTER,
    errors.NotAcceptable: Verb.DEAD_LETTER,
    errors.UnsupportedImage: Verb.DEAD_LETTER,
    errors.InvalidImage: Verb.DEAD_LETTER,
    errors.PayloadTooLarge: Verb.DEAD_LETTER,
    errors.ImageTooLarge: Verb.DEAD_LETTER,
    errors.ModelNotFound: Verb.DEAD_LETTER,
    errors.DeadlineExceeded: Verb.DEAD_LETTER,
    errors.InvalidMessage: Verb.DEAD_LETTER,
    errors.SourceRefused: Verb.DEAD_LETTER,
    errors.SourceNotFound: Verb.DEAD_LETTER,
    errors.ReplyRefused: Verb.DEAD_LETTER,
    errors.ResultTooLarge: Verb.DEAD_LETTER,
    errors.ResultRefused: Verb.DEAD_LETTER,
    errors.UploadTimeout: Verb.ABANDON,
    errors.Overloaded: Verb.RELEASE,
    errors.Loading: Verb.RELEASE,
    errors.Draining: Verb.RELEASE,
    errors.EngineFailure: Verb.ABANDON,
    errors.StorageUnavailable: Verb.ABANDON,
    errors.ResultsUnavailable: Verb.ABANDON,
    errors.LockLost: Verb.LEAVE,
}
"""The one table: what a front-independent error does to a message."""

FIRST_DELAY = 0.5
MOST_DELAY = 30.0
_MOST_DESCRIPTION = 1024


@dataclass(frozen=True, slots=True)
class Settlement:
    """What to do with a message; `reason` and `description` are what an operator reads in the dead-letter queue."""

    verb: Verb
    reason: str = ""
    description: str = ""


COMPLETE = Settlement(Verb.COMPLETE)
ABANDON = Settlement(Verb.ABANDON)
RELEASE = Settlement(Verb.RELEASE)
LEAVE = Settlement(Verb.LEAVE)


def settlement_for(error: errors.RequestError) -> Settlement:
    """What the table makes of an error."""
    return Settlement(VERBS[type(error)], type(error).__name__, str(error)[:_MOST_DESCRIPTION])


def delay_before_abandoning(delivery_count: int) -> float:
    """Seconds for which a message is kept before it is given back: twice as long at each delivery.

    Given back at once, it would come again at once, and its deliveries would be used up within a second.
    """
    return min(MOST_DELAY, FIRST_DELAY * 2.0 ** min(delivery_count, 16))
