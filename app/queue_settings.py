"""The settings of the queue front; `app.settings` has the others, and reads them all."""

from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from app.queue_source import QueueSource
from app.setting_types import Names


class QueueSettings(BaseSettings):
    """Where messages come from, and where their results go."""

    servicebus_namespace: str | None = Field(
        None, description="Service Bus namespace (`NAME.servicebus.windows.net`), entered with the Azure identity."
    )
    servicebus_connection_string: SecretStr | None = Field(
        None, description="Connection string of the namespace, instead of its name and an identity."
    )
    queue: str | None = Field(
        None, description="Queue, or `TOPIC/subscriptions/NAME`, that pictures are received from; empty means none."
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
    queue_sessions: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Sessions received at once, one message after the other in each; empty for queues without them.",
    )
    result_bytes: int = Field(200_000, ge=1000, description="Largest result that is sent in a message, in bytes.")
    results_container: SecretStr | None = Field(
        None, description="URL of the blob container for larger results and annotated pictures; may hold a signature."
    )
    blob_accounts: Names = Field(
        (), description="Storage accounts that pictures are fetched from (`https://NAME.blob.core.windows.net`)."
    )

    @model_validator(mode="after")
    def _check_queue(self) -> Self:
        ways = (self.servicebus_namespace is not None) + (self.servicebus_connection_string is not None)
        if self.queue is not None and ways != 1:
            raise ValueError("ROO_QUEUE needs either ROO_SERVICEBUS_NAMESPACE or ROO_SERVICEBUS_CONNECTION_STRING")
        if self.queue is None and (ways or self.results_queue):
            raise ValueError("Service Bus is set up, but ROO_QUEUE does not say which queue to read")
        if self.queue is not None:
            self._check_source(self.queue)
        if self.queue_sessions is not None and self.queue_sessions > self.queue_held:
            raise ValueError("ROO_QUEUE_SESSIONS must not be more than ROO_QUEUE_HELD: a session holds one message")
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
