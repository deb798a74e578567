"""`make bench-protocols`: the ways to ask one service beside each other, in alternating slices of one run.

Pictures as /v1 takes them, over the Open Inference Protocol in binary REST and over gRPC; and rows of the graph's own
input over both, beside a plain loop of ONNX Runtime. Whoever asks shares the cores with who answers, so that what each
costs is measured as well: over gRPC plain sockets ask, as over HTTP, and in a way of its own gRPC's client for Python.
"""

import json
import math
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime as ort
import typer
from rich.console import Console

from app.bench import load, machine, pictures
from app.bench.contenders import READY_PATH
from app.bench.measurements import spread
from app.bench.processes import POLL_SECONDS, START_SECONDS, Child, answers, sigterm_as_exit
from app.bench.run import choose_model
from app.errors import StartupError
from app.host.process import environment_with
from app.oip.datatypes import LENGTH, name_of
from app.repository import repository
from app.rpc.messages import message
from app.settings import load_settings
from benchmarks import lean_grpc
from benchmarks.command_line import Device, Model, ModelsDir, Out, start
from benchmarks.peers import environments
from benchmarks.peers.family import Family
from benchmarks.protocol_ways import Way, over_grpc_aio, over_sockets, plain_loop

V1, REST, GRPC, GRPC_AIO = "pictures: /v1", "pictures: /v2", "pictures: gRPC", "pictures: gRPC, by grpc.aio"
LOOP, REST_TENSORS, GRPC_TENSORS = "tensors: plain loop", "tensors: /v2", "tensors: gRPC"
TRITON = "tensors: Triton, /v2"
WANTED = {
    REST: (V1, 0.97),
    GRPC: (V1, 0.97),
    GRPC_AIO: (V1, 0.97),
    REST_TENSORS: (LOOP, 0.9),
    GRPC_TENSORS: (LOOP, 0.9),
    TRITON: (REST_TENSORS, 0.77),
}
"""What each is compared with, and the ratio that it should have at least; Triton at most: 1.3 the other way round."""
_ROWS = 8

console = Console(stderr=True)


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
    return over_sockets(port, child, requests)


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
    called = [rpc(model, each) for each in encoded]
    beside = {TRITON: triton(model, path, folder, children, asked)} if with_triton else {}
    return {
        V1: over_sockets(port, child, v1),
        REST: over_sockets(port, child, [rest(model, each) for each in encoded]),
        GRPC: over_sockets(grpc_port, child, [lean_grpc.message(each) for each in called], lean_grpc.GrpcConnection),
        GRPC_AIO: over_grpc_aio(grpc_port, child, called),
        LOOP: plain_loop(path, rows),
        REST_TENSORS: over_sockets(port, child, asked),
        GRPC_TENSORS: over_sockets(
            grpc_port,
            child,
            [lean_grpc.message(rpc(model, each)) for each in tensors],
            lean_grpc.GrpcConnection,
        ),
        **beside,
    }


def table(found: dict[str, list[dict[str, float]]], concurrency: int) -> list[str]:
    """What was found, in words; ratios are taken within each round."""
    lines = [
        f"| way | answers/s, {concurrency} in flight | to its like | wanted | CPU ms each: service | client "
        "| p50 ms alone | to its like |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for way, rounds in found.items():
        rate, alone = spread(each["per_second"] for each in rounds), spread(each["alone_ms"] for each in rounds)
        like, wanted = WANTED.get(way, (way, 1.0))
        pairs = list(zip(rounds, found[like], strict=True))
        ratio = spread(one["per_second"] / other["per_second"] for one, other in pairs)
        longer = spread(one["alone_ms"] / other["alone_ms"] for one, other in pairs)
        lines.append(
            f"| {way} | {rate.median:.0f} ({rate.low:.0f}-{rate.high:.0f}) | {ratio.median:.3f} "
            f"({ratio.low:.2f}-{ratio.high:.2f}) | {wanted:g} | {_cpu(rounds, 'service_ms')} | "
            f"{_cpu(rounds, 'client_ms')} | {alone.median:.2f} | {longer.median:.3f} |"
        )
    return lines


def _cpu(rounds: list[dict[str, float]], of: str) -> str:
    found = spread(each.get(of, math.nan) for each in rounds)
    return "" if math.isnan(found.median) else f"{found.median:.2f} ({found.low:.2f}-{found.high:.2f})"


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
                busy, alone = asked[way](concurrency, seconds), asked[way](1, seconds / 2)
                found[way].append({**busy.told(), "alone_ms": alone.p50_ms})
    out.mkdir(parents=True, exist_ok=True)
    record = {"machine": asdict(machine.describe()), "seconds": seconds, "concurrency": concurrency, "found": found}
    (out / "bench-protocols.json").write_text(json.dumps(record, indent=1) + "\n")
    text = "\n".join([*table(found, concurrency), ""])
    (out / "bench-protocols.md").write_text(text)
    Console(soft_wrap=True).print(text, markup=False, highlight=False)


if __name__ == "__main__":
    start(measure)
