"""The broker as a process of its own, until SIGINT or SIGTERM."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import typer

from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from app.devbus.options import TOPIC_FORM, QueueOptions
from app.devbus.status import StatusServer
from app.errors import StartupError


def read_entities(
    queues: Sequence[str], topics: Sequence[str]
) -> tuple[list[QueueOptions], dict[str, Sequence[QueueOptions]]]:
    """Queues, and topics with their subscriptions, from the command line's words; raises `StartupError`."""
    try:
        found, named = [QueueOptions.parse(text) for text in queues], [_topic(text) for text in topics]
        _check_names([queue.name for queue in found] + [name for name, _ in named])
        for name, subscriptions in named:
            _check_names([f"{name}/Subscriptions/{subscription.name}" for subscription in subscriptions])
    except ValueError as error:
        raise StartupError(str(error)) from None
    if not found and not named:
        raise StartupError("Name at least one --queue or --topic.")
    return found, dict(named)


def run(
    queues: Sequence[QueueOptions],
    topics: Mapping[str, Sequence[QueueOptions]],
    *,
    host: str,
    port: int,
    status_port: int | None,
    limits: BrokerLimits,
) -> None:
    """Serve until told to stop; raises `StartupError` where it cannot listen."""
    broker = Broker(queues, topics, host=host, port=port, limits=limits)
    try:
        asyncio.run(_serve(broker, status_port))
    except OSError as error:
        raise StartupError(f"Cannot listen on {host}: {error.strerror or error}.") from None


def _check_names(names: Sequence[str]) -> None:
    """Service Bus tells no upper case from lower case, and queues and topics share their names."""
    seen = set[str]()
    for name in names:
        if name.lower() in seen:
            raise ValueError(f"{name!r} is named twice. A namespace has one queue or topic of a name, case aside.")
        seen.add(name.lower())


def _topic(text: str) -> tuple[str, Sequence[QueueOptions]]:
    name, _, rest = text.partition(":")
    subscriptions = [part.strip() for part in rest.split(",") if part.strip()]
    if not name or not subscriptions:
        raise ValueError(f"{text!r} is not of the form {TOPIC_FORM}")
    return name, [QueueOptions(subscription) for subscription in subscriptions]


async def _serve(broker: Broker, status_port: int | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(broker)
        typer.echo("devbus is for development: in memory, nothing is kept, every key and token is accepted.")
        typer.echo(broker.connection_string)
        if status_port is not None:
            status = await stack.enter_async_context(StatusServer(broker, host=broker.host, port=status_port))
            typer.echo(f"status: {status.url}")
        await stopped.wait()
