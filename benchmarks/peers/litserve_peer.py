"""LitServe with two workers, each with batches of four and a millisecond of waiting.

`python -m benchmarks.peers.litserve_peer --port PORT` in its environment. It takes forms, not raw bodies.
"""

import sys
from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers.pipeline import Pipeline
from benchmarks.peers.settings import MOST_IN_BATCH, WAIT_MS, WORKERS


class Whole(litserve.LitAPI):  # type: ignore[misc]
    """Decodes, computes and answers."""

    def setup(self, device: str) -> None:
        """Once in each worker."""
        self._pipeline = Pipeline()

    def decode_request(self, request: Request) -> bytes:
        """The picture is the form's field `image`."""
        picture: bytes = request["image"].file.read()
        return picture

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Pictures stay as they are."""
        return inputs

    def predict(self, x: list[bytes]) -> list[dict[str, Any]]:
        """One batch."""
        return self._pipeline.answer(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers are a list already."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """JSON as it is."""
        return output


if __name__ == "__main__":
    api = Whole(max_batch_size=MOST_IN_BATCH, batch_timeout=WAIT_MS / 1e3)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
