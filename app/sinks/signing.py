"""Signatures by which a webhook's receiver knows that a result is ours, unchanged and new.

`Roo-Signature: t=1764547200,v1=5257a869…`: `t` is the time of sending in seconds since 1970, and `v1` the HMAC-SHA256,
in hexadecimal, over `t`, a full stop and the body. While secrets are exchanged there is one `v1` for each.
"""

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from app.errors import StartupError

HEADER = "Roo-Signature"
SHORTEST_SECRET = 16
MOST_SECRETS = 4


def signature(secrets: Sequence[bytes], body: bytes, seconds: int) -> str:
    """The header's value for a body that is sent at `seconds` since 1970."""
    signed = f"{seconds}.".encode() + body
    digests = (hmac.new(secret, signed, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join([f"t={seconds}", *(f"v1={digest}" for digest in digests)])


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """The secrets of a file, one a line. Raises `StartupError`, which quotes none."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"ROO_WEBHOOK_SECRET_FILE: {path} cannot be read ({type(error).__name__}).") from None
    return checked_secrets([line.strip() for line in lines if line.strip()], "ROO_WEBHOOK_SECRET_FILE")


def checked_secrets(secrets: Sequence[str], variable: str) -> tuple[bytes, ...]:
    """Secrets as octets; raises `StartupError` where there is none, or one that can be guessed."""
    if not 0 < len(secrets) <= MOST_SECRETS:
        raise StartupError(f"{variable} must hold 1 to {MOST_SECRETS} secrets, one a line, and holds {len(secrets)}.")
    if any(len(secret) < SHORTEST_SECRET for secret in secrets):
        raise StartupError(f"{variable}: a secret must have at least {SHORTEST_SECRET} characters.")
    return tuple(secret.encode() for secret in secrets)
