"""`make bench-peers`: the service beside mosec, LitServe and plain FastAPI, in alternating slices of one run.

The plain loop is measured with them: the same decoding, network and answer in a thread a core of one process, without
any server.
"""

import http.client
import json
import socket
import sys
import urllib.request
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from app.bench import machine, pictures
from app.bench.load import HOST
from app.bench.measurements import SERVICE, Slice, ratios, select, spread
from app.bench.pictures import Workload
from app.bench.plan import BenchPlan, make_plan
from app.bench.processes import Child, sigterm_as_exit
from app.bench.results import in_range
from app.bench.run import turns
from app.errors import StartupError
from app.host.process import environment_with
from benchmarks.command_line import FAILED, OK, Out, Quick, start
from benchmarks.peers import environments, network
from benchmarks.peers.family import Family, Peer
from benchmarks.peers.settings import PEER_MODEL
from benchmarks.rivals import PLAIN, PlainLoop

ROOT = Path(__file__).parents[2]
PEERS = {
    # name: path that says it is ready, path that answers, whether it takes a form
    "mosec": ("/", "/inference", False),
    "litserve": ("/health", "/predict", True),
    "fastapi": ("/health", "/predict", False),
}
BUSY = 32
HEAD = (
    "pictures",
    "in flight",
    "",
    "pictures/s",
    "service to it",
    "p50 ms",
    "p99 ms",
    "CPU ms/picture",
    "PSS MB at 32",
)

Memory = dict[tuple[str, str], list[float]]


