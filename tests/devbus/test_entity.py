"""The queue's state machine by itself: whatever is done, every message is in exactly one place."""

from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.devbus.amqp.encode import encoded
from app.devbus.amqp.errors import MESSAGE_LOCK_LOST, AmqpError
from app.devbus.amqp.message import PROPERTIES, Message
from app.devbus.amqp.types import Described, Uint
from app.devbus.entity import Queue
from app.devbus.entry import ENQUEUED_SEQUENCE_NUMBER, MESSAGE_STATE, Entry, Outcome, State
from app.devbus.options import QueueOptions


def message(identifier: str | None = None, ttl: float | None = None) -> Message:
    header = [None, None, Uint(round(ttl * 1000))] if ttl is not None else []
    return Message(header, properties=encoded(Described(PROPERTIES, [identifier])))


def acquire(queue: Queue, now: float) -> Entry:
    entry = queue.acquire(now)
    assert entry is not None
    return entry


class Conservation(RuleBasedStateMachine):
    """Random histories of a queue under a clock that only goes forward."""

    @initialize(
        max_delivery=st.integers(1, 3),
        ttl=st.sampled_from([None, 20.0]),
        dedup=st.sampled_from([0.0, 10.0]),
        mourned=st.booleans(),
    )
    def start(self, max_delivery: int, ttl: float | None, dedup: float, mourned: bool) -> None:
        self.now = 1000.0
        self.queue = Queue(
            QueueOptions(
                "q",
                lock_seconds=5,
                max_delivery=max_delivery,
                ttl_seconds=ttl,
                dedup_seconds=dedup,
                dead_letter_expired=mourned,
            )
        )
        self.tokens = [uuid4()]
        self.numbers = [0]

    @rule(identifier=st.sampled_from("abc"), ttl=st.sampled_from([None, 3.0, 30.0]), wait=st.sampled_from([0.0, 4.0]))
    def send(self, identifier: str, ttl: float | None, wait: float) -> None:
        self.numbers.append(self.queue.send(message(identifier, ttl), self.now, self.now + wait))

    @rule()
    def acquire(self) -> None:
        entry = self.queue.acquire(self.now)
        if entry is not None:
            assert entry.lock_token is not None
            self.tokens.append(entry.lock_token)

    @rule()
    def take(self) -> None:
        self.queue.take()

    @rule(choice=st.integers(0), outcome=st.sampled_from(Outcome))
    def settle(self, choice: int, outcome: Outcome) -> None:
        self.attempt(lambda: self.queue.settle(self.tokens[choice % len(self.tokens)], outcome, self.now))

    @rule(choice=st.integers(0))
    def renew(self, choice: int) -> None:
        self.attempt(lambda: self.queue.renew(self.tokens[choice % len(self.tokens)], self.now))

    @rule(choice=st.integers(0), delete=st.booleans())
    def acquire_deferred(self, choice: int, delete: bool) -> None:
        number = self.numbers[choice % len(self.numbers)]

        def work() -> None:
            for entry in self.queue.acquire_deferred([number], self.now, delete=delete):
                self.tokens += [entry.lock_token] if entry.lock_token else []

        self.attempt(work)

    @rule(choice=st.integers(0))
    def cancel(self, choice: int) -> None:
        self.attempt(lambda: self.queue.cancel([self.numbers[choice % len(self.numbers)]]))

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0, 25.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds
        self.queue.advance(self.now)
        deadline = self.queue.next_deadline()
        assert deadline is None or deadline > self.now

    @invariant()
    def every_message_is_in_exactly_one_place(self) -> None:
        totals, depths = self.queue.totals, self.queue.depths
        gone = sum(totals[why] for why in ("duplicates", "completed", "expired", "cancelled"))
        assert totals["sent"] == depths.total + gone
        assert depths.dead_lettered == totals["dead_lettered"]
        entries = self.queue.peek()
        assert len(entries) == depths.total - depths.dead_lettered
        assert {state: sum(entry.state is state for entry in entries) for state in State} == {
            state: getattr(depths, state.value) for state in State
        }

    @invariant()
    def nothing_outlives_its_time(self) -> None:
        for entry in self.queue.peek():
            if entry.state is not State.LOCKED:
                assert entry.expires_at is None or entry.expires_at > self.now

    @invariant()
    def what_is_active_can_be_had(self) -> None:
        assert self.queue.has_ready() is (self.queue.depths.active > 0)

    def attempt(self, work: Callable[[], object]) -> None:
        """Whatever is refused must change nothing; the invariants see to that."""
        with suppress(AmqpError):
            work()


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_messages_come_in_the_order_of_their_numbers_even_when_abandoned() -> None:
    queue = Queue(QueueOptions("q"))
    for _ in range(3):
        queue.send(message(), 0.0)
    first = acquire(queue, 0.0)
    second = acquire(queue, 0.0)
    for entry in (second, first):
        assert entry.lock_token is not None
        queue.settle(entry.lock_token, Outcome.ABANDON, 1.0)
    assert [acquire(queue, 2.0).sequence_number for _ in range(3)] == [1, 2, 3]


