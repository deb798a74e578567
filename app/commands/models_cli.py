"""`roo-vision models`: options in, exit codes out; the work is done in the modules beside it.

Modules that a command needs are imported inside it, so that `--help` and a mistyped option answer at once.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.commands.common import FAILED, OK, Device, ModelsDir

models_cli = typer.Typer(
    help="Look at a model repository without serving it, and change what a service serves of its own.",
    no_args_is_help=True,
)

ModelName = Annotated[str, typer.Argument(help="The model's folder name in the service's repository.")]
Url = Annotated[str, typer.Option(help="The service's address; ROO_API_KEY is sent with it.")]


@models_cli.command("list")
def list_models(models_dir: ModelsDir = None) -> None:
    """List the models of a repository."""
    from app.commands import models
    from app.settings import load_settings

    sys.exit(OK if models.print_list(load_settings(models_dir=models_dir).models_dir) else FAILED)


@models_cli.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="The model's folder name.")], models_dir: ModelsDir = None
) -> None:
    """Show one model: its task, labels, input and versions."""
    from app.commands import models
    from app.settings import load_settings

    models.print_model(load_settings(models_dir=models_dir).models_dir, name)


@models_cli.command("check")
def check_models(
    directory: Annotated[Path, typer.Argument(help="A model repository, or one model's folder.")],
    device: Device = None,
) -> None:
    """Load and warm every model, as serving would, and say what is wrong."""
    from app.commands import models
    from app.loading.serving import Serving
    from app.settings import load_settings

    serving = Serving.of(load_settings(device=device))
    sys.exit(OK if models.check(directory, serving) else FAILED)


@models_cli.command("export")
def export_model(
    source: Annotated[str, typer.Argument(help="torchvision:NAME, such as torchvision:resnet18.")],
    weights: Annotated[
        str,
        typer.Option(help="File of weights (a state dict), DEFAULT or another of torchvision's names for the model."),
    ] = "DEFAULT",
    out: Annotated[Path, typer.Option(help="Model repository to write the entry into.")] = Path("models"),
    format: Annotated[Literal["onnx", "pt2", "both"], typer.Option(help="Which program to write.")] = "onnx",
    labels: Annotated[
        str | None, typer.Option(help="Class names: a file with one a line, or a,b,c; the weights' own if left out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name here; torchvision's where left out.")] = None,
) -> None:
    """Write a model of torchvision's as a ready entry of a repository: classifiers, detectors, segmentation.

    Needs the extra `torch`.
    """
    from app.commands import export

    export.run(export.Export(source, weights, out, format, labels, name))


@models_cli.command("add-ocr")
def add_ocr(
    package: Annotated[
        Path | None,
        typer.Option(help="A wheel, or a folder with its three ONNX files; the installed rapidocr if left out."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Model repository to write the entries into.")] = Path("models"),
    name: Annotated[str, typer.Option(help="What the entries' names begin with.")] = "text",
) -> None:
    """Write PP-OCR's models, which the package rapidocr carries, as ready entries: where text is, and what it says."""
    from app.commands import add_ocr

    add_ocr.run(package, out, name)


