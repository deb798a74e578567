"""`roo-vision devbus`: its options. The broker itself is imported once it is wanted: the service knows this too."""

from typing import Annotated

import typer

from app.devbus.options import QUEUE_FORM, TOPIC_FORM


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
    from app.devbus import running
    from app.devbus.limits import BrokerLimits

    queues, topics = running.read_entities(queue or [], topic or [])
    limits = BrokerLimits(max_message_size=max_message_kb * 1024)
    running.run(queues, topics, host=host, port=port, status_port=status_port, limits=limits)
