"""The settings of the queue front; `app.settings` has the others, and reads them all."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Literal, Self, TypeVar

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from app.queue_source import QueueSource
from app.setting_types import Counts, Names, Shares, Texts

V = TypeVar("V")


DEFAULT_SHARE = 0.1
"""What a queue keeps while those before it have work, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class QueueInput:
    """One queue or subscription that is received from."""

    path: str
    model: str | None
    """The model of messages that name none; None is the service's default."""
    weight: float
    """Its share of the robots' part while all queues have work; those of all queues make 1."""
    sessions: int | None
    """Sessions that are received at once; None where it has none."""


class QueueSettings(BaseSettings):
    """Where messages come from, and where their results go."""

    servicebus_namespace: str | None = Field(
        None, description="Service Bus namespace (`NAME.servicebus.windows.net`), entered with the Azure identity."
    )
    servicebus_connection_string: SecretStr | None = Field(
        None, description="Connection string of the namespace, instead of its name and an identity."
    )
    queue: Names = Field(
        (), description="Queues, or `TOPIC/subscriptions/NAME`, that pictures are received from, the most urgent first."
    )
    queue_model: Texts = Field(
        {}, description="Model of messages that name none: for all queues, or `QUEUE=MODEL` with commas."
    )
    queue_share: Shares = Field(
        {},
        description="Share that a queue behind the first keeps while those before it have work, else 0.1: for all, or "
        "`QUEUE=SHARE` with commas.",
    )
    results_queue: str | None = Field(
        None, description="Queue or topic for the results of messages that name no `reply_to`."
    )
    reply_to: Names = Field(
        (), description="Queues and topics that a message's `reply_to` may name, with commas; empty means all."
    )
    report_failures: bool = Field(
        False, description="Send the problem of a message that is dead-lettered to where its result would have gone."
    )
    queue_held: int = Field(32, ge=1, le=1024, description="Most messages that are held at once.")
    queue_sessions: Counts = Field(
        {},
        description="Sessions received at once, where a queue has any: for all, or `QUEUE=COUNT` with commas.",
    )
    queue_control: Literal["off", "operator", "open"] = Field(
        "operator",
        description="Who may look at the queue's dead letters over HTTP, and send them again or drop them: nobody, "
        "viewers and operators (keys with the scope `viewer` or `operator`, tokens with a role of "
        "`ROO_ENTRA_VIEWER_ROLES` or `ROO_ENTRA_OPERATOR_ROLES`), or whoever may ask (`open`).",
    )
    result_bytes: int = Field(
        200_000, ge=1000, description="Largest result that is sent in a message or posted, in bytes."
    )
    results_container: SecretStr | None = Field(
        None, description="URL of the blob container for larger results and annotated pictures; may hold a signature."
    )
    blob_accounts: Names = Field(
        (), description="Storage accounts that pictures are fetched from (`https://NAME.blob.core.windows.net`)."
    )

    @property
    def queues(self) -> tuple[QueueInput, ...]:
        """What is received from, the most urgent first."""
        shares = [1.0, *(self._of(self.queue_share, path) or DEFAULT_SHARE for path in self.queue[1:]), 0.0]
        # What a queue and those behind it keep of what those before it leave, less what those behind it keep of that.
        left = list(accumulate(shares, mul))
        return tuple(
            QueueInput(
                path,
                self._of(self.queue_model, path),
                left[number] - left[number + 1],
                self._of(self.queue_sessions, path),
            )
            for number, path in enumerate(self.queue)
        )

    @staticmethod
    def _of(said: Mapping[str, V], path: str) -> V | None:
        return said.get(path, said.get(""))

    @model_validator(mode="after")
    def _check_queue(self) -> Self:
        ways = (self.servicebus_namespace is not None) + (self.servicebus_connection_string is not None)
        if ways == 2:
            raise ValueError(
                "ROO_SERVICEBUS_NAMESPACE and ROO_SERVICEBUS_CONNECTION_STRING are both set. Unset one: the former "
                "enters with the Azure identity, the latter with its key"
            )
        if self.queue and not ways:
            raise ValueError("ROO_QUEUE needs either ROO_SERVICEBUS_NAMESPACE or ROO_SERVICEBUS_CONNECTION_STRING")
        if not self.queue and (ways or self.results_queue):
            raise ValueError("Service Bus is set up, but ROO_QUEUE does not say which queue to read")
        if len({path.lower() for path in self.queue}) < len(self.queue):
            raise ValueError("ROO_QUEUE names a queue twice")
        for path in self.queue:
            self._check_source(path)
        self._check_each()
        return self

    def _check_source(self, path: str) -> None:
        try:
            source = QueueSource.of(path)
        except ValueError as error:
            raise ValueError(f"ROO_QUEUE: {error}") from None
        if self.results_queue is not None and source.name.lower() == self.results_queue.lower():
            raise ValueError(
                "ROO_RESULTS_QUEUE is the queue or topic that is read (ROO_QUEUE): results would come back as requests"
            )
        for name in self.reply_to:
            if name.lower() == source.name.lower():
                raise ValueError(
                    f"ROO_REPLY_TO names {name!r}, which is read (ROO_QUEUE): results would come back as requests"
                )

    def _check_each(self) -> None:
        """What is said of queues is said of those that there are, and leaves room for all."""
        for name, said in (
            ("ROO_QUEUE_MODEL", self.queue_model),
            ("ROO_QUEUE_SHARE", self.queue_share),
            ("ROO_QUEUE_SESSIONS", self.queue_sessions),
        ):
            if unknown := said.keys() - {"", *self.queue}:
                raise ValueError(f"{name} names {min(unknown)!r}, which is none of ROO_QUEUE")
        if self.queue_share and len(self.queue) < 2:
            raise ValueError("ROO_QUEUE_SHARE is between several queues, and ROO_QUEUE names only one")
        if self.queue and self.queue[0] in self.queue_share:
            raise ValueError("ROO_QUEUE_SHARE: the first queue has what the others leave; give theirs")
        held = sum(queue.sessions or 1 for queue in self.queues)
        if held > self.queue_held:
            raise ValueError(
                f"ROO_QUEUE_HELD must be at least {held}: each of ROO_QUEUE_SESSIONS, and each queue, holds one message"
            )
