"""Whatever is loaded, swapped, unloaded, shifted, broken or killed, in whatever order: a request gets one answer, of a
version that existed, and a pinned model always gives one.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.assembly import Core, build
from app.core.model import Model
from app.core.request import InferenceRequest, InferenceResult, Priority
from app.engines import catalog
from app.errors import CannotLoad, ModelNotFound, RequestError
from app.loading.control import Verb
from app.settings import Settings
from tests.fixtures.models import add_numbered_version, colour_manifest, write_manifest
from tests.fixtures.pictures import solid
from tests.fixtures.waiting import PATIENCE

PINNED, FREE = "pinned", "free"
NAMES = st.sampled_from([PINNED, FREE])
VERSIONS = st.integers(1, 4)
PICTURE = solid((255, 0, 0))


class LivingRepository(RuleBasedStateMachine):
    """A folder that changes, a core that is told to follow it, and requests all the while."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.existed: dict[str, set[str]] = {PINNED: set(), FREE: set()}
        self.core = self.start()

    def start(self) -> Core:
        """Another process, which finds two versions of each model."""
        self.several = {PINNED: True, FREE: True}
        for name in (PINNED, FREE):
            shutil.rmtree(self.root / name, ignore_errors=True)
            self.write(name, 1)
            self.write(name, 2)
        core = build(Settings(models_dir=self.root, device="cpu", lanes=2, calibrate=False, model_control="open"))
        core.load()
        return core

    def write(self, name: str, version: int) -> None:
        add_numbered_version(self.root, version, name, numbers=100)
        self.describe(name)
        self.existed[name].add(str(version))

    def describe(self, name: str) -> None:
        """All versions that are there are to be served, or the newest."""
        versions = self.there(name) if self.several[name] else "latest"
        write_manifest(self.root / name, colour_manifest(pinned=name == PINNED, versions=versions))

    @rule(name=NAMES, version=VERSIONS)
    def add_version(self, name: str, version: int) -> None:
        self.write(name, version)

    @rule(name=NAMES, version=VERSIONS)
    def break_version(self, name: str, version: int) -> None:
        path = self.root / name / str(version) / "model.onnx"
        if path.is_file():
            path.write_bytes(path.read_bytes()[:1000])

    @rule(name=NAMES, version=VERSIONS)
    def remove_version(self, name: str, version: int) -> None:
        shutil.rmtree(self.root / name / str(version), ignore_errors=True)

    @rule(name=NAMES)
    def break_manifest(self, name: str) -> None:
        write_manifest(self.root / name, {"tsak": "classification"})

    @rule(name=NAMES, several=st.booleans())
    def mend_manifest(self, name: str, several: bool) -> None:
        self.several[name] = several
        self.describe(name)

    @rule(name=NAMES, verb=st.sampled_from(["load", "reload"]))
    def load(self, name: str, verb: Verb) -> None:
        before = self.loaded(name)
        answers = self.runner.run(self.amid_requests(name, self.change(verb, name)))
        after = self.loaded(name)
        if (reason := self.core.service.registry.failures.get(name)) is not None:
            assert reason
            assert after == before
        else:
            there = self.there(name)
            assert [model.version for model in after] in (there[-1:], there)
        assert {answer.version for answer in answers} <= {model.version for model in [*before, *after]}

    @rule(name=NAMES, error=st.sampled_from([MemoryError, RuntimeError, OSError]))
    def crash_while_loading(self, name: str, error: type[Exception]) -> None:
        """An engine raises whatever a library can."""

        def open_engine(*_: object) -> None:
            raise error("no room")

        before = self.loaded(name)
        with patch.object(catalog, "open_engine", open_engine):
            answers = self.runner.run(self.amid_requests(name, self.change("reload", name)))
        assert self.core.service.registry.failures[name]
        assert self.loaded(name) == before
        assert {answer.version for answer in answers} <= {model.version for model in before}

    @rule(name=NAMES, share=st.sampled_from([0, 30, 100]))
    def shift(self, name: str, share: int) -> None:
        """The newest loaded version gets a share, the oldest the rest."""
        versions = [model.version for model in self.loaded(name)]
        if len(versions) < 2:
            return
        oldest, newest, traffic = versions[0], versions[-1], self.core.service.registry.traffic
        shares = {oldest: 100.0 - share, newest: float(share)}

        async def change() -> None:
            traffic.change(name, traffic.route(name).with_shares(shares))

        self.runner.run(self.amid_requests(name, change()))
        answers = self.runner.run(self.ask(name, 6))
        met = {answer.version for answer in answers if isinstance(answer, InferenceResult)}
        assert met
        assert met <= {version for version, part in shares.items() if part}

    @rule(name=NAMES)
    def unload(self, name: str) -> None:
        self.runner.run(self.amid_requests(name, self.change("unload", name)))
        assert (name in self.core.service.registry.names()) == (name == PINNED)

    @rule()
    def crash(self) -> None:
        """What was not answered is lost; another process begins with what is on the disk."""
        self.core.executor.stop(0.0)
        self.core = self.start()

    @invariant()
    def a_pinned_model_answers(self) -> None:
        if not hasattr(self, "core"):
            return
        (answer,) = self.runner.run(self.ask(PINNED, 1))
        assert isinstance(answer, InferenceResult)
        self.check(answer)

    def teardown(self) -> None:
        if hasattr(self, "core"):
            self.core.control.stop()
            assert self.core.control.retirement.wait(PATIENCE)
            assert self.core.executor.stop(PATIENCE)
            self.runner.close()
            shutil.rmtree(self.root)

    def there(self, name: str) -> list[str]:
        return sorted(path.name for path in (self.root / name).iterdir() if path.name.isdecimal())

    def loaded(self, name: str) -> list[Model]:
        return [model for model in self.core.service.registry if model.name == name]

    async def change(self, verb: Verb, name: str) -> None:
        with contextlib.suppress(CannotLoad, ModelNotFound):
            await asyncio.wrap_future(self.core.control.ask(verb, name))

    async def amid_requests(self, name: str, change: Awaitable[None]) -> list[InferenceResult]:
        asking = asyncio.create_task(self.ask(name, 12))
        await change
        answers = await asking
        found = [answer for answer in answers if isinstance(answer, InferenceResult)]
        for answer in found:
            self.check(answer)
        if name == PINNED:
            assert len(found) == len(answers)
        assert all(isinstance(answer, ModelNotFound) for answer in answers if answer not in found)
        return found

    async def ask(self, name: str, count: int) -> list[InferenceResult | RequestError]:
        """One answer or one error for each; a future that were answered twice would have raised in its lane."""

        async def one(number: int) -> InferenceResult | RequestError:
            request = InferenceRequest(PICTURE, f"{name}-{number}", model=name)
            with self.core.service.admission.permit(Priority.INTERACTIVE) as permit:
                try:
                    return await self.core.service.infer(request, permit)
                except RequestError as error:
                    return error

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    def check(self, answer: InferenceResult) -> None:
        scores = dict(zip(answer.prediction.labels, answer.prediction.scores.tolist(), strict=True))
        assert str(round(scores["red"] * 256)) == answer.version
        assert answer.version in self.existed[answer.model]


TestLivingRepository = LivingRepository.TestCase
TestLivingRepository.settings = settings(
    max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
