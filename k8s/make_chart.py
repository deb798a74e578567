"""Makes the Helm chart of the overlays (`make chart`): what kustomize renders is the truth, nothing is written twice.

A value of the chart is a component of the overlays. Each document is rendered with and without those that it depends
on, and the lines that differ are put between `if`s. Names are marks while kustomize renders (the ConfigMap `azure`),
and become `.Values.azure` wherever it put them.
"""

import itertools
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path

import yaml

from k8s.chart_values import GENERATED, KUBERNETES, OPTIONS, values_and_schema

CHART = KUBERNETES / "chart"
BY_HAND = {"templates/_helpers.tpl", "dashboard.json"}
"""Files of the chart that are not made; the dashboard is a link to the component's."""

Setting = tuple[tuple[str, str], ...]
"""What each value says, in the order of `OPTIONS`: `true` for one that is on, nothing for one that is off."""


@dataclass(frozen=True)
class Choice:
    """Lines that depend on a value."""

    condition: str
    then: tuple["Token", ...]
    otherwise: tuple["Token", ...]


Token = str | Choice
Lines = tuple[Token, ...]

NAMESPACE = "mark-namespace"
SETTINGS_NAME = "mark-settings-name"
WHOLE = {
    "mark-dashboard": '{{ .Files.Get "dashboard.json" | trim | indent 4 }}',
    "mark-data": '{{- include "roo-vision.settings" . | nindent 2 }}',
}
"""Marks of whole lines."""
TAG = r"v\d+\.\d+\.\d+"


def rendered(setting: Setting) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """The lines of every document that the overlays give with these values, by (API group, kind, name)."""
    chosen = dict(setting)
    components = [OPTIONS[name][value] for name, value in setting if value and name != "gpu"]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "k8s"
        shutil.copytree(KUBERNETES, tree, ignore=shutil.ignore_patterns("chart", "*.py", "*.md"))
        overlay = tree / "overlays" / "cpu"
        kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text())
        kustomization["components"] = [f"../../components/{name}" for name in ["azure", *components]]
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        names = yaml.safe_load((overlay / "azure.yaml").read_text())
        names["data"] = {name: f"mark-{name}" for name in names["data"]}
        (overlay / "azure.yaml").write_text(yaml.safe_dump(names))
        text = kustomize(overlay.with_name("gpu") if chosen["gpu"] else overlay)
    documents = {}
    for document in text.split("\n---\n"):
        group, kind, name = _identity(document)
        documents[group, kind, name] = tuple(_marked(kind, document))
    return documents


def kustomize(folder: Path) -> str:
    """What kustomize renders of a folder."""
    command = ["kubectl", "kustomize"] if shutil.which("kubectl") else ["kustomize", "build"]
    return subprocess.run([*command, str(folder)], capture_output=True, text=True, check=True).stdout


def _identity(document: str) -> tuple[str, str, str]:
    version, kind = (re.findall(rf"^{field}: (\S+)$", document, re.MULTILINE)[0] for field in ("apiVersion", "kind"))
    (name,) = re.findall(r"^metadata:\n(?:  .*\n)*?  name: (\S+)$", document, re.MULTILINE)
    return version.rpartition("/")[0], kind, re.sub(r"^settings-\w{10}$", "settings", name)


def _marked(kind: str, document: str) -> Iterator[str]:
    """The document's lines, with a mark for everything that becomes a value."""
    if "\n  dashboard.json: |\n" in document:
        document = re.sub(r"(\n  dashboard.json: \|)\n.*?\n(?=\S)", r"\1\nmark-dashboard\n", document, flags=re.DOTALL)
    document = re.sub(r"\bsettings-[a-z0-9]{10}\b", SETTINGS_NAME, document)
    document = re.sub(r'((?:\bnamespace|/metadata\.name): |namespace=")roo-vision\b', rf"\1{NAMESPACE}", document)
    if kind == "Namespace":
        document = re.sub(r"^(  name: )roo-vision\b", rf"\1{NAMESPACE}", document, flags=re.MULTILINE)
    document = re.sub(rf"(image: )\S+/roo-vision:({TAG}[-\w]*)$", r"\1mark-image \2", document, flags=re.MULTILINE)
    yield from document.rstrip("\n").split("\n")


def merged(key: tuple[str, str, str], free: list[str], setting: Setting = ()) -> Lines:
    """The document's lines for every combination of the values that are still free."""
    if not free:
        return _document(key, setting)
    name, rest = free[0], free[1:]
    lines = merged(key, rest, (*setting, (name, "")))
    for value in OPTIONS[name]:
        test = f".Values.{name}" if value == "true" else f'eq .Values.{name} "{value}"'
        lines = _joined(test, merged(key, rest, (*setting, (name, value))), lines)
    return lines


def _joined(test: str, then: Lines, otherwise: Lines) -> Lines:
    lines: list[Token] = []
    matcher = SequenceMatcher(None, otherwise, then, autojunk=False)
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        if tag == "equal":
            lines += otherwise[start:end]
        else:
            lines.append(Choice(test, then[other_start:other_end], otherwise[start:end]))
    return tuple(lines)


def _complete(setting: Setting) -> Setting:
    chosen = dict(setting)
    return tuple((name, chosen.get(name, "")) for name in OPTIONS)


_rendered = cache(rendered)


