"""Whether a chain fits the models that it asks, as they are described now."""

from collections.abc import Collection, Mapping, Sequence

from app.core.findings import FINDS, HAS_PLACES, NAMES
from app.errors import InvalidManifest, InvalidRequest
from app.repository.pipeline import ChainEntry, Pipeline, Step
from app.repository.repository import ModelEntry


def check(
    chain: ChainEntry, models: Mapping[str, ModelEntry], chains: Collection[str], failures: Mapping[str, object]
) -> None:
    """Raise `InvalidManifest` that names the step and what is wrong: a model that is not there, or has `failures`, one
    that cannot do its part, classes that it does not know, options that it cannot obey; `chains` are names of chains.
    """
    steps = chain.pipeline.steps
    asked: dict[str, ModelEntry] = {}
    turned: set[str] = set()
    for name, step in steps.items():
        try:
            asked[name] = _model_of(chain.name, step, models, chains, failures)
            _check_model(step, asked[name])
            if step.on is not None:
                before = asked[step.on]
                _check_alike(step, asked[name], [asked[other] for other in list(asked)[1:-1]])
                _check_names(step, before)
                if step.turn or step.crop == "quad" or (step.on in turned and before.manifest.task in NAMES):
                    turned.add(name)
                _check_turned(step, asked[name], name in turned)
            _check_followers(chain.pipeline, name, asked[name].manifest.task)
        except ValueError as error:
            raise InvalidManifest(f"{chain.place}: steps.{name}: {error}.") from None


def _model_of(
    own: str, step: Step, models: Mapping[str, ModelEntry], chains: Collection[str], failures: Mapping[str, object]
) -> ModelEntry:
    name, version = step.asked
    if name == own:
        raise ValueError(f"asks {name}, which is the chain itself; a step asks a model")
    if name in chains:
        raise ValueError(f"asks {name}, which is a chain; a step asks a model")
    if (entry := models.get(name)) is None:
        if name in failures:
            raise ValueError(f"asks {name}, which is not served: {failures[name]}".rstrip("."))
        raise ValueError(f"asks {name}, and there is no such model; there are: {', '.join(sorted(models)) or 'none'}")
    stages = entry.manifest.stages
    if version is not None and stages.get(version, version) not in entry.versions:
        there = [*entry.versions, *sorted(stages)]
        raise ValueError(f"asks {step.model}, and of {name} that is not served; there are: {', '.join(there)}")
    return entry


def _check_model(step: Step, entry: ModelEntry) -> None:
    if entry.manifest.task == "tensors":
        raise ValueError(f"the task of {step.model} is tensors: it takes no pictures")
    try:
        entry.manifest.build_task(entry.labels).check_options(step.options.as_options())
    except InvalidRequest as error:
        raise ValueError(f"options: {error}".rstrip(".")) from None


def _check_alike(step: Step, entry: ModelEntry, others: Sequence[ModelEntry]) -> None:
    """A picture is decoded once for all of its crops."""
    own = entry.manifest.input
    assert own is not None
    for other in others:
        spec = other.manifest.input
        assert spec is not None
        if (own.range, own.has_alpha) != (spec.range, spec.has_alpha):
            raise ValueError(
                f"{step.model} and {other.name} see a picture differently (input: range, or an alpha channel); "
                "steps that look at crops share one decoded picture"
            )


def _check_names(step: Step, before: ModelEntry) -> None:
    for place, names in (("where.classes", step.where.classes or ()), ("turn", step.turn)):
        if unknown := [name for name in names if name not in before.labels]:
            known = ", ".join(before.labels[:20]) + (" …" if len(before.labels) > 20 else "")
            raise ValueError(f"{place}: {before.name} has no class {unknown[0]!r}; it has {known}")
    if before.manifest.task in NAMES:
        if step.margin or step.crop == "quad":
            field = "margin" if step.margin else "crop"
            raise ValueError(f"{field}: {step.on} tells classes, so that its crops are looked at again; remove it")
        return
    if step.crop == "quad" and not _has_quads(before):
        raise ValueError(f"crop: {before.name} finds upright boxes alone; use `crop: box`")
    if step.crop == "quad" and step.margin:
        raise ValueError("margin: is for upright boxes; remove it, or use `crop: box`")
    if step.turn:
        raise ValueError(f"turn: goes by the class of a crop, and the task of {before.name} is {before.manifest.task}")


def _has_quads(entry: ModelEntry) -> bool:
    spec = entry.manifest.detection
    return entry.manifest.task == "text_detection" or (spec is not None and spec.rotated)


def _check_turned(step: Step, entry: ModelEntry, turned: bool) -> None:
    if turned and entry.manifest.task in HAS_PLACES:
        raise ValueError(
            f"the task of {step.model} is {entry.manifest.task}, and where it finds something in a crop that was "
            "turned could not be told in the picture's pixels; remove `turn` and `crop: quad`"
        )


def _check_followers(pipeline: Pipeline, name: str, task: str) -> None:
    followers = pipeline.after(name)
    if not followers:
        return
    if name == pipeline.first and task not in FINDS:
        raise ValueError(f"the task of {pipeline.steps[name].model} is {task}; the first step must find boxes")
    if task not in (*FINDS, *NAMES):
        raise ValueError(
            f"the task of {pipeline.steps[name].model} is {task}, and {followers[0]} is on it; a step may be on one "
            "that finds boxes or tells classes"
        )