@models_cli.command("add")
def add_model(
    file: Annotated[Path, typer.Argument(help="An ONNX file.", exists=True, dir_okay=False)],
    task: Annotated[
        Literal["classification", "detection", "segmentation", "embedding", "maps"] | None,
        typer.Option(help="What the model does; the graph's metadata may say it."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Class names: a file with one a line, or a,b,c; the graph's metadata's, else numbers, if left out."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Model repository to write the entry into.")] = Path("models"),
    name: Annotated[str | None, typer.Option(help="The model's name; the file's where left out.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTH,HEIGHT, for a graph that takes any size.")] = None,
    decoder: Annotated[str | None, typer.Option(help="How a detector is read, where the graph does not tell.")] = None,
    like: Annotated[
        str | None, typer.Option(help="A family whose fields are the defaults: ultralytics, yolox, detr …")
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the manifest: SECTION.FIELD=VALUE; may be given many times."),
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Factor on a pixel's 0 to 255; 1/255 where left out.")] = None,
    mean: Annotated[
        str | None, typer.Option(help="One number, or one for each channel with commas, in their order.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="As --mean.")] = None,
    channels: Annotated[Literal["rgb", "bgr"], typer.Option(help="Order of the channels.")] = "rgb",
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Rewrite a fixed batch dimension; needs the extra `tools`.")
    ] = False,
    manifest: Annotated[
        Path | None, typer.Option(help="A manifest that was begun, such as the draft that a refusal leaves.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Make the file this version, or the `next`, of a model that is there.")
    ] = None,
    try_picture: Annotated[
        Path | None, typer.Option("--try", help="Picture to answer afterwards, so that you see whether it is right.")
    ] = None,
    drawn: Annotated[Path | None, typer.Option(help="Where to draw that answer; NAME-try.jpg if left out.")] = None,
) -> None:
    """Write an ONNX file as a ready entry of a repository, after looking at its graph."""
    from app.commands import add, addition

    sides = None if size is None else addition.read_size(size)
    wanted = {
        "scale": scale,
        "mean": None if mean is None else addition.read_levels("--mean", mean),
        "std": None if std is None else addition.read_levels("--std", std),
        "channels": None if channels == "rgb" else channels,
    }
    pixels = {field: value for field, value in wanted.items() if value is not None}
    asked = addition.Addition(
        file,
        task,
        out,
        labels,
        name,
        sides,
        decoder,
        dynamic_batch,
        pixels,
        like,
        fields=addition.read_fields(fields or []),
        version=None if version is None else addition.read_version(version),
        picture=try_picture,
        drawn=drawn,
    )
    add.run(asked if manifest is None else addition.with_draft(asked, manifest))


@models_cli.command("inspect")
def inspect_model(
    model: Annotated[str, typer.Argument(help="An ONNX file, or a model's name in the repository.")],
    try_picture: Annotated[
        Path | None, typer.Option("--try", help="Picture to try it on; one of the repository's examples if left out.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Class names: a file with one a line, or a,b,c; the graph's own if left out.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="WIDTH,HEIGHT, for a graph that takes any size.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    models_dir: ModelsDir = None,
) -> None:
    """Say what an ONNX file holds, and what each family and each decoder would make of it on a picture."""
    from app.commands import addition, inspection
    from app.settings import load_settings

    root = load_settings(models_dir=models_dir).models_dir
    sides = None if size is None else addition.read_size(size)
    inspection.run(inspection.Inspection(model, root, try_picture, labels, sides, json))


@models_cli.command("shadow-report")
def shadow_report(
    folder: Annotated[Path | None, typer.Argument(help="What ROO_SHADOW_DIR names, where left out.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON array, with both answers.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Draw both answers side by side into this page (.html) or picture (.png, .jpg).")
    ] = None,
    most: Annotated[
        int | None, typer.Option(min=1, help="Most pictures of two versions in --out; 50 in a page, 8 in a picture.")
    ] = None,
) -> None:
    """List, or draw, the pictures about which a version that computes unsent differs most from what was sent."""
    from app.commands import shadow_report
    from app.errors import StartupError
    from app.settings import load_settings

    kept = folder or load_settings().shadow_dir
    if kept is None:
        raise StartupError("Name a folder, or set ROO_SHADOW_DIR.")
    pairs = shadow_report.read(kept)
    if out is None:
        shadow_report.show(pairs, as_json=json)
        return
    from app.commands import shadow_pictures

    for left in shadow_pictures.write(pairs, out, most):
        typer.echo(f"roo-vision: left out: {left}", err=True)


@models_cli.command("quantize")
def quantize_model(
    name: Annotated[str, typer.Argument(help="The model's folder name.")],
    data: Annotated[Path, typer.Option(help="Folder of pictures as the model will meet them; 100 or more are best.")],
    replace: Annotated[bool, typer.Option("--replace", help="Write the file anew where there is one.")] = False,
    models_dir: ModelsDir = None,
) -> None:
    """Make an int8 file of an ONNX model, and tell what it changes on your pictures. Needs the extra `tools`."""
    from app.commands import quantize
    from app.settings import load_settings

    quantize.run(quantize.Quantizing(load_settings(models_dir=models_dir).models_dir, name, data, replace))


@models_cli.command("pull")
def pull_models(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, azblob://ACCOUNT/CONTAINER/PREFIX, oci://REGISTRY/REPOSITORY:TAG, mlflow+https://HOST/NAME@ALIAS."
        ),
    ],
    names: Annotated[list[str] | None, typer.Argument(help="Models; all of them where left out.")] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", help="Model repository to bring them into; ROO_MODELS_DIR, else ./models."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace files of a model that no pull has brought, too.")
    ] = False,
) -> None:
    """Bring models from where they are kept: checked, whole or not at all, and resumed after an interruption."""
    from app.commands import transfer
    from app.loading.serving import trusted
    from app.repository.sources.pulling import Pull
    from app.settings import load_settings

    settings = load_settings(models_dir=into)
    wanted = Pull(names or (), replace=replace, most_bytes=settings.models_bytes, trust=trusted(settings))
    sys.exit(OK if transfer.pull(source, settings.models_dir, wanted) else FAILED)


@models_cli.command("push")
def push_models(
    target: Annotated[
        str, typer.Argument(help="A folder, azblob://ACCOUNT/CONTAINER/PREFIX, or a container's https URL.")
    ],
    names: Annotated[list[str] | None, typer.Argument(help="Models; all of them where left out.")] = None,
    models_dir: ModelsDir = None,
) -> None:
    """Bring models to where others pull them from; a version that is there is never overwritten by another."""
    from app.commands import transfer
    from app.settings import load_settings

    transfer.push(load_settings(models_dir=models_dir).models_dir, target, names or ())


@models_cli.command("load")
def load_model(name: ModelName, url: Url) -> None:
    """Have a running service load a model, or what has changed of it, without a restart."""
    from app.commands import living

    living.change("load", name, url)


@models_cli.command("reload")
def reload_model(name: ModelName, url: Url) -> None:
    """Have a running service open a model anew, whether it has changed or not."""
    from app.commands import living

    living.change("reload", name, url)


@models_cli.command("unload")
def unload_model(name: ModelName, url: Url) -> None:
    """Have a running service answer for a model no more."""
    from app.commands import living

    living.change("unload", name, url)


@models_cli.command("keygen")
def generate_key(
    out: Annotated[Path, typer.Option(help="Where the private key goes; the public one lies beside it, with .pub.")],
) -> None:
    """Make a pair of keys for signing models (Ed25519)."""
    from app.commands import signing

    called = signing.generate(out)
    typer.echo(f"{out} is the private key {called}: keep it secret. {out}.pub is for ROO_TRUSTED_KEYS.")


@models_cli.command("sign")
def sign_model(
    name: Annotated[str, typer.Argument(help="The model's folder name.")],
    key: Annotated[Path, typer.Option(help="File of the private key (Ed25519, PEM).")],
    models_dir: ModelsDir = None,
) -> None:
    """Sign a model with all the files that it has now, for services that set ROO_TRUSTED_KEYS."""
    from app.commands import signing
    from app.settings import load_settings

    count, called = signing.sign(load_settings(models_dir=models_dir).models_dir, name, key)
    typer.echo(f"{name}: {count} files signed with the key {called}")
