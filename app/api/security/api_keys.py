"""API keys from a mounted file: several valid at once, replaced without a restart.

A line is `name:key` or a key alone; `sha256:` and 64 hex digits may stand for the key, so that the file need not hold
it. After a space a scope may follow: `viewer`, `operator` or `admin` (`scheme.Role` says what they may). Several keys
may have one name: a caller's old and new key while it changes from one to the other. Empty lines and those that begin
with `#` are skipped.
"""

import asyncio
import hashlib
import hmac
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from app.api.security.scheme import Identity, Role
from app.errors import StartupError, Unauthorized

log = logging.getLogger(__name__)

HEADER = b"x-api-key"
SHORTEST = 24
"""Characters of a key: with 16 random bytes in hex or base64 nobody guesses one, at whatever rate."""
MOST_BYTES = 64 * 1024
MOST_KEYS = 256
"""Every request is compared with every key, so that the time taken tells nothing about them."""
LOOK_SECONDS = 1.0

SCOPES = {role.name.lower(): role for role in Role if role is not Role.CALLER}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(r"[A-Za-z0-9._~+/=-]+")
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Key:
    """Whose key it is, the SHA-256 digest of it, and what its holder may do."""

    name: str
    digest: bytes
    role: Role = Role.CALLER


def parse(text: str) -> tuple[Key, ...]:
    """The keys of a file; raises `ValueError` naming the line that is wrong, never what it says."""
    keys: dict[bytes, Key] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (line := line.strip()) or line.startswith("#"):
            continue
        key = _parse_line(line, number)
        if key.digest in keys:
            raise ValueError(f"line {number} repeats a key")
        keys[key.digest] = key
    if not keys:
        raise ValueError("it holds no key")
    if len(keys) > MOST_KEYS:
        raise ValueError(f"it holds {len(keys)} keys; at most {MOST_KEYS} are taken")
    return tuple(keys.values())


def _parse_line(line: str, number: int) -> Key:
    before, _, last = line.rpartition(" ")
    role = SCOPES.get(last) if before else None
    line = line if role is None else before.rstrip()
    name, secret = "", line
    if ":" in line and not _DIGEST.fullmatch(line):
        name, _, secret = (part.strip() for part in line.partition(":"))
        if not _NAME.fullmatch(name):
            raise ValueError(f"line {number}: a name is letters, digits, '.', '_' and '-', at most 64")
    digest = _digest(secret, number)
    return Key(name or f"key-{digest.hex()[:8]}", digest, role or Role.CALLER)


def _digest(secret: str, number: int) -> bytes:
    if found := _DIGEST.fullmatch(secret):
        return bytes.fromhex(found.group(1))
    if not _KEY.fullmatch(secret):
        raise ValueError(
            f"line {number}: a key is letters, digits and '._~+/=-', and the scopes after it are {', '.join(SCOPES)}"
        )
    if len(secret) < SHORTEST:
        raise ValueError(f"line {number}: the key is shorter than {SHORTEST} characters")
    return hashlib.sha256(secret.encode()).digest()


class ApiKeys:
    """The keys of one file; a `Scheme`."""

    header = HEADER
    challenge = 'ApiKey realm="roo-vision"'
    hint = "an API key in the header X-Api-Key"
    documented = {"type": "apiKey", "in": "header", "name": "X-Api-Key"}  # noqa: RUF012  nobody writes to it

    def __init__(self, path: Path) -> None:
        """Read the file; raises `StartupError` where it is missing or wrong."""
        self._path = path
        self._trouble = ""
        try:
            self._content = _read(path)
            self._keys = parse(self._content)
        except (OSError, ValueError) as error:
            raise StartupError(f"ROO_API_KEYS_FILE: {path} cannot be used: {_words(error)}.") from None

    async def identify(self, credential: bytes) -> Identity:
        """The key's holder; raises `Unauthorized`."""
        presented = hashlib.sha256(credential).digest()
        found = None
        for key in self._keys:  # all of them, and digests of one length: the time tells nothing
            if hmac.compare_digest(key.digest, presented):
                found = key
        if found is None:
            raise Unauthorized("The API key in X-Api-Key is not known, or no longer.")
        return Identity(f"key:{found.name}", found.role)

    async def keep_fresh(self) -> None:
        """Look at the file once a second, on a thread: what is mounted may be replaced at any time."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take over what the file says now. While it cannot be used the keys stay as they were, and the log says so."""
        try:
            content = _read(self._path)  # compared as a whole: times and inodes miss a second write within a tick
            if content == self._content:
                self._trouble = ""
                return
            self._keys = parse(content)
        except (OSError, ValueError) as error:
            self._complain(_words(error))
            return
        self._content, self._trouble = content, ""
        log.info("API keys read again: %d, of %s", len(self._keys), ", ".join(sorted({k.name for k in self._keys})))

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.error("%s cannot be used, the API keys stay as they were: %s", self._path, trouble)
        self._trouble = trouble


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not text") from None


def _words(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
