"""All queues, topics and subscriptions of a broker, found by their paths."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

from app.devbus.amqp.errors import MESSAGE_NOT_FOUND, NOT_FOUND, UNAUTHORIZED, AmqpError
from app.devbus.amqp.message import Message
from app.devbus.dispatcher import Dispatcher
from app.devbus.entity import DEAD_LETTER_SUFFIX, Queue
from app.devbus.faults import Faults
from app.devbus.options import QueueOptions
from app.devbus.session_queue import make_queue
from app.devbus.timers import Alarm
from app.devbus.tokens import Token

Clock = Callable[[], float]


class Topic:
    """Copies what is sent to it into every subscription."""

    def __init__(self, name: str, subscriptions: Sequence[Queue]) -> None:
        self.name = name
        self.subscriptions = {queue.options.name: queue for queue in subscriptions}
        self._numbers = count(1)
        self._copies: dict[int, list[tuple[Queue, int]]] = {}

    def check(self, messages: Sequence[Message]) -> None:
        """Like `Queue.check`, for all subscriptions."""
        for queue in self.subscriptions.values():
            queue.check(messages)

    def send(self, message: Message, now: float, at: float | None = None) -> int:
        """Like `Queue.send`; the number is the topic's own and is good for `cancel`."""
        number = next(self._numbers)
        copies = [(queue, queue.send(message, now, at)) for queue in self.subscriptions.values()]
        if at is not None and at > now:
            self._copies[number] = copies
        return number

    def cancel(self, numbers: Iterable[int]) -> None:
        """Like `Queue.cancel`, in every subscription."""
        for number in numbers:
            if number not in self._copies:
                raise AmqpError(MESSAGE_NOT_FOUND, "There is no scheduled message with one of these sequence numbers.")
            for queue, copy in self._copies.pop(number):
                queue.cancel([copy])


class Namespace:
    """What exists and who gets what. Made inside a running event loop."""

    def __init__(
        self,
        queues: Iterable[QueueOptions],
        topics: Mapping[str, Sequence[QueueOptions]],
        *,
        clock: Clock = time.time,
    ) -> None:
        self.clock = clock
        self.faults = Faults()
        self.tokens: list[Token] = []
        self.queues: dict[str, Queue] = {}
        """Queues and subscriptions by their paths, in lower case; dead-letter queues hang on them."""
        self.topics: dict[str, Topic] = {}
        self.forbidden: set[str] = set()
        """Paths that nobody may send to or receive from, in lower case."""
        self._dispatchers: dict[str, Dispatcher] = {}
        self._alarm = Alarm(self._advance, clock)
        for options in queues:
            self._add(options.name, make_queue(options))
        for name, subscriptions in topics.items():
            self._add_topic(Topic(name, [make_queue(options) for options in subscriptions]))

    def close(self) -> None:
        """Stop the clockwork."""
        self._alarm.stop()

    def target(self, path: str) -> Queue | Topic:
        """Where messages for `path` go; raises `AmqpError` (not-found, unauthorized-access)."""
        self.check_access(path)
        found = self.queues.get(path) or self.topics.get(path)
        if found is None:
            raise _missing(path)
        return found

    def dispatcher(self, path: str) -> Dispatcher:
        """Where messages of `path` come from; raises `AmqpError` (not-found, unauthorized-access)."""
        self.check_access(path)
        if path not in self._dispatchers:
            raise _missing(path)
        return self._dispatchers[path]

    def check_access(self, path: str) -> None:
        """Raises `AmqpError` (unauthorized-access) where the path, or what it is a part of, is forbidden."""
        if path.lower() in self.forbidden or path.lower().partition("/")[0] in self.forbidden:
            raise AmqpError(UNAUTHORIZED, f"Unauthorized access. 'Send' or 'Listen' are required for {path!r}.")

    def _add_topic(self, topic: Topic) -> None:
        self.topics[topic.name.lower()] = topic
        for name, queue in topic.subscriptions.items():
            self._add(f"{topic.name}/Subscriptions/{name}", queue)

    def _add(self, path: str, queue: Queue) -> None:
        if path.lower() in self.queues:
            raise ValueError(f"there are two queues named {path!r}")
        self.queues[path.lower()] = queue
        self._add_dispatcher(path, queue)
        if queue.dead_letters is not None:
            self._add_dispatcher(f"{path}/{DEAD_LETTER_SUFFIX}", queue.dead_letters)

    def _add_dispatcher(self, path: str, queue: Queue) -> None:
        dispatcher = Dispatcher(queue, self.clock, asyncio.get_running_loop().call_soon)
        self._dispatchers[path.lower()] = dispatcher

        def changed() -> None:
            dispatcher.wake()
            self._alarm.set(queue.next_deadline())

        queue.changed = changed

    def _advance(self) -> None:
        now = self.clock()
        for dispatcher in self._dispatchers.values():
            dispatcher.queue.advance(now)


def _missing(path: str) -> AmqpError:
    return AmqpError(NOT_FOUND, f"The messaging entity {path!r} could not be found.")
