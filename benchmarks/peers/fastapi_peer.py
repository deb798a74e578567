"""Plain FastAPI: a process a core, each with its own session; no batches.

`python -m benchmarks.peers.fastapi_peer --port PORT` in its environment.
"""

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import uvicorn
from fastapi import Body, FastAPI

from benchmarks.peers.pipeline import Pipeline
from benchmarks.peers.settings import WORKERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def _lifespan(application: FastAPI) -> "AsyncIterator[None]":
    application.state.pipeline = Pipeline()
    yield


app = FastAPI(lifespan=_lifespan)


@app.get("/health")
def health() -> dict[str, str]:
    """Whether it answers."""
    return {"status": "ok"}


@app.post("/predict")
async def predict(picture: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    """One picture; on the event loop, since the process has nothing else to do and a core of its own."""
    pipeline: Pipeline = app.state.pipeline
    return pipeline.answer([picture])[0]


if __name__ == "__main__":
    uvicorn.run(
        "benchmarks.peers.fastapi_peer:app",
        host="127.0.0.1",
        port=int(sys.argv[2]),
        workers=WORKERS,
        log_level="warning",
        access_log=False,
    )
