"""The most pictures in one batch of a model: lowered where memory is short, and raised again where it has sufficed."""

RECOVERY_BATCHES = 100
"""After so many full batches that fitted, a limit that was lowered for want of memory is doubled; each time that memory
is short again, it takes twice as many.
"""


class BatchLimit:
    """`size` is the limit now, and `reason` where it is from; `largest` is what it began with."""

    def __init__(self, size: int, reason: str) -> None:
        self.size = self.largest = size
        self.reason = self._told_reason = reason
        self._full_batches = 0
        self._batches_to_recover = RECOVERY_BATCHES

    def lower(self, failed: int) -> None:
        """Form smaller batches from now on: one of `failed` pictures did not fit into the device's memory."""
        if self.size < self.largest:
            self._batches_to_recover *= 2
        self.size = max(1, min(self.size, failed // 2))
        self._full_batches = 0
        self.reason = "larger ones did not fit into the device's memory"

    def note_fitted(self, computed: int) -> None:
        """Form larger batches again where memory has sufficed for long: one of so many pictures was computed."""
        if self.size >= self.largest or computed < self.size:
            return
        self._full_batches += 1
        if self._full_batches >= self._batches_to_recover:
            self._full_batches = 0
            self.size = min(self.largest, self.size * 2)
            if self.size == self.largest:
                self.reason = self._told_reason
