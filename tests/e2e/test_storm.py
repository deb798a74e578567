"""A storm of bad input with good requests in between: every good one is answered, and all is well afterwards."""

import asyncio
import random
from contextlib import suppress

import httpx

from tests.fixtures.pictures import Colour, png_header_claiming, solid
from tests.fixtures.server import Server
from tests.fixtures.waiting import PATIENCE, until

GOOD = 120
ROUNDS = 60


def _bad_bodies(random_source: random.Random) -> list[bytes]:
    jpeg = solid((9, 99, 199), (400, 300), "JPEG")
    noise = bytes(random_source.randrange(256) for _ in range(2000))
    damaged = bytearray(jpeg)
    for _ in range(30):
        damaged[random_source.randrange(len(damaged))] = random_source.randrange(256)
    return [
        b"",
        noise,
        b"\xff\xd8" + noise,
        b"\x89PNG\r\n\x1a\n" + noise,
        b"RIFF\x00\x00\x00\x00WEBP" + noise,
        jpeg[: random_source.randrange(len(jpeg))],
        bytes(damaged),
        png_header_claiming(60_000, 60_000),
        bytes(2**20 + 1),
    ]


async def _bad(client: httpx.AsyncClient, seed: int) -> None:
    source = random.Random(seed)
    body = source.choice(_bad_bodies(source))
    content_type = source.choice(
        ["image/jpeg", "application/json", "multipart/form-data; boundary=x", "text/html", "application/octet-stream"]
    )
    headers = {"content-type": content_type, "accept": source.choice(["*/*", "image/png", "nonsense"])}
    response = await client.post("/v1/predict", content=body, headers=headers)
    assert response.status_code in (200, 400, 406, 413, 415, 422), response.text
    assert response.headers["content-type"] in ("application/problem+json", "application/json", "image/png")


async def _good(client: httpx.AsyncClient, colour: Colour) -> None:
    response = await client.post("/v1/predict", content=solid(colour))
    assert response.status_code == 200, response.text
    shares = {item["label"]: round(item["score"] * 255) for item in response.json()["classes"]}
    assert (shares["red"], shares["green"], shares["blue"]) == colour


async def _rude(port: int, seed: int) -> None:
    """Speak broken HTTP, or hang up in the middle of a body."""
    source = random.Random(seed)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    body = solid((1, 2, 3), (300, 200), "JPEG")
    head = f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    message = source.choice([b"\x00\x01\x02\r\n\r\n", head + body[:50], head + body, b"GET /livez HTTP/1.1\r\nx"])
    writer.write(message)
    await writer.drain()
    if source.random() < 0.5:
        writer.transport.abort()
        return
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_good_requests_survive_a_storm_of_bad_ones(server: Server) -> None:
    source = random.Random(7)
    colours = [(source.randrange(256), source.randrange(256), source.randrange(256)) for _ in range(GOOD)]
    limits = httpx.Limits(max_connections=40)
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, limits=limits) as client:
        work = [_good(client, colour) for colour in colours]
        work += [_bad(client, seed) for seed in range(ROUNDS * 3)]
        work += [_rude(server.port, seed) for seed in range(ROUNDS)]
        source.shuffle(work)
        await asyncio.gather(*work)
        ready = await client.get("/readyz")
        assert ready.status_code == 200
        assert "replaced" not in ready.json()["checks"]["lanes"]
    with server.client() as watcher:
        await asyncio.to_thread(until, lambda: "\nroo_in_flight 0.0" in watcher.get("/metrics").text)
    assert "Traceback" not in server.log
