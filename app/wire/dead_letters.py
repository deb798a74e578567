"""Queues and their dead letters, as people are told of them and say what is to become of them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from app.wire.options import RequestOptions

MOST_NUMBERS = 1000
MOST_LETTERS = 200
MOST_SECONDS = 7 * 86_400
_LARGEST_NUMBER = 2**63 - 1


def _is_number_of_a_letter(text: str) -> str:
    if int(text) > _LARGEST_NUMBER:
        raise ValueError(f"sequence numbers end at {_LARGEST_NUMBER}")
    return text


Number = Annotated[str, Field(pattern=r"^[0-9]{1,19}$"), AfterValidator(_is_number_of_a_letter)]
"""A sequence number, as text: those of partitioned queues are larger than what JavaScript's numbers hold exactly."""


class QueueState(BaseModel):
    """One queue that is received from: how the link stands, what waits and what is held."""

    queue: str
    state: str = Field(description="`connecting`, `connected`, `disconnected` or `stopped`.")
    reason: str = Field(description="Why there is no link; empty where there is one.")
    halted: str = Field(description="Why nothing is taken although there is a link; empty while all is well.")
    credit: int = Field(description="Messages that would be taken now.")
    held: int = Field(description="Messages that this replica holds.")
    oldest_age_seconds: float = Field(description="Age of the oldest that is held; 0 where none is.")
    depth: dict[str, int] = Field(
        description="Messages on the queue by state, as the broker counts them; empty where it does not tell."
    )
    topic: str | None = Field(description="Of a subscription: the topic that copies of its letters go to.")


class QueueList(BaseModel):
    """The queues of the settings, the most urgent first."""

    queues: list[QueueState]


class DeadLetterRow(BaseModel):
    """What a list tells of a dead letter. All texts are the sender's: show them as text."""

    sequence_number: str
    message_id: str
    reason: str
    description: str
    delivery_count: int
    sent_at: AwareDatetime | None
    robot_id: str | None
    body_bytes: int


class DeadLetterDetails(DeadLetterRow):
    """All of a dead letter but its body."""

    content_type: str | None
    correlation_id: str | None
    reply_to: str | None
    session_id: str | None
    properties: dict[str, str]


class DeadLetterFilter(BaseModel):
    """Which letters are meant; what is left out leaves none out."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = Field(None, max_length=256, description="Those with this dead-letter reason.")
    robot_id: str | None = Field(None, max_length=256, description="Those of this robot.")
    sent_after: AwareDatetime | None = Field(None, description="Those that were sent then or later.")
    sent_before: AwareDatetime | None = Field(None, description="Those that were sent before then.")


class DeadLetterQuery(DeadLetterFilter):
    """A page of letters."""

    queue: str = Field(max_length=512, description="A queue of `/v1/queues`.")
    start: Number = Field("0", description="From this sequence number on: `next` of the page before.")
    limit: int = Field(100, ge=1, le=MOST_LETTERS, description="At most so many.")


class DeadLetterPage(BaseModel):
    """Letters in the order of their numbers, the oldest first."""

    letters: list[DeadLetterRow]
    next: str | None = Field(description="Go on from this number; null at the end. A page may be short of its limit.")


class LetterOptions(RequestOptions):
    """What a copy asks for instead of what its sender asked for; what is left out stays as it was."""

    model: str | None = Field(None, max_length=256)
    version: str | None = Field(None, max_length=64)
    priority: Literal["high", "normal", "low"] | None = None

    def changes(self) -> dict[str, Any]:
        """Fields and their values, as a message says them."""
        return self.model_dump(mode="json", exclude_none=True)


class _Order(BaseModel):
    """Which letters of which queue are worked off."""

    model_config = ConfigDict(extra="forbid")

    queue: str = Field(max_length=512)
    numbers: list[Number] | None = Field(
        None, min_length=1, max_length=MOST_NUMBERS, description="These, or instead `matching`."
    )
    matching: DeadLetterFilter | None = Field(None, description="All that it fits, an empty one fits all.")
    up_to: Number | None = Field(
        None, description="With `matching`: none with a larger number, so that none is meant that nobody has seen."
    )

    @model_validator(mode="after")
    def _which(self) -> "_Order":
        if (self.numbers is None) == (self.matching is None):
            raise ValueError("give either `numbers` or `matching`")
        if self.up_to is not None and self.numbers is not None:
            raise ValueError("`up_to` goes with `matching`; of `numbers` all are meant")
        return self


class Resubmission(_Order):
    """Letters that are to be sent again."""

    options: LetterOptions = Field(LetterOptions(), description="What the copies ask for instead.")
    duplicate_window: float | None = Field(
        None,
        ge=0,
        le=MOST_SECONDS,
        description="Seconds for which the queue remembers ids (duplicate detection); 0 where it does not. Asked of "
        "the broker where left out.",
    )
    to_topic: bool = Field(False, description="Of a subscription: send to its topic, and so to all subscriptions.")


class Removal(_Order):
    """Letters that are to be removed for good, and why."""

    reason: str = Field(min_length=1, max_length=500, description="Why; it is kept in the audit log.")


class Worked(BaseModel):
    """A line of the answer to an order: first `total`, then a line for each letter, last how many are `done`."""

    total: int | None = Field(None, description="Letters that are meant, in the first line.")
    sequence_number: str | None = None
    trouble: str | None = Field(None, description="Why the letter stays, or the work ended early.")
    done: int | None = Field(None, description="Letters that are gone from here, in the last line.")
    stay: int | None = Field(None, description="Letters that stay, in the last line.")
