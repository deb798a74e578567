"""`make bench-protocols`: the ways to ask one service beside each other, in alternating slices of one run.

Pictures as /v1 takes them, over the Open Inference Protocol in binary REST and over gRPC; and rows of the graph's own
input over both, beside a plain loop of ONNX Runtime. Whoever asks shares the cores with who answers: gRPC's client
costs more of them than the plain sockets that ask over HTTP, and its figures bear that too.
"""

import asyncio
import json
import socket
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import grpc
import numpy as np
import onnxruntime as ort
import typer
from rich.console import Console

from app.bench import load, machine, pictures
from app.bench.contenders import READY_PATH
from app.bench.measurements import percentile, spread
from app.bench.processes import POLL_SECONDS, START_SECONDS, Child, answers, sigterm_as_exit
from app.bench.run import choose_model
from app.errors import StartupError
from app.oip.datatypes import LENGTH, name_of
from app.repository import repository
from app.rpc.messages import SERVICE, message
from app.settings import environment_with, load_settings, usable_cores
from benchmarks.command_line import Device, Model, ModelsDir, Out, start
from benchmarks.peers import environments
from benchmarks.peers.family import Family

V1, REST, GRPC = "pictures: /v1", "pictures: /v2", "pictures: gRPC"
LOOP, REST_TENSORS, GRPC_TENSORS = "tensors: plain loop", "tensors: /v2", "tensors: gRPC"
TRITON = "tensors: Triton, /v2"
WANTED = {
    REST: (V1, 0.97),
    GRPC: (V1, 0.97),
    REST_TENSORS: (LOOP, 0.9),
    GRPC_TENSORS: (LOOP, 0.9),
    TRITON: (REST_TENSORS, 0.77),
}
"""What each is compared with, and the ratio that it should have at least; Triton at most: 1.3 the other way round."""
_WARM_SECONDS = 0.5
_ROWS = 8