def test_a_lock_is_lost_at_its_end_even_before_the_clockwork_says_so() -> None:
    queue = Queue(QueueOptions("q", lock_seconds=5))
    queue.send(message(), 0.0)
    token = acquire(queue, 0.0).lock_token
    assert token is not None
    assert queue.renew(token, 4.0) == 9.0
    with pytest.raises(AmqpError) as caught:
        queue.settle(token, Outcome.COMPLETE, 9.0)
    assert caught.value.condition == MESSAGE_LOCK_LOST


def test_a_message_that_expires_under_its_lock_goes_when_the_lock_does() -> None:
    queue = Queue(QueueOptions("q", lock_seconds=10, ttl_seconds=5))
    queue.send(message(), 0.0)
    token = acquire(queue, 0.0).lock_token
    assert token is not None
    queue.advance(6.0)
    assert queue.depths.locked == 1
    queue.settle(token, Outcome.ABANDON, 7.0)
    assert queue.depths.total == 0
    assert queue.totals["expired"] == 1


def test_a_message_that_was_locked_and_given_back_still_expires() -> None:
    queue = Queue(QueueOptions("q", lock_seconds=30, ttl_seconds=20))
    queue.send(message(), 0.0)
    token = acquire(queue, 0.0).lock_token
    assert token is not None
    assert queue.next_deadline() == 30.0
    queue.settle(token, Outcome.ABANDON, 5.0)
    assert queue.next_deadline() == 20.0


def test_a_message_id_is_forgotten_after_its_window() -> None:
    queue = Queue(QueueOptions("q", dedup_seconds=10))
    assert [queue.send(message("a"), now) for now in (0.0, 9.0, 10.0, 19.0, 25.0)] == [1, 0, 2, 0, 3]


def test_a_cancelled_message_is_not_found_again() -> None:
    queue = Queue(QueueOptions("q"))
    number = queue.send(message(), 0.0, 60.0)
    queue.cancel([number])
    queue.advance(61.0)
    assert queue.acquire(61.0) is None


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("jobs", QueueOptions("jobs")),
        ("jobs, lock=5, max_delivery=3", QueueOptions("jobs", lock_seconds=5, max_delivery=3)),
        ("r,dedup=60,ttl=9,dlq_expired", QueueOptions("r", dedup_seconds=60, ttl_seconds=9, dead_letter_expired=True)),
        ("rows,sessions", QueueOptions("rows", sessions=True)),
    ],
)
def test_options_are_read(text: str, options: QueueOptions) -> None:
    assert QueueOptions.parse(text) == options


@pytest.mark.parametrize("text", ["", ",lock=1", "q,lock", "q,lock=0", "q,lock=nan", "q,lok=1", "q,sessions=yes"])
def test_options_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"=|lock|no queue|unknown"):
        QueueOptions.parse(text)


def test_a_message_without_an_id_is_given_one_of_its_own() -> None:
    queue = Queue(QueueOptions("q", dedup_seconds=60))
    for _ in range(2):
        queue.send(message(), 0)
    queue.send(Message(), 0)
    assert len({entry.message_id for entry in queue.peek() if entry.message_id}) == 3


@pytest.mark.parametrize("outcome", [Outcome.ABANDON, Outcome.DEFER, Outcome.DEAD_LETTER])
def test_properties_given_to_a_settlement_stay_with_the_message(outcome: Outcome) -> None:
    queue = Queue(QueueOptions("q"))
    queue.send(message("m"), 0)
    token = acquire(queue, 0).lock_token
    assert token is not None
    queue.settle(token, outcome, 0, properties={"tried": 1})
    where = queue.dead_letters if outcome is Outcome.DEAD_LETTER else queue
    assert where is not None
    (entry,) = where.peek()
    assert entry.message.application_map["tried"] == 1
    assert entry.message_id == "m"


def test_a_deferred_message_says_so_also_while_it_is_locked() -> None:
    queue = Queue(QueueOptions("q"))
    number = queue.send(message("m"), 0)
    token = acquire(queue, 0).lock_token
    assert token is not None
    queue.settle(token, Outcome.DEFER, 0)
    (entry,) = queue.acquire_deferred([number], 0)
    assert entry.delivery_annotations()[MESSAGE_STATE] == entry.peek_annotations()[MESSAGE_STATE] == 1
    assert entry.delivery_annotations()[ENQUEUED_SEQUENCE_NUMBER] == number
