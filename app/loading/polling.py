"""Looks at the model repository again and again, and has what changed there loaded or unloaded."""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from app.core.registry import Registry
from app.errors import RequestError
from app.loading.control import ModelControl, Verb
from app.repository import stamps
from app.repository.stamps import Stamp

log = logging.getLogger(__name__)

Look = Mapping[str, Stamp]
"""What was there, by the models' names."""


class Poller:
    """Has a change made once two looks in a row have seen the same of a model: what is still being copied is waited
    for. What cannot be loaded is tried again when its files have changed again.

    A model whose folder is gone is unloaded; a repository of which nothing is there any more is a volume that is away,
    and changes nothing.
    """

    def __init__(
        self,
        control: ModelControl,
        registry: Registry,
        root: Path,
        only: str | None,
        served: Look,
        seconds: float,
    ) -> None:
        """`served` is what was there before what is served was read; a look is taken every so many `seconds`."""
        self._control = control
        self._registry = registry
        self._root = root
        self._only = only
        self._settled = dict(served)
        self._last: Look = served
        self._seconds = seconds
        self._ended = threading.Event()
        self._trouble = ""

    @staticmethod
    def look_at(root: Path, only: str | None) -> Look:
        """What is there now; nothing where the folder cannot be read."""
        try:
            return stamps.of_models(root, only)
        except OSError:
            return {}

    def start(self) -> None:
        """Look from now on, in a thread."""
        threading.Thread(target=self._run, name="repository-poll", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def look(self) -> None:
        """Look once, and have what has changed and come to rest since the last look loaded or unloaded."""
        try:
            seen = stamps.of_models(self._root, self._only)
        except OSError as error:
            self._complain(f"cannot be read: {error.strerror or error}")
            return
        if not seen and self._settled:
            self._complain("has no models any more")
            return
        self._trouble = ""
        for name, stamp in seen.items():
            if stamp != self._settled.get(name) and stamp == self._last.get(name):
                self._settled[name] = stamp
                if name not in self._registry.away:  # that is read when it is asked for
                    self._change("load", name)
        for name in [name for name in self._settled if name not in seen and name not in self._last]:
            del self._settled[name]
            registry = self._registry
            if name in {*registry.names(), *registry.failures, *registry.away, *registry.chains}:
                self._change("unload", name)
        self._last = seen

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                self.look()
            except Exception:  # the next look may succeed, and nobody else looks
                log.exception("failed to look at %s", self._root)

    def _change(self, verb: Verb, name: str) -> None:
        log.info("%s has %s in %s", name, "changed" if verb == "load" else "gone", self._root)
        try:
            self._control.ask(verb, name).result()
        except RequestError as error:
            if verb == "unload":
                log.warning("%s is served on, though its folder is gone: %s", name, error)

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("the model repository %s %s; what is served stays as it is", self._root, trouble)
        self._trouble = trouble
