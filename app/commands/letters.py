"""What `roo-vision dead-letters` does: choose letters, print them, work them off with a bar that moves."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.commands.letter_print import details, print_json, printable, row, table
from app.errors import StartupError
from app.servicebus.connection import Access, Connection
from app.servicebus.dead_letters import DeadLetters, Step, too_young
from app.servicebus.letter import DeadLetter
from app.settings import Settings, the_queue

console = Console(stderr=True)

_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters: one by its number or id, those of a reason, or all. Exactly one of the three is said."""

    which: str | None
    reason: str | None

    @classmethod
    def of(cls, which: str | None, reason: str | None, *, everything: bool) -> "Choice":
        """Raises `StartupError` where not exactly one is said."""
        said = (which is not None) + (reason is not None) + everything
        if said == 0:
            raise StartupError("Which dead letters? Give a sequence number or a message id, or --reason, or --all.")
        if said > 1:
            raise StartupError(
                "Which dead letters? Give only one of the three: a sequence number or a message id; --reason, which is "
                "all of that reason; or --all, whatever their reason."
            )
        return cls(which, reason)


async def print_list(settings: Settings, reason: str | None, limit: int, *, as_json: bool) -> None:
    """Print at most `limit` letters, the oldest first; whether there are more is said."""
    letters, are_more = await _first(_open(settings), reason, limit)
    if as_json:
        for letter in letters:
            print_json(row(letter))
    elif letters:
        Console(width=None if sys.stdout.isatty() else 200).print(table(letters))
    else:
        console.print("There are no dead letters" + (f" with the reason {reason!r}." if reason else "."), markup=False)
    if are_more:
        console.print(f"These are the first {limit}; there are more (--limit).")


async def print_one(settings: Settings, which: str, body: Path | None, *, as_json: bool) -> None:
    """Print all of one letter, and write its body to a new file where one is named."""
    letter = await _one(_open(settings), which)
    if body is not None:
        _write(body, letter.body)
    if as_json:
        print_json(details(letter))
        return
    for name, value in details(letter).items():
        sys.stdout.write(f"{name:>16}: {printable(value)}\n")


def _write(file: Path, content: bytes) -> None:
    try:
        with file.open("xb") as new:
            new.write(content)
    except FileExistsError:
        raise StartupError(f"{file} exists already, and is left as it is. Name another file for --body.") from None
    except OSError as error:
        raise StartupError(f"{file} cannot be written: {error.strerror}.") from None


async def resubmit(
    settings: Settings, choice: Choice, duplicate_window: float | None, *, as_json: bool, to_topic: bool = False
) -> bool:
    """Send letters again, those of a subscription only where `to_topic` is said; True where none of them stays."""
    dead_letters = _open(settings)
    if dead_letters.topic is not None and not to_topic:
        raise StartupError(
            f"Copies can only be sent to the topic {dead_letters.topic!r}, and every subscription of it whose rules "
            "match gets them. Say --to-topic to do that."
        )
    return await _resubmit(dead_letters, choice, duplicate_window, as_json=as_json)


async def drop(settings: Settings, choice: Choice, *, as_json: bool, ask: bool) -> bool:
    """Remove letters, after asking where wanted; True where none of them stays."""
    return await _drop(_open(settings), choice, as_json=as_json, ask=ask)


def _open(settings: Settings) -> DeadLetters:
    queue = the_queue(settings, "Whose dead letters?")
    secret = settings.servicebus_connection_string
    access = Access(settings.servicebus_namespace, secret.get_secret_value() if secret else None)
    return DeadLetters(Connection(access), queue)


async def _first(dead_letters: DeadLetters, reason: str | None, limit: int) -> tuple[list[DeadLetter], bool]:
    found: list[DeadLetter] = []
    async with dead_letters:
        async for letter in dead_letters.peek():
            if reason is not None and letter.reason != reason:
                continue
            if len(found) == limit:
                return found, True
            found.append(letter)
    return found, False


