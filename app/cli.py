"""The command `roo-vision`: options in, exit codes out; the work is done elsewhere.

Modules that a command needs are imported inside it, so that `--help` and a mistyped option answer at once.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.commands.common import CANNOT_START, FAILED, OK, Device, ModelsDir
from app.commands.dead_letters import dead_letters_cli
from app.commands.models_cli import models_cli
from app.devbus.command import devbus
from app.errors import RooError, StartupError

cli = typer.Typer(
    help="Understand pictures: an inference service over HTTP, and the tools around it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cli.add_typer(models_cli, name="models")
cli.add_typer(dead_letters_cli, name="dead-letters")
cli.command()(devbus)


def _print_version(wanted: bool) -> None:
    if wanted:
        from app import __version__

        typer.echo(f"roo-vision {__version__}")
        raise typer.Exit


@cli.callback()
def _every_command(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the program's version, and end."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; errors are one readable message on standard error, never a traceback."""
    try:
        cli()
    except RooError as error:
        typer.echo(f"roo-vision: {error}", err=True)
        sys.exit(CANNOT_START)


@cli.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; ROO_HOST, else 0.0.0.0.", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; ROO_PORT, else 8000.", show_default=False)
    ] = None,
    queue: Annotated[
        str | None, typer.Option(help="Queue to work off as well; ROO_QUEUE, else none.", show_default=False)
    ] = None,
    no_http: Annotated[
        bool, typer.Option("--no-http", help="Take no pictures over HTTP; probes and metrics stay.")
    ] = False,
    no_queue: Annotated[
        bool, typer.Option("--no-queue", help="Take no messages, even where ROO_QUEUE is set.")
    ] = False,
    models_dir: ModelsDir = None,
    device: Device = None,
) -> None:
    """Serve models over HTTP, and to a queue, until SIGTERM or Ctrl+C. Every setting is also a ROO_* variable."""
    from app import main as service
    from app.settings import load_settings

    fronts = {"http": False if no_http else None, "worker": False if no_queue else None, "queue": queue}
    service.serve(load_settings(host=host, port=port, models_dir=models_dir, device=device, **fronts))


@cli.command()
def rollout(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    to: Annotated[
        str | None,
        typer.Option(help="The version, or stage, that is to get all requests; left out: say how far it is."),
    ] = None,
    steps: Annotated[str, typer.Option(help="Its percent at each step, rising to 100.")] = "5,25,50,100",
    every: Annotated[str, typer.Option(help="Least time of a step: 30s, 10m, 2h.")] = "10m",
    guard: Annotated[
        str, typer.Option(help="Limits with commas between: error_ratio, p50, p95 and p99 (x, ms or s), agreement.")
    ] = "error_ratio<0.5%,p99<1.2x",
    stop: Annotated[bool, typer.Option("--stop", help="Stop it, and go back to the shares before.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Say what happens until it ends.")] = False,
    url: Annotated[
        list[str] | None,
        typer.Option(
            help="The service, http://localhost:8000 where left out; with --traffic-file every replica of it."
        ),
    ] = None,
    traffic_file: Annotated[
        Path | None,
        typer.Option(help="Several replicas: write the shares into this traffic.yaml, which all of them read."),
    ] = None,
    apply: Annotated[
        str | None,
        typer.Option(help="With --traffic-file: run this command whenever it was written (kubectl apply …)."),
    ] = None,
) -> None:
    """Have a running service give a version its traffic step by step, and take it back where a guard fails.

    That is one replica's. Where several serve, --traffic-file has this command do it for all of them, until it ends.

    Ends with 1 where the service says no, or went back.
    """
    from app.commands import rollouts, shared_rollouts

    urls = url or ["http://localhost:8000"]
    plan = rollouts.planned(to, steps, every, guard)
    if traffic_file is not None:
        shared_rollouts.run(shared_rollouts.Shared(model, traffic_file, tuple(urls), apply), plan, stop=stop)
    if len(urls) > 1 or apply is not None:
        raise typer.BadParameter(
            "A service's own roll-out is one replica's. Several follow one traffic.yaml that all of them read: name it "
            "with --traffic-file (docs/upgrades.md)."
        )
    rollouts.run(rollouts.Asked(urls[0], model, watch), plan, stop=stop)