console = Console(stderr=True)
Figure = tuple[float, float]
"""Answers a second, and the median of their milliseconds."""
Way = Callable[[int, float], Figure]
"""Measures with so many in flight, for so many seconds."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input as it is sent."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    content: bytes


def rest(model: str, tensor: Tensor) -> bytes:
    """One binary request of the protocol as it goes over the wire."""
    described = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
    sized = {**described, "parameters": {"binary_data_size": len(tensor.content)}}
    options = {"read_barcodes": False} if tensor.datatype == "BYTES" else {}
    head = json.dumps({"inputs": [sized], "parameters": {"binary_data_output": True, **options}}).encode()
    lines = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {load.HOST}\r\nInference-Header-Content-Length: {len(head)}"
    )
    return f"{lines}\r\nContent-Length: {len(head) + len(tensor.content)}\r\n\r\n".encode() + head + tensor.content


def rpc(model: str, tensor: Tensor) -> bytes:
    """The same as a message."""
    request = message("ModelInferRequest")(model_name=model, raw_input_contents=[tensor.content])
    request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    if tensor.datatype == "BYTES":
        request.parameters["read_barcodes"].bool_param = False
    content: bytes = request.SerializeToString()
    return content


def over_http(port: int, child: Child, requests: Sequence[bytes]) -> Way:
    """A closed loop of plain sockets."""

    def measure(concurrency: int, seconds: float) -> Figure:
        target = load.Target(port, child.cpu_seconds)
        found = load.press(target, requests, concurrency, _WARM_SECONDS, seconds)
        if found.errors:
            raise StartupError(f"{found.errors} requests failed: {found.first_error}")
        return found.per_second, found.p50_ms

    return measure


def over_grpc(port: int, requests: Sequence[bytes]) -> Way:
    """A closed loop of calls on one connection."""

    async def press(concurrency: int, seconds: float) -> Figure:
        options = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(f"{load.HOST}:{port}", options=options) as channel:
            ask = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            return await _closed_loop(ask, requests, concurrency, seconds)

    return lambda concurrency, seconds: asyncio.run(press(concurrency, seconds))


async def _closed_loop(
    ask: Callable[[bytes], Awaitable[Any]], requests: Sequence[bytes], concurrency: int, seconds: float
) -> Figure:
    latencies: list[float] = []
    begins = time.perf_counter() + _WARM_SECONDS
    ends = begins + seconds

    async def one(number: int) -> None:
        while (began := time.perf_counter()) < ends:
            await ask(requests[number % len(requests)])
            number += 1
            if begins <= time.perf_counter() <= ends:
                latencies.append((time.perf_counter() - began) * 1e3)

    await asyncio.gather(*(one(number) for number in range(concurrency)))
    return len(latencies) / seconds, percentile(latencies, 0.5)


def plain_loop(path: Path, rows: np.ndarray[Any, Any]) -> Way:
    """A thread a core runs one row after the other in one session: no server, no batches."""

    def measure(concurrency: int, seconds: float) -> Figure:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name, latencies = session.get_inputs()[0].name, []
        ends = time.perf_counter() + seconds

        def run() -> None:
            while (began := time.perf_counter()) < ends:
                session.run(None, {name: rows[:1]})
                latencies.append((time.perf_counter() - began) * 1e3)

        threads = [threading.Thread(target=run) for _ in range(min(concurrency, usable_cores()))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(latencies) / seconds, percentile(latencies, 0.5)

    return measure


def triton(model: str, path: Path, folder: Path, children: ExitStack, requests: Sequence[bytes]) -> Way:
    """A Triton with the same graph, asked as the service is over REST."""
    with socket.create_server((load.HOST, 0)) as free:
        port = free.getsockname()[1]
    python = environments.python_with_triton()
    arguments = ["benchmarks.peers.pytriton_peer", str(port), model, str(path.absolute())]
    child = Child("triton", arguments, folder, environment=environment_with(PYTHONPATH="."), python=python)
    children.enter_context(Family(child))
    ready, ends = f"/v2/models/{model}/ready", time.monotonic() + START_SECONDS
    while not answers(port, ready):
        child.check_alive()
        if time.monotonic() > ends:
            raise StartupError(f"Triton was not ready in {START_SECONDS:.0f} s. Its log:\n{child.log()}")
        time.sleep(POLL_SECONDS)
    return over_http(port, child, requests)


def ways(
    models_dir: Path, model: str, device: str, folder: Path, children: ExitStack, *, with_triton: bool
) -> dict[str, Way]:
    """A service, with a Triton beside it where that is wanted, and everything that asks them."""
    with socket.create_server((load.HOST, 0)) as free:
        grpc_port = free.getsockname()[1]
    options = ["--host", load.HOST, "--port", "0", "--models-dir", str(models_dir.absolute()), "--device", device]
    environment = environment_with(ROO_GRPC_PORT=str(grpc_port), ROO_LOG_LEVEL="warning")
    child = children.enter_context(Child("service", ["app", "serve", *options], folder, environment=environment))
    port, _ = child.wait_until_ready(READY_PATH)
    shown = pictures.workloads(models_dir / model, _ROWS)[0].pictures
    encoded = [Tensor("image", "BYTES", (1,), LENGTH.pack(len(each)) + each) for each in shown]
    entry = repository.read_entry(models_dir / model)
    spec, path = entry.manifest.input, next(reversed(entry.versions.values()))
    if spec is None or path.suffix != ".onnx":
        raise StartupError(f"{model} is no ONNX model of pictures; choose another with --model.")
    rows = np.random.default_rng(0).random((_ROWS, *spec.shape)).astype(spec.numpy_dtype)
    own = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()[0].name
    tensors = [Tensor(own, name_of(rows.dtype), (1, *spec.shape), row.tobytes()) for row in rows]
    v1 = [load.post(f"/v1/models/{model}/predict?read_barcodes=false", "image/jpeg", each) for each in shown]
    asked = [rest(model, each) for each in tensors]
    beside = {TRITON: triton(model, path, folder, children, asked)} if with_triton else {}
    return {
        V1: over_http(port, child, v1),
        REST: over_http(port, child, [rest(model, each) for each in encoded]),
        GRPC: over_grpc(grpc_port, [rpc(model, each) for each in encoded]),
        LOOP: plain_loop(path, rows),
        REST_TENSORS: over_http(port, child, asked),
        GRPC_TENSORS: over_grpc(grpc_port, [rpc(model, each) for each in tensors]),
        **beside,
    }


def table(found: dict[str, list[dict[str, float]]], concurrency: int) -> list[str]:
    """What was found, in words; ratios are taken within each round."""
    lines = [
        f"| way | answers/s, {concurrency} in flight | to its like | wanted | p50 ms alone | to its like |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for way, rounds in found.items():
        rate, alone = spread(each["per_second"] for each in rounds), spread(each["alone_ms"] for each in rounds)
        like, wanted = WANTED.get(way, (way, 1.0))
        pairs = list(zip(rounds, found[like], strict=True))
        ratio = spread(one["per_second"] / other["per_second"] for one, other in pairs)
        longer = spread(one["alone_ms"] / other["alone_ms"] for one, other in pairs)
        lines.append(
            f"| {way} | {rate.median:.0f} ({rate.low:.0f}-{rate.high:.0f}) | {ratio.median:.3f} "
            f"({ratio.low:.2f}-{ratio.high:.2f}) | {wanted:g} | {alone.median:.2f} | {longer.median:.3f} |"
        )
    return lines


def measure(
    seconds: Annotated[float, typer.Option(min=0.05, help="Length of a slice.")] = 3.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 5,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Requests in flight.")] = 32,
    out: Out = Path("out/bench"),
    model: Model = None,
    models_dir: ModelsDir = None,
    device: Device = None,
    with_triton: Annotated[
        bool, typer.Option("--triton", help="Measure Triton too, by PyTriton, in an environment of its own.")
    ] = False,
) -> None:
    """Measure pictures over /v1, /v2 and gRPC, and tensors over /v2 and gRPC beside a plain loop, and beside Triton."""
    settings = load_settings(models_dir=models_dir, device=device)
    name = choose_model(settings, model)
    with sigterm_as_exit(), tempfile.TemporaryDirectory() as folder, ExitStack() as children:
        asked = ways(settings.models_dir, name, settings.device, Path(folder), children, with_triton=with_triton)
        found: dict[str, list[dict[str, float]]] = {way: [] for way in asked}
        for number in range(rounds):
            for way in list(asked)[number % len(asked) :] + list(asked)[: number % len(asked)]:
                console.print(f"round {number + 1} of {rounds}: {way} ...")
                per_second, _ = asked[way](concurrency, seconds)
                _, alone = asked[way](1, seconds / 2)
                found[way].append({"per_second": per_second, "alone_ms": alone})
    out.mkdir(parents=True, exist_ok=True)
    record = {"machine": asdict(machine.describe()), "seconds": seconds, "concurrency": concurrency, "found": found}
    (out / "bench-protocols.json").write_text(json.dumps(record, indent=1) + "\n")
    text = "\n".join([*table(found, concurrency), ""])
    (out / "bench-protocols.md").write_text(text)
    Console(soft_wrap=True).print(text, markup=False, highlight=False)


if __name__ == "__main__":
    start(measure)