async def _one(dead_letters: DeadLetters, which: str) -> DeadLetter:
    async with dead_letters:
        return (await _chosen(dead_letters, Choice(which, None)))[0]


async def _chosen(dead_letters: DeadLetters, choice: Choice) -> list[DeadLetter]:
    """The letters that are meant. Raises `StartupError` where one was named and is not there, or not one alone."""
    if choice.which is None:
        return [
            letter async for letter in dead_letters.peek() if choice.reason is None or letter.reason == choice.reason
        ]
    named: list[DeadLetter] = []
    async for letter in dead_letters.peek():
        if str(letter.sequence_number) == choice.which:
            return [letter]
        if letter.message_id == choice.which:
            named.append(letter)
    if not named:
        raise StartupError(f"There is no dead letter with the sequence number or message id {choice.which!r}.")
    if len(named) > 1:
        numbers = ", ".join(str(letter.sequence_number) for letter in named[:_MOST_TOLD])
        raise StartupError(f"{_counted(len(named))} have the id {choice.which!r}. Name a sequence number: {numbers}")
    return named


async def _resubmit(
    dead_letters: DeadLetters, choice: Choice, duplicate_window: float | None, *, as_json: bool
) -> bool:
    async with dead_letters:
        window = duplicate_window if duplicate_window is not None else await dead_letters.duplicate_window()
        if window is None:
            raise StartupError(
                "Whether the queue detects duplicates cannot be read here, and it would drop copies whose ids it still "
                "remembers. Say --duplicate-window 0 where it detects none, or else its window in seconds, such as 600."
            )
        letters = await _chosen(dead_letters, choice)
        early = [Step(letter.sequence_number, why) for letter in letters if (why := too_young(letter, window))]
        ready = {letter.sequence_number for letter in letters} - {step.sequence_number for step in early}
        return await _work_off("resubmitted", dead_letters.resubmit(ready), len(ready), early, as_json=as_json)


async def _drop(dead_letters: DeadLetters, choice: Choice, *, as_json: bool, ask: bool) -> bool:
    async with dead_letters:
        numbers = {letter.sequence_number for letter in await _chosen(dead_letters, choice)}
        if ask and numbers:
            _confirm(len(numbers))
        return await _work_off("dropped", dead_letters.drop(numbers), len(numbers), [], as_json=as_json)


def _confirm(count: int) -> None:
    if not sys.stdin.isatty():
        raise StartupError(f"{_counted(count)} would be removed for good. Say --yes to have it done.")
    typer.confirm(f"Remove {_counted(count)} for good?", abort=True, err=True)


def _counted(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count} dead letters"


async def _work_off(what: str, steps: AsyncIterator[Step], total: int, troubles: list[Step], *, as_json: bool) -> bool:
    done: list[int] = []
    with _progress() as progress:
        bar = progress.add_task(what, total=total)
        async for step in steps if total else _nothing():
            if step.trouble:
                troubles.append(step)
            else:
                done.append(step.sequence_number)
            progress.advance(bar)
    if as_json:
        stay = [{"sequence_number": step.sequence_number, "why": step.trouble} for step in troubles]
        print_json({what: sorted(done), "stay": stay})
        return not troubles
    sys.stdout.write(
        f"{len(done)} {what}"
        + (f", {len(troubles)} stay{'s' if len(troubles) == 1 else ''}" if troubles else "")
        + "\n"
    )
    for step in troubles[:_MOST_TOLD]:
        console.print(f"{step.sequence_number}: {step.trouble}.", style="red", markup=False)
    if len(troubles) > _MOST_TOLD:
        console.print(f"and {len(troubles) - _MOST_TOLD} more (--json tells all)")
    return not troubles


async def _nothing() -> AsyncIterator[Step]:
    nobody: tuple[Step, ...] = ()
    for step in nobody:
        yield step


def _progress() -> Progress:
    columns = (TextColumn("{task.description:>11}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
