"""Whoever asks, by whichever way, shares batches: the metric of their sizes shows it."""

import asyncio
import re
from pathlib import Path

import httpx
import numpy as np
import tritonclient.grpc.aio as triton_grpc
import tritonclient.http.aio as triton_http
from azure.servicebus.aio import ServiceBusClient

from tests.e2e.test_lifecycle import in_flight
from tests.e2e.test_queue import RED, bus, working
from tests.fixtures.models import add_slow_colour_model
from tests.fixtures.pictures import solid
from tests.fixtures.queue import colour_in, picture, results
from tests.fixtures.server import Server
from tests.fixtures.waiting import PATIENCE, until

STEPS = 3000
"""Of the model: so long that everybody has come before the first picture is done."""


async def over_v1(client: httpx.AsyncClient) -> float:
    answer = await client.post("/v1/predict", content=solid(RED), headers={"content-type": "image/png"})
    score: float = answer.json()["classes"][0]["score"]
    return score


async def over_v2(client: triton_http.InferenceServerClient) -> float:
    image = triton_http.InferInput("image", [1], "BYTES").set_data_from_numpy(np.array([solid(RED)], object))
    return float((await client.infer("slow", [image])).as_numpy("probabilities")[0, 0])


async def over_grpc(client: triton_grpc.InferenceServerClient) -> float:
    rows = np.zeros((1, 3, 16, 16), np.float32)
    rows[0, 0] = 1
    tensor = triton_grpc.InferInput("image", [1, 3, 16, 16], "FP32").set_data_from_numpy(rows)
    return float((await client.infer("slow", [tensor])).as_numpy("scores")[0, 0])


def batches(server: Server) -> tuple[float, float]:
    """How many there were, and the pictures and rows in them."""
    with server.client() as client:
        text = client.get("/metrics").text
    count, total = (
        re.search(rf'^roo_batch_size_{what}{{model="slow".*}} (.*)$', text, re.MULTILINE) for what in ("count", "sum")
    )
    assert count is not None
    assert total is not None
    return float(count[1]), float(total[1])


async def test_v1_v2_grpc_and_the_queue_in_one_batch(tmp_path: Path) -> None:
    add_slow_colour_model(tmp_path, steps=STEPS)
    async with bus() as broker:
        with working(tmp_path, broker, grpc_port=0, lanes=1) as server:
            async with (
                httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as v1,
                triton_http.InferenceServerClient(f"127.0.0.1:{server.port}") as v2,
                triton_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as rpc,
                ServiceBusClient.from_connection_string(broker.connection_string) as robots,
                robots.get_queue_sender("jobs") as robot,
            ):
                # Everything that takes long is done before somebody is waited for: connections first of all.
                await robot.create_message_batch()
                assert await rpc.is_server_live()
                assert await v2.is_server_live()
                first = asyncio.create_task(over_v1(v1))
                await asyncio.to_thread(until, lambda: in_flight(server) == 1)
                asked = [asyncio.create_task(each) for each in (over_v1(v1), over_v2(v2), over_grpc(rpc))]
                await robot.send_messages(picture(RED, "robot"))
                await asyncio.to_thread(until, lambda: in_flight(server) == 5)
                assert await asyncio.gather(first, *asked) == [1, 1, 1, 1]
            assert colour_in((await results(broker, 1))["robot"]) == RED
            assert batches(server) == (2, 5)
