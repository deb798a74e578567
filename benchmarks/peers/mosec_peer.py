"""mosec as its users tune it for this: whole pipelines in two processes, batches of four, a millisecond of waiting.

`python -m benchmarks.peers.mosec_peer --port PORT` in its environment; mosec reads the command line itself.
"""

from typing import Any

from mosec import Server, Worker

from benchmarks.peers.pipeline import Pipeline
from benchmarks.peers.settings import MOST_IN_BATCH, WAIT_MS, WORKERS


class Whole(Worker):  # type: ignore[misc]
    """Decodes, computes and answers."""

    def __init__(self) -> None:
        super().__init__()
        self._pipeline = Pipeline()

    def deserialize(self, data: bytes) -> bytes:
        """The body is the picture."""
        return data

    def forward(self, data: list[bytes]) -> list[dict[str, Any]]:
        """One batch."""
        return self._pipeline.answer(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Whole, num=WORKERS, max_batch_size=MOST_IN_BATCH, max_wait_time=WAIT_MS)
    server.run()