def _document(key: tuple[str, str, str], setting: Setting) -> Lines:
    return _rendered(_complete(setting)).get(key, ())


def dependencies(key: tuple[str, str, str]) -> list[str]:
    """The values that change a document, all others off or all on; first those without which it is not there."""
    everything = {name: next(iter(values)) for name, values in OPTIONS.items()}
    found: list[str] = []
    for name, values in OPTIONS.items():
        for others in ({}, everything):
            variants = {_document(key, tuple({**others, name: value}.items())) for value in ["", *values]}
            if len(variants) > 1 and name not in found:
                found.insert(0 if () in variants else len(found), name)
    return found


def written(lines: Lines) -> str:
    """The lines as Helm's template."""
    parts: list[str] = []
    for line in lines:
        if isinstance(line, str):
            parts.append(_line(line))
            continue
        parts += [*_branches(line), "{{- end }}"]
    return "\n".join(parts)


def _branches(choice: Choice, otherwise: str = "") -> list[str]:
    if not choice.then:
        return [f"{{{{- {otherwise}if not ({choice.condition}) }}}}", written(choice.otherwise)]
    branches = [f"{{{{- {otherwise}if {choice.condition} }}}}", written(choice.then)]
    match choice.otherwise:
        case ():
            return branches
        case (Choice() as other,):
            return [*branches, *_branches(other, "else ")]
        case _:
            return [*branches, "{{- else }}", written(choice.otherwise)]


def _line(line: str) -> str:
    if line in WHOLE:
        return WHOLE[line]
    line = line.replace("{{", '{{ "{{" }}')
    for field, value in (("maxReplicaCount", "maxReplicas"), ("minReplicaCount", "minReplicas")):
        line = re.sub(rf"({field}: )(\d+)$", rf"\1{{{{ .Values.{value} | default \2 | int }}}}", line)
    line = re.sub(r'(messageCount: )"(\d+)"$', r"\1{{ .Values.messagesPerReplica | default \2 | int | quote }}", line)
    line = re.sub(r"mark-image (\S+)$", r'{{ include "roo-vision.image" (list . "\1") | quote }}', line)
    line = line.replace(SETTINGS_NAME, '{{ include "roo-vision.settingsName" . }}')
    if not (scalar := re.fullmatch(r"((?: *- )* *(?:[\w./-]+: )?)(.*mark-\w+.*)", line)):
        return line
    start, value = scalar.groups()
    value = value.replace(NAMESPACE, "{{ .Values.namespace }}")
    value = re.sub(r"mark-(\w+)", r"{{ .Values.azure.\1 }}", value)
    return f'{start}"{value}"' if '"' not in value else start + value


def templates() -> dict[str, str]:
    """Every file of the folder `templates` that is not written by hand."""
    keys = sorted({key for setting in _single() for key in _rendered(_complete(setting))})
    files: dict[str, str] = {}
    for group, kind, name in keys:
        lines = merged((group, kind, name), dependencies((group, kind, name)))
        file = f"{kind}-{name}".lower()
        file += "-" + group.partition(".")[0] if f"{file}.yaml" in files else ""
        if (kind, name) == ("ConfigMap", "settings"):
            lines, files["_settings.tpl"] = _settings(lines)
        files[f"{file}.yaml"] = f"{GENERATED}\n{written(lines)}\n"
    return files


def _single() -> Iterator[Setting]:
    """Nothing chosen, and each value by itself, with what it comes after."""
    yield ()
    for name, values in OPTIONS.items():
        for value in values:
            yield ((name, value),)


def _settings(lines: Lines) -> tuple[Lines, str]:
    """The ConfigMap around its data, and the data as a template of its own: its digest is in the ConfigMap's name."""
    start, end = lines.index("data:") + 1, lines.index("kind: ConfigMap")
    body = "\n".join(part.removeprefix("  ") for part in written(lines[start:end]).split("\n"))
    text = f'{{{{- define "roo-vision.defaults" -}}}}\n{body}\n{{{{- end }}}}\n'
    return (*lines[:start], "mark-data", *lines[end:]), text


def chart() -> dict[str, str]:
    """Every file of the chart that is made."""
    version = tomllib.loads((KUBERNETES.parent / "pyproject.toml").read_text())["project"]["version"]
    files = {f"templates/{name}": text for name, text in templates().items()}
    used = set(itertools.chain.from_iterable(re.findall(r"\.Values\.azure\.(\w+)", text) for text in files.values()))
    files["values.yaml"], files["values.schema.json"] = values_and_schema(used)
    files["Chart.yaml"] = (
        f"{GENERATED}\napiVersion: v2\nname: roo-vision\ntype: application\n"
        f'version: {version}\nappVersion: "{version}"\nkubeVersion: ">=1.30.0-0"\n'
        "description: Roo Vision on AKS, the same as the kustomize overlays of its repository\n"
    )
    return files


def write() -> None:
    """Write the chart, and remove what is no longer of it."""
    made = chart()
    for path in (path for path in CHART.rglob("*") if path.is_file()):
        if str(path.relative_to(CHART)) not in made.keys() | BY_HAND:
            path.unlink()
    for name, text in made.items():
        (CHART / name).parent.mkdir(parents=True, exist_ok=True)
        (CHART / name).write_text(text)


if __name__ == "__main__":
    write()
