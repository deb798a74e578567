"""How dead letters are printed: as a table, or as JSON. No signature of a link and nothing that a terminal obeys."""

import json
import sys
from typing import Any

from rich.table import Table
from rich.text import Text

from app.servicebus.letter import DeadLetter, masked

_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60


def row(letter: DeadLetter) -> dict[str, Any]:
    """What a list tells of a letter, for JSON."""
    return {
        "sequence_number": letter.sequence_number,
        "message_id": letter.message_id,
        "reason": letter.reason,
        "description": masked(letter.description),
        "delivery_count": letter.delivery_count,
        "age_seconds": None if letter.age is None else round(letter.age, 1),
        "robot_id": letter.robot_id,
    }


def details(letter: DeadLetter) -> dict[str, Any]:
    """All of a letter but its body, for JSON."""
    return {
        **row(letter),
        "sent_at": None if letter.sent_at is None else letter.sent_at.isoformat(),
        "content_type": letter.content_type,
        "correlation_id": letter.correlation_id,
        "reply_to": letter.reply_to,
        "session_id": letter.session_id,
        "properties": {name: masked(str(value)) for name, value in letter.properties.items()},
        "body_bytes": len(letter.body),
    }


def table(letters: list[DeadLetter]) -> Table:
    """The list, for people."""
    rows = Table("number", "message id", "reason", "description", "deliveries", "age", "robot")
    for letter in letters:
        cells = (
            str(letter.sequence_number),
            letter.message_id,
            letter.reason,
            masked(letter.description),
            str(letter.delivery_count),
            _age(letter.age),
            letter.robot_id or "",
        )
        rows.add_row(*(Text(printable(cell)) for cell in cells))
    return rows


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def printable(value: Any) -> str:
    """What others have sent, without what a terminal would obey."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str("" if value is None else value)
    return "".join(character if character.isprintable() else "�" for character in text)


def print_json(value: dict[str, Any]) -> None:
    """One object, one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