@cli.command()
def predict(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.", exists=True)],
    out: Annotated[Path | None, typer.Option(help="Folder to write the answers to, as --format says.")] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="drawn, json, jsonl, coco, yolo, csv or crops; several with commas between. drawn where left out.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a picture and line.")] = False,
    url: Annotated[str | None, typer.Option(help="Ask this running service instead of loading the model here.")] = None,
    key: Annotated[
        str | None, typer.Option(help="API key for --url; ROO_API_KEY keeps it out of the process list.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask; the default one where left out.")] = None,
    version: Annotated[str | None, typer.Option(help="Version of --model; the newest where left out.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Only these classes: names or numbers with commas between.")
    ] = None,
    score_threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Leave out detections below it.")] = None,
    iou: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of boxes that overlap more than this, the best stays.")
    ] = None,
    class_agnostic: Annotated[
        bool | None, typer.Option("--class-agnostic", help="Boxes of different classes suppress each other too.")
    ] = None,
    max_detections: Annotated[int | None, typer.Option(min=1, help="At most so many a picture, best first.")] = None,
    masks: Annotated[
        Literal["polygon", "rle", "uncompressed_rle", "png", "none"] | None,
        typer.Option(help="How masks are told, where the model gives some.", show_default=False),
    ] = None,
    l2: Annotated[
        bool | None,
        typer.Option("--l2/--no-l2", help="Whether an embedding's length becomes 1.", show_default=False),
    ] = None,
    embedding_format: Annotated[
        Literal["json", "float32", "float16"] | None,
        typer.Option(help="How an embedding's numbers are told.", show_default=False),
    ] = None,
    map_size: Annotated[
        Literal["model", "original"] | None,
        typer.Option(help="How large maps are: as the model's output, or as the picture.", show_default=False),
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Only this part of each picture: x,y,width,height in pixels.")
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(help="Look at large pictures in tiles: size in pixels, or size,overlap (0 to 1); none: never."),
    ] = None,
    normalized: Annotated[
        bool, typer.Option("--normalized", help="Boxes as 0 to 1 of the picture, in JSON and CSV.")
    ] = False,
    save_conf: Annotated[
        bool, typer.Option("--save-conf", help="With --format yolo: the score last in each line.")
    ] = False,
    models_dir: ModelsDir = None,
    device: Device = None,
) -> None:
    """Understand pictures from files."""
    from app.commands import predict as command
    from app.commands.output.formats import read_formats
    from app.commands.sources import find_sources, left_out
    from app.commands.summary import printable
    from app.settings import load_settings

    if formats and out is None:
        raise StartupError("--format says how to write; say where to with --out DIR. (--json prints JSON instead.)")
    if version is not None and model is None:
        raise StartupError("--version is a version of a model: name it with --model.")
    chosen = read_formats(formats or ["drawn"])
    if save_conf and "yolo" not in chosen:
        raise StartupError("--save-conf is for --format yolo.")
    if normalized and not (json or {"json", "jsonl", "csv"} & set(chosen)):
        raise StartupError("--normalized is for --json and --format json, jsonl and csv; YOLO's boxes always are.")
    options = command.read_options(
        classes=classes,
        score_threshold=score_threshold,
        iou_threshold=iou,
        class_agnostic=class_agnostic,
        max_detections=max_detections,
        masks=masks,
        normalize=l2,
        embedding_format=embedding_format,
        map_size=map_size,
        region=region,
        tiles=tiles,
    )
    if others := left_out(pictures):
        typer.echo(f"roo-vision: {printable(others)}.", err=True)
    job = command.Job(
        sources=find_sources(pictures, out),
        out=out,
        formats=chosen,
        json=json,
        url=url,
        model=model,
        version=version,
        options=options,
        normalized=normalized,
        save_conf=save_conf,
    )
    sys.exit(OK if command.run(job, load_settings(models_dir=models_dir, device=device, api_key=key)) else FAILED)


