"""A queue's state machine: no clock of its own, no sockets, no event loop.

    send ──► SCHEDULED ──(time comes)──► ACTIVE ──acquire──► LOCKED ──complete──► gone
               │ cancel ──► gone           ▲ │                │ │ └─defer──► DEFERRED ──acquire_deferred──► LOCKED
                                           │ └(time to live)  │ └─dead_letter, or failed too often──► dead letters
                                           └──abandon, release, lock expired

Every method takes `now`, in seconds since 1970. `changed` is called after anything that may give somebody work: a
message became active, or the next deadline moved closer.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any
from uuid import UUID, uuid4

from app.devbus.amqp.errors import MESSAGE_LOCK_LOST, MESSAGE_NOT_FOUND, NOT_ALLOWED, RESOURCE_LIMIT_EXCEEDED, AmqpError
from app.devbus.amqp.message import Message
from app.devbus.dedup import SeenIds
from app.devbus.depths import Depths
from app.devbus.entry import DESCRIPTION, REASON, Entry, Outcome, State
from app.devbus.options import QueueOptions

DEAD_LETTER_SUFFIX = "$DeadLetterQueue"
_NO_BATCHES = (
    "Batching brokered messages with distinct MessageId is not supported for an entity with partitioning and duplicate "
    "detection enabled."
)


class Queue:
    """One queue, subscription or dead-letter queue."""

    def __init__(self, options: QueueOptions, *, is_dead_letters: bool = False) -> None:
        self.options = options
        self.changed: Callable[[], None] = _nobody_cares
        self.totals: Counter[str] = Counter()
        """Since the start: sent, duplicates, completed, expired, cancelled, dead_lettered; abandoned and lock_ended,
        which both use up a delivery, and released."""
        self.is_full = False
        """Whether it takes nothing more, whatever it holds."""
        self.dead_letters: Queue | None = None if is_dead_letters else Queue(_dead(options), is_dead_letters=True)
        self._numbers = count(1)
        self._entries: dict[int, Entry] = {}
        self._ready: dict[str | None, list[int]] = {}
        self._locks: dict[UUID, Entry] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._states: Counter[State] = Counter()
        self._seen = SeenIds(options.dedup_seconds)

    @property
    def depths(self) -> Depths:
        """How many messages are in each place now."""
        dead = len(self.dead_letters._entries) if self.dead_letters else 0
        return Depths(**{state.value: self._states[state] for state in State}, dead_lettered=dead)

    def has_ready(self, session_id: str | None = None) -> bool:
        """Whether `acquire` would find something."""
        self._drop_stale(session_id)
        return session_id in self._ready

    def check(self, messages: Sequence[Message]) -> None:
        """Raises `AmqpError` where `send` could not take these messages, which were sent together."""
        options = self.options
        if options.refuses_batches and len(messages) > 1:
            raise AmqpError(NOT_ALLOWED, _NO_BATCHES)
        most = 0 if self.is_full else options.most_messages
        if most is not None and len(self._entries) + len(messages) > most:
            raise AmqpError(RESOURCE_LIMIT_EXCEEDED, f"The maximum entity size has been reached for {options.name!r}.")

    def send(self, message: Message, now: float, at: float | None = None) -> int:
        """Take a message in, active from `at` (or what its annotation says) on; 0 for a duplicate, else its number."""
        self.totals["sent"] += 1
        message = message.with_id(uuid4().hex)
        if self._seen.is_duplicate(message.message_id, now):
            self.totals["duplicates"] += 1
            return 0
        start = max(now, at if at is not None else message.scheduled_at)
        entry = Entry(next(self._numbers), message, self._session_of(message), start, self._expiry(message, start))
        self._put(entry, State.SCHEDULED if start > now else State.ACTIVE)
        if start > now:
            self._remind(start, entry)
        self._expire_later(entry, now)
        self.changed()
        return entry.sequence_number

    def acquire(self, now: float, session_id: str | None = None) -> Entry | None:
        """Lock the oldest active message (of that session), or None."""
        entry = self._pop_ready(session_id)
        if entry is not None:
            self._lock(entry, now)
        return entry

    def take(self, session_id: str | None = None) -> Entry | None:
        """Remove the oldest active message (of that session) at once, as receive-and-delete does."""
        entry = self._pop_ready(session_id)
        if entry is not None:
            self._remove(entry, "completed")
        return entry

    def locked(self, token: UUID, now: float) -> Entry:
        """The message under a lock; raises `AmqpError` (message-lock-lost)."""
        entry = self._locks.get(token)
        if entry is None or entry.locked_until <= now:
            raise AmqpError(MESSAGE_LOCK_LOST, "The lock supplied is invalid: it expired, or the message is settled.")
        return entry

    def renew(self, token: UUID, now: float) -> float:
        """Lock for the whole lock duration again; returns until when. Raises `AmqpError` (message-lock-lost)."""
        entry = self.locked(token, now)
        self._hold(entry, now)
        return entry.locked_until

    def settle(
        self,
        token: UUID,
        outcome: Outcome,
        now: float,
        reason: str = "",
        description: str = "",
        properties: dict[Any, Any] | None = None,
    ) -> None:
        """End a lock; `properties` are added to the message's own. Raises `AmqpError` (message-lock-lost)."""
        entry = self.locked(token, now)
        entry.message = entry.message.with_application_properties(properties or {})
        match outcome:
            case Outcome.COMPLETE:
                self._remove(entry, "completed")
            case Outcome.ABANDON:
                self.totals["abandoned"] += 1
                self._fail(entry, now)
            case Outcome.RELEASE:
                self.totals["released"] += 1
                self._unlock(entry, now)
            case Outcome.DEFER:
                entry.deferred = True
                self._unlock(entry, now)
            case Outcome.DEAD_LETTER:
                self._bury(entry, reason, description)

    def acquire_deferred(self, numbers: Iterable[int], now: float, *, delete: bool = False) -> list[Entry]:
        """Lock, or remove, deferred messages by number; raises `AmqpError` (message-not-found) if one is missing."""
        entries = [self._entries.get(number) for number in numbers]
        found = [entry for entry in entries if entry is not None and entry.state is State.DEFERRED]
        if len(found) < len(entries):
            raise AmqpError(MESSAGE_NOT_FOUND, "There is no deferred message with one of these sequence numbers.")
        for entry in found:
            if delete:
                self._remove(entry, "completed")
            else:
                self._lock(entry, now)
        return found

    def cancel(self, numbers: Iterable[int]) -> None:
        """Remove scheduled messages; raises `AmqpError` (message-not-found) if one is not scheduled any more."""
        entries = [self._entries.get(number) for number in numbers]
        for entry in entries:
            if entry is None or entry.state is not State.SCHEDULED:
                raise AmqpError(MESSAGE_NOT_FOUND, "There is no scheduled message with one of these sequence numbers.")
            self._remove(entry, "cancelled")

    def peek(self, first: int = 0, limit: int | None = None, session_id: str | None = None) -> list[Entry]:
        """Look at messages in order of their numbers, from `first` on, in whatever state; all where `limit` is None."""
        entries = (self._entries[number] for number in sorted(self._entries) if number >= first)
        wanted = (entry for entry in entries if session_id is None or entry.session_id == session_id)
        return list(islice(wanted, limit))

    def next_deadline(self) -> float | None:
        """When `advance` has something to do next, or None."""
        while self._deadlines and not self._is_due(*self._deadlines[0]):
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def advance(self, now: float) -> None:
        """Do what time brings: locks end, scheduled messages become active, old ones expire."""
        self._advance_entries(now)

    def _advance_entries(self, now: float) -> None:
        while (deadline := Queue.next_deadline(self)) is not None and deadline <= now:
            _, number = heapq.heappop(self._deadlines)
            self._time_came(self._entries[number], now)
        self.changed()

    def _time_came(self, entry: Entry, now: float) -> None:
        if entry.state is State.SCHEDULED:
            self._put(entry, State.ACTIVE)
        elif entry.state is State.LOCKED:
            self.totals["lock_ended"] += 1
            self._fail(entry, now)
        else:
            self._expire(entry)

    def _is_due(self, when: float, number: int) -> bool:
        """Whether a reminder still means something: locks are renewed, messages settled."""
        entry = self._entries.get(number)
        if entry is None:
            return False
        if entry.state is State.LOCKED:
            return entry.locked_until == when
        return when in (entry.enqueued_at if entry.state is State.SCHEDULED else None, entry.expires_at)

    def _remind(self, when: float, entry: Entry) -> None:
        heapq.heappush(self._deadlines, (when, entry.sequence_number))

    def _lock(self, entry: Entry, now: float) -> None:
        entry.lock_token = uuid4()
        self._locks[entry.lock_token] = entry
        self._move(entry, State.LOCKED)
        self._hold(entry, now)

    def _hold(self, entry: Entry, now: float) -> None:
        entry.locked_until = now + self.options.lock_seconds
        self._remind(entry.locked_until, entry)
        self.changed()

    def _unlock(self, entry: Entry, now: float) -> None:
        self._forget_lock(entry)
        self._put(entry, State.DEFERRED if entry.deferred else State.ACTIVE)
        self._expire_later(entry, now)
        self.changed()

    def _fail(self, entry: Entry, now: float) -> None:
        entry.delivery_count += 1
        if self.dead_letters is not None and entry.delivery_count >= self.options.max_delivery:
            text = f"Message could not be consumed after {entry.delivery_count} delivery attempts."
            self._bury(entry, "MaxDeliveryCountExceeded", text)
        else:
            self._unlock(entry, now)

    def _expire_later(self, entry: Entry, now: float) -> None:
        """Reminders that came up while it was locked are gone."""
        if entry.expires_at is not None and entry.expires_at <= now:
            self._expire(entry)
        elif entry.expires_at is not None:
            self._remind(entry.expires_at, entry)

    def _expire(self, entry: Entry) -> None:
        if self.options.dead_letter_expired and self.dead_letters is not None:
            self._bury(entry, "TTLExpiredException", "The message expired and was dead lettered.")
        else:
            self._remove(entry, "expired")

    def _bury(self, entry: Entry, reason: str, description: str) -> None:
        if self.dead_letters is None:
            raise AmqpError(NOT_ALLOWED, "A dead-letter queue has no dead-letter queue of its own.")
        self._remove(entry, "dead_lettered")
        message = entry.message.with_application_properties({REASON: reason, DESCRIPTION: description})
        self.dead_letters._adopt(replace(entry, message=message, session_id=None, expires_at=None, deferred=False))

    def _adopt(self, entry: Entry) -> None:
        self._put(entry, State.ACTIVE, is_new=True)
        self.changed()

    def _remove(self, entry: Entry, why: str) -> None:
        self._forget_lock(entry)
        self._states[entry.state] -= 1
        del self._entries[entry.sequence_number]
        self.totals[why] += 1

    def _forget_lock(self, entry: Entry) -> None:
        if entry.lock_token is not None:
            self._locks.pop(entry.lock_token, None)
            entry.lock_token = None

    def _put(self, entry: Entry, state: State, *, is_new: bool = False) -> None:
        if is_new or entry.sequence_number not in self._entries:
            self._entries[entry.sequence_number] = entry
            entry.state = state
            self._states[state] += 1
        else:
            self._move(entry, state)
        if state is State.ACTIVE:
            heapq.heappush(self._ready.setdefault(entry.session_id, []), entry.sequence_number)

    def _move(self, entry: Entry, state: State) -> None:
        self._states[entry.state] -= 1
        self._states[state] += 1
        entry.state = state

    def _pop_ready(self, session_id: str | None) -> Entry | None:
        if not self.has_ready(session_id):
            return None
        return self._entries[heapq.heappop(self._ready[session_id])]

    def _drop_stale(self, session_id: str | None) -> None:
        """Messages leave the middle of a heap only by expiring, and are passed over when they come to its top."""
        ready = self._ready.get(session_id)
        while ready and ready[0] not in self._entries:
            heapq.heappop(ready)
        if ready is not None and not ready:
            del self._ready[session_id]

    def _session_of(self, message: Message) -> str | None:
        """A queue without sessions does not ask."""
        return None

    def _expiry(self, message: Message, start: float) -> float | None:
        lives = [ttl for ttl in (message.ttl, self.options.ttl_seconds) if ttl is not None]
        return start + min(lives) if lives else None


def _dead(options: QueueOptions) -> QueueOptions:
    return QueueOptions(f"{options.name}/{DEAD_LETTER_SUFFIX}", lock_seconds=options.lock_seconds)


def _nobody_cares() -> None:
    return
