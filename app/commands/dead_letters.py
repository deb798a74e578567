"""`roo-vision dead-letters`: options in, a table or JSON out. What the options mean is in `app.commands.letters`."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

dead_letters_cli = typer.Typer(
    help="A queue's or subscription's dead letters: look at them, send them again, drop them. The namespace is "
    "ROO_SERVICEBUS_NAMESPACE or _CONNECTION_STRING.",
    no_args_is_help=True,
)

Queue = Annotated[
    str | None,
    typer.Option(help="Whose dead letters: a queue, or TOPIC/subscriptions/NAME; ROO_QUEUE.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Which = Annotated[str | None, typer.Argument(help="A sequence number, or else a message id.", show_default=False)]
Reason = Annotated[str | None, typer.Option(help="Those with this dead-letter reason.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@dead_letters_cli.command("list")
def list_letters(
    queue: Queue = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    json: Json = False,
) -> None:
    """List dead letters, the oldest first: reason, description, delivery count, age, robot."""
    from app.commands import letters
    from app.settings import load_client_settings

    asyncio.run(letters.print_list(load_client_settings(queue), reason, limit, as_json=json))


@dead_letters_cli.command("show")
def show_letter(
    which: Annotated[str, typer.Argument(help="A sequence number, or else a message id.")],
    queue: Queue = None,
    body: Annotated[Path | None, typer.Option(help="Write the message's body to this new file.")] = None,
    json: Json = False,
) -> None:
    """Show all of one dead letter; its body goes to a file."""
    from app.commands import letters
    from app.settings import load_client_settings

    asyncio.run(letters.print_one(load_client_settings(queue), which, body, as_json=json))


@dead_letters_cli.command("resubmit")
def resubmit_letters(
    which: Which = None,
    queue: Queue = None,
    reason: Reason = None,
    everything: All = False,
    duplicate_window: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds for which the queue remembers ids (duplicate detection); 0 where it does not. Asked of the "
            "broker where left out.",
            show_default=False,
        ),
    ] = None,
    to_topic: Annotated[
        bool, typer.Option("--to-topic", help="Of a subscription: send the copies to its topic, for all subscriptions.")
    ] = False,
    json: Json = False,
) -> None:
    """Put dead letters on the queue again: one, those of a reason, or all. Nothing is lost where it is killed."""
    from app.commands import letters
    from app.settings import load_client_settings

    choice = letters.Choice.of(which, reason, everything=everything)
    done = asyncio.run(
        letters.resubmit(load_client_settings(queue), choice, duplicate_window, as_json=json, to_topic=to_topic)
    )
    sys.exit(0 if done else 1)


@dead_letters_cli.command("drop")
def drop_letters(
    which: Which = None,
    queue: Queue = None,
    reason: Reason = None,
    everything: All = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Remove dead letters for good: one, those of a reason, or all."""
    from app.commands import letters
    from app.settings import load_client_settings

    choice = letters.Choice.of(which, reason, everything=everything)
    done = asyncio.run(letters.drop(load_client_settings(queue), choice, as_json=json, ask=not yes))
    sys.exit(0 if done else 1)