def compare(
    seconds: Annotated[float | None, typer.Option(min=0.05, help="Length of a slice; 3 where left out.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="How often each is measured; 5 where left out.")] = None,
    concurrency: Annotated[str, typer.Option(help="Requests in flight, with commas between.")] = "1,8,32",
    peers: Annotated[str, typer.Option(help="Whom to measure beside, with commas between.")] = ",".join(PEERS),
    out: Out = Path("out/peers"),
    quick: Quick = False,
) -> None:
    """Measure the service beside its peers on MobileNetV3-Large with random weights."""
    planned = make_plan(seconds=seconds, rounds=rounds, concurrency=concurrency, soak=0, out=out, quick=quick)
    names = [name.strip() for name in peers.split(",")]
    if unknown := sorted(set(names) - set(PEERS)):
        raise StartupError(f"--peers: there is no {', '.join(unknown)}; there are {', '.join(PEERS)}.")
    with sigterm_as_exit(), TemporaryDirectory(prefix="roo-peers-") as folder:
        chosen, slices, memory = _measure(planned, names, Path(folder))
    text = _markdown(planned, chosen, slices, memory)
    out.mkdir(parents=True, exist_ok=True)
    (out / "peers.md").write_text(text)
    (out / "peers.json").write_text(json.dumps([asdict(item) for item in slices], indent=1) + "\n")
    Console(width=160).print(text, markup=False, highlight=False)
    failed = [item for item in slices if item.measured.errors]
    for item in failed[:3]:
        typer.echo(f"{item.contender}: {item.measured.first_error}", err=True)
    sys.exit(FAILED if failed else OK)


def _measure(plan: BenchPlan, names: list[str], folder: Path) -> tuple[str, list[Slice], Memory]:
    """What the service chose at its start, and what was measured."""
    graph = network.add_model(folder / "models")
    loads = pictures.workloads(folder / "models" / network.NAME, plan.pictures)
    slices: list[Slice] = []
    memory: Memory = {}
    with ExitStack() as running:
        servers = [_service(folder, running), *(_peer(name, graph, folder, running) for name in names)]
        _agree(servers, loads[0])
        chosen = _chosen_batches(servers[0])
        contenders: list[Peer | PlainLoop] = [*servers, _plain_loop(folder, running)]
        for number, load, concurrency, contender in turns(plan, loads, contenders):
            measured = contender.measure(load, concurrency, plan.warm_seconds, plan.seconds)
            slices.append(Slice(number, load.size, concurrency, contender.name, measured))
            if concurrency == BUSY and isinstance(contender, Peer):
                memory.setdefault((contender.name, load.size), []).append(contender.family.proportional_mb())
    return chosen, slices, memory


def _chosen_batches(service: Peer) -> str:
    """A service that started beside other work may have measured wrongly; then its batches say so."""
    with urllib.request.urlopen(f"http://{HOST}:{service.port}/v1/models") as answer:
        version = json.load(answer)["models"][0]["versions"][0]
    return f"the service computes batches of up to {version['max_batch_size']} ({version['batch_reason']})"


def _service(folder: Path, running: ExitStack) -> Peer:
    port = _free_port()
    options = ["--host", HOST, "--port", str(port), "--models-dir", str(folder / "models"), "--device", "cpu"]
    environment = environment_with(ROO_ENGINE="onnx", ROO_PRECISION="fp32")
    child = Child(SERVICE, ["app", "serve", *options], folder, environment=environment)
    return Peer(SERVICE, running.enter_context(Family(child)), port, "/readyz", "/v1/predict")


def _peer(name: str, graph: Path, folder: Path, running: ExitStack) -> Peer:
    ready_path, path, form = PEERS[name]
    port, python = _free_port(), environments.python_of(name)
    arguments = [f"benchmarks.peers.{name}_peer", "--port", str(port)]
    environment = environment_with(**{PEER_MODEL: str(graph), "PYTHONPATH": str(ROOT)})
    child = Child(name, arguments, folder, environment=environment, cwd=ROOT, python=python)
    return Peer(name, running.enter_context(Family(child)), port, ready_path, path, form=form)


def _plain_loop(folder: Path, running: ExitStack) -> PlainLoop:
    arguments = ["benchmarks.plain_loop", str(folder / "models"), network.NAME, "cpu"]
    environment = environment_with(ROO_ENGINE="onnx", ROO_PRECISION="fp32")
    child = running.enter_context(Child(PLAIN, arguments, folder, environment=environment, talks=True))
    return PlainLoop(child, folder)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _agree(contenders: list[Peer], load: Workload) -> None:
    """Nobody is fast by another answer: the best class of the first picture is everybody's."""
    found = {contender.name: _best_class(contender, load.pictures[0]) for contender in contenders}
    if len(set(found.values())) != 1:
        raise StartupError(f"They do not answer alike: {found}.")


def _best_class(contender: Peer, picture: bytes) -> int:
    head, _, body = contender.request(picture).partition(b"\r\n\r\n")
    target, *lines = head.decode().split("\r\n")
    connection = http.client.HTTPConnection(HOST, contender.port, timeout=30.0)
    connection.request("POST", target.split()[1], body, dict(line.split(": ", 1) for line in lines))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise StartupError(f"The {contender.name} answers {answer.status}: {content[:300]!r}")
    best: int = json.loads(content)["classes"][0]["class_id"]
    return best


def _markdown(plan: BenchPlan, chosen: str, slices: list[Slice], memory: Memory) -> str:
    described = machine.describe()
    rows = [HEAD, ("---",) * len(HEAD)]
    names = list(dict.fromkeys(item.contender for item in slices))
    for size in dict.fromkeys(item.size for item in slices):
        for concurrency in plan.concurrencies:
            service = select(slices, size, concurrency, SERVICE)
            for name in names:
                own = select(slices, size, concurrency, name)
                pss = spread(memory.get((name, size), []) if concurrency == BUSY else [])
                rows.append(
                    (
                        size,
                        str(concurrency),
                        name,
                        in_range(spread(item.measured.per_second for item in own), 0),
                        in_range(spread(ratios(service, own))),
                        in_range(spread(item.measured.p50_ms for item in own), 1),
                        in_range(spread(item.measured.p99_ms for item in own), 1),
                        in_range(spread(1e3 * m.cpu_seconds / max(1, m.pictures) for m in (i.measured for i in own))),
                        in_range(pss, 0) if concurrency == BUSY else "",
                    )
                )
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    about = f"{described.cpu}, {described.cores} usable cores; load average {described.load_before:.1f} before the run"
    rounds = f"{plan.rounds} alternating rounds of slices of {plan.seconds:g} s, medians (lowest-highest)"
    return f"{about}; {rounds}; {chosen}\n\n{table}\n"


if __name__ == "__main__":
    start(compare)
