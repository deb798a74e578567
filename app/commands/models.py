"""`roo-vision models list | show | check`."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.errors import StartupError
from app.loading import loader
from app.loading.chains import unfit
from app.loading.serving import Serving
from app.repository import repository
from app.repository.manifest import FILE_NAME

console = Console()


def print_list(root: Path) -> bool:
    """A table of the models at `root`, and what is wrong with others; True where nothing is.

    Raises `StartupError` where there are none.
    """
    table = Table("name", "task", "versions", "input", "labels", "description")
    found = repository.survey(root)
    for entry in found.entries:
        manifest = entry.manifest
        size = "tensor" if manifest.input is None else "x".join(map(str, manifest.input.size))
        table.add_row(
            entry.name, manifest.task, ", ".join(entry.versions), size, str(len(entry.labels)), manifest.description
        )
    wrong = {**found.failures, **unfit(found.chains, {entry.name: entry for entry in found.entries}, found.failures)}
    for chain in found.chains:
        if chain.name not in wrong:
            asked = " → ".join(map(str, chain.pipeline.models()))
            table.add_row(chain.name, "chain", chain.pipeline.version, asked, "", chain.pipeline.description)
    for name in wrong:
        table.add_row(name, "", "", "", "", "not served: see below", style="red")
    console.print(table)
    for error in wrong.values():
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    return not wrong


def print_model(root: Path, name: str) -> None:
    """Everything that a model's manifest, or a chain's file, says, defaults included."""
    folder = repository.described_folder(root, name)
    if repository.is_chain(folder):
        console.print_json(repository.read_chain(folder).pipeline.model_dump_json(exclude_none=True))
        return
    entry = repository.read_model(root, name)
    for version, path in entry.versions.items():
        console.print(f"[bold]{entry.name}[/] version {version}: {path} ({path.stat().st_size / 2**20:.1f} MiB)")
    console.print_json(entry.manifest.model_dump_json(exclude_none=True))


def check(directory: Path, serving: Serving) -> bool:
    """Check a repository or one model's folder, every model even where one fails; True when all are well."""
    if repository.is_chain(directory):
        return _check_chains(directory.absolute().parent, directory.absolute().name)
    folders, unlisted = [directory], []
    whole = not (directory / FILE_NAME).is_file()
    if whole:
        folders = [path.parent for path in sorted(directory.glob(f"*/{FILE_NAME}"))]
        unlisted = [repository.unlisted_model(folder) for folder in sorted(directory.glob("*"))]
    if not folders and not any(unlisted):
        raise StartupError(f"{directory} is neither a model's folder nor a repository: there is no {FILE_NAME} in it.")
    verdicts = [_check_one(folder, serving) for folder in folders]
    for error in filter(None, unlisted):
        console.print(f"[red]✗[/] {error}", highlight=False, soft_wrap=True)
        verdicts.append(False)
    return all([*verdicts, _check_chains(directory) if whole else True])


def _check_chains(root: Path, only: str | None = None) -> bool:
    """Whether the chains of a repository, or one of them, fit its models as those are described."""
    found = repository.survey(root)
    wrong = unfit(found.chains, {entry.name: entry for entry in found.entries}, found.failures)
    chains = [path for path in sorted(root.iterdir()) if repository.is_chain(path) and only in (None, path.name)]
    for folder in chains:
        error = wrong.get(folder.name) or found.failures.get(folder.name)
        if error is None:
            console.print(f"[green]✓[/] {folder.name}: chain", highlight=False)
        else:
            console.print(f"[red]✗[/] {folder.name}", highlight=False)
            console.print(str(error), markup=False, highlight=False)
    return not any(folder.name in {*wrong, *found.failures} for folder in chains)


def _check_one(folder: Path, serving: Serving) -> bool:
    try:
        entry = repository.read_entry(folder, serving.trust)
        for model in loader.load(entry, serving):
            model.close()
    except StartupError as error:
        console.print(f"[red]✗[/] {folder.name}", highlight=False)
        console.print(str(error), markup=False, highlight=False)
        return False
    console.print(
        f"[green]✓[/] {folder.name}: {entry.manifest.task}, versions {', '.join(entry.versions)}", highlight=False
    )
    return True
