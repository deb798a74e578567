"""The pictures about which two versions differ most, kept in a folder: each with both answers beside it."""

import hashlib
import logging
import threading
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from app.core.shadow import Difference
from app.wire.telling import to_wire

log = logging.getLogger(__name__)

MOST_KEPT = 50
"""Of each pair of versions."""


class DifferingPictures:
    """Keeps them as `MODEL/SENT-CANDIDATE/AGREEMENT-ID.json` and a picture of that name. Those that agree most go
    first.

    Safe to use from several threads. A folder that cannot be written to is told of once, and nobody else's affair.
    """

    def __init__(self, folder: Path, most: int = MOST_KEPT) -> None:
        self._folder = folder
        self._most = most
        self._lock = threading.Lock()
        self._failed = False

    def keep(self, difference: Difference) -> None:
        """Keep it, where the versions differ about it, and more than about others that are kept."""
        if difference.share >= 1:
            return
        try:
            with self._lock:
                self._keep(difference)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("pictures about which versions differ cannot be kept: %s", error)
            self._failed = True

    def _keep(self, difference: Difference) -> None:
        sent, candidate = difference.sent, difference.candidate
        folder = self._folder / sent.model / f"{sent.version}-{candidate.version}"
        folder.mkdir(parents=True, exist_ok=True)
        identifier = hashlib.sha256(sent.request_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        name = f"{difference.share:.4f}-{identifier}"
        kept = sorted(file.stem for file in folder.glob("*.json"))
        if len(kept) >= self._most and kept[-1] <= name:
            return
        picture = f"{name}.{difference.media_type.rpartition('/')[2]}"
        (folder / picture).write_bytes(difference.image)
        unready = folder / f"{name}.part"
        unready.write_bytes(to_json(_told(difference, picture), indent=1))
        unready.replace(folder / f"{name}.json")
        for stem in sorted({*kept, name})[self._most :]:
            for file in folder.glob(f"{stem}.*"):
                file.unlink(missing_ok=True)


def _told(difference: Difference, picture: str) -> dict[str, Any]:
    found = difference.agreement
    return {
        "model": difference.sent.model,
        "sent_version": difference.sent.version,
        "candidate_version": difference.candidate.version,
        "request_id": difference.sent.request_id,
        "picture": picture,
        "agreement": round(difference.share, 4),
        "largest_shift": round(found.largest_shift, 4),
        **found.kinds,
        "sent": to_wire(difference.sent),
        "candidate": to_wire(difference.candidate),
    }
