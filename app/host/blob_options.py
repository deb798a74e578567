"""How Blob Storage is spoken to, whoever does it: the part of the storage client's options that all have in common."""

from typing import Any

CAREFUL: dict[str, Any] = {
    # Who follows a redirect fetches from an address that nobody has allowed.
    "permit_redirects": False,
    # The client's own first pause is 15 s, which would spend a transfer's time, and a message's lock.
    "retry_total": 2,
    "initial_backoff": 1,
    "increment_base": 2,
    "random_jitter_range": 1,
}
"""Keyword arguments of the clients of `azure.storage.blob`."""
