"""`roo-vision devbus`: the broker as a process of its own."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from app.devbus.broker import Broker
from app.devbus.limits import Limits
from app.devbus.options import QueueOptions
from app.devbus.status import StatusServer
from app.errors import StartupError

QUEUE_FORM = "NAME[,lock=30,max_delivery=10,dedup=SECONDS,ttl=SECONDS,dlq_expired,sessions]"
TOPIC_FORM = "NAME:SUBSCRIPTION[,SUBSCRIPTION…]"


def devbus(
    queue: Annotated[
        list[str] | None, typer.Option("--queue", metavar=QUEUE_FORM, help="A queue; may be given again.")
    ] = None,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", metavar=TOPIC_FORM, help="A topic; may be given again.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any free one.")] = 5672,
    status_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve queue depths and faults over HTTP here.")
    ] = None,
    max_message_kb: Annotated[
        int, typer.Option(min=1, help="Largest message; 256 is the standard tier, 102400 the premium one.")
    ] = 256,
) -> None:
    """Run a Service Bus for development on this machine: in memory, nothing is kept, every token is accepted."""
    try:
        queues = [QueueOptions.parse(text) for text in queue or []]
        topics = dict(_topic(text) for text in topic or [])
    except ValueError as error:
        raise StartupError(str(error)) from None
    if not queues and not topics:
        raise StartupError("Name at least one --queue or --topic.")
    broker = Broker(queues, topics, host=host, port=port, limits=Limits(max_message_size=max_message_kb * 1024))
    try:
        asyncio.run(_serve(broker, status_port))
    except OSError as error:
        raise StartupError(f"Cannot listen on {host}: {error.strerror or error}.") from None


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