@cli.command()
def send(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.", exists=True)],
    queue: Annotated[str | None, typer.Option(help="Queue to send to; ROO_QUEUE.", show_default=False)] = None,
    results: Annotated[
        str | None, typer.Option(help="Queue on which results come back; ROO_RESULTS_QUEUE.", show_default=False)
    ] = None,
    rate: Annotated[str | None, typer.Option(help="800/min or 10/s; as fast as possible where left out.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Print each result as it comes, with its latency.")] = False,
    take_all: Annotated[
        bool, typer.Option("--take-all", help="With --wait: take results of others off the queue, too.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Model to ask; the default one where left out.")] = None,
    robot_id: Annotated[str | None, typer.Option(help="Comes back with each result.")] = None,
    session: Annotated[
        str | None, typer.Option(help="Session that all belong to, where the queue has sessions.", show_default=False)
    ] = None,
) -> None:
    """Put pictures on the queue, as a robot would. The namespace is ROO_SERVICEBUS_NAMESPACE or _CONNECTION_STRING."""
    from app.commands import send as command
    from app.commands.sources import find_pictures, left_out
    from app.commands.summary import printable
    from app.settings import load_client_settings

    wanted = {"model": model, "robot_id": robot_id}
    properties = {name: value for name, value in wanted.items() if value is not None}
    if others := left_out(pictures):
        typer.echo(f"roo-vision: {printable(others)}.", err=True)
    errand = command.Errand(find_pictures(pictures), command.read_rate(rate), wait, properties, session, take_all)
    sys.exit(OK if command.run(errand, load_client_settings(queue, results_queue=results)) else FAILED)


@cli.command()
def top(
    url: Annotated[str, typer.Option(help="Running service to watch.")] = "http://localhost:8000",
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print the figures since the service's start, and end.")] = False,
    key: Annotated[
        str | None, typer.Option(help="API key of the service; ROO_API_KEY keeps it out of the process list.")
    ] = None,
) -> None:
    """Watch a running service: rates, latencies, batches, queue, memory, GPUs."""
    from app.commands import top as command
    from app.settings import load_settings

    sys.exit(OK if command.run(url, interval, load_settings(api_key=key), once=once) else FAILED)


@cli.command()
def demo(
    pictures: Annotated[int, typer.Option(min=1, help="So many are put on the queue.")] = 200,
    models_dir: ModelsDir = None,
    stay: Annotated[
        bool | None,
        typer.Option(help="Leave the console there until Ctrl+C; by default in a terminal.", show_default=False),
    ] = None,
) -> None:
    """See the queue at work: a Service Bus in memory, the service, pictures sent to it; a table and the console."""
    from app.bench import demo as command
    from app.settings import load_settings

    sys.exit(
        OK
        if command.run(
            pictures, load_settings(models_dir=models_dir), stay=sys.stdout.isatty() if stay is None else stay
        )
        else FAILED
    )


@cli.command()
def bench(
    seconds: Annotated[
        float | None, typer.Option(min=0.05, help="Length of a slice; 3 where left out.", show_default=False)
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="How often each is measured; 5 where left out.", show_default=False)
    ] = None,
    concurrency: Annotated[str, typer.Option(help="Requests in flight, with commas between.")] = "1,8,32",
    soak: Annotated[int, typer.Option(min=0, help="Send so many requests of mixed sizes and watch the memory.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for bench.json, bench.md and bench.png.")] = Path("out/bench"),
    quick: Annotated[bool, typer.Option("--quick", help="Seconds in all: shows that it works, not how fast.")] = False,
    engines: Annotated[
        bool, typer.Option("--engines", help="Compare engines, precisions and batch sizes instead, without a server.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Model to measure; the default one where left out.")] = None,
    models_dir: ModelsDir = None,
    device: Device = None,
) -> None:
    """Measure the service on this machine: throughput and latency under load, start, memory; or its engines."""
    from app.bench import plan, run, sweep
    from app.settings import load_settings

    if engines:
        settings = load_settings(models_dir=models_dir, device=device)
        sweep.run(sweep.make_plan(seconds, rounds, out, quick=quick), settings, run.choose_model(settings, model))
        return
    planned = plan.make_plan(seconds=seconds, rounds=rounds, concurrency=concurrency, soak=soak, out=out, quick=quick)
    settings = load_settings(models_dir=models_dir, device=device)
    sys.exit(OK if run.run(planned, settings, model) else FAILED)
