"""Draw `docs/images/top.svg`: what `roo-vision top` shows of a service under a short load (`make top-picture`)."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from rich.console import Console

from app.commands.top import Source, view
from app.settings import Settings
from app.telemetry.readings import Interval
from tests.fixtures.server import serving

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "images" / "top.svg"
PICTURE = ROOT / "models" / "shelf" / "examples" / "shelf-1.jpg"
SECONDS, AT_ONCE = 5.0, 8


def main() -> None:
    """Serve the bundled model, ask it from `AT_ONCE` threads for `SECONDS`, and draw what happened meanwhile."""
    content = PICTURE.read_bytes()
    with serving(ROOT / "models") as server, Source(server.url, Settings()) as source:
        before = source.read()
        end = time.monotonic() + SECONDS

        def ask(_: int) -> None:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                while time.monotonic() < end:
                    client.post("/v1/predict", content=content).raise_for_status()

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(ask, range(AT_ONCE)))
        console = Console(record=True, width=84)
        console.print(view(Interval(source.read(), before), "http://localhost:8000"))
    console.save_svg(str(TARGET), title="roo-vision top")


if __name__ == "__main__":
    main()
