"""Which chains of the repository are served: those that fit the models, looked at anew whenever one of them changes."""

import logging
from collections.abc import Iterable, Mapping

from app.core.registry import Registry
from app.errors import InvalidManifest
from app.loading.chain_check import check
from app.repository.pipeline import ChainEntry
from app.repository.repository import ModelEntry

log = logging.getLogger(__name__)


def unfit(
    chains: Iterable[ChainEntry], models: Mapping[str, ModelEntry], failures: Mapping[str, object]
) -> dict[str, InvalidManifest]:
    """What is wrong with each of these chains that does not fit the models; `failures` are why others are not there."""
    chains = list(chains)
    names, found = {chain.name for chain in chains}, {}
    for chain in chains:
        try:
            check(chain, models, names, failures)
        except InvalidManifest as error:
            found[chain.name] = error
    return found


class ServedChains:
    """Keeps the registry's chains. For one thread at a time."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._chains: dict[str, ChainEntry] = {}
        self._models: dict[str, ModelEntry] = {}
        self._unreadable: set[str] = set()

    def start(self, chains: Iterable[ChainEntry], models: Iterable[ModelEntry]) -> None:
        """Serve those that fit; `models` are all that answer, or would when they are asked."""
        self._chains = {chain.name: chain for chain in chains}
        self._models = {entry.name: entry for entry in models}
        self._review()

    def __contains__(self, name: str) -> bool:
        return name in self._chains

    def take(self, chain: ChainEntry) -> bool:
        """Serve a chain as it is in the repository now; whether it is another than before.

        Raises `InvalidManifest` where it does not fit the models: then an older state answers on that does, and it is
        tried again whenever a model changes.
        """
        before = self._registry.chains.get(chain.name)
        self._chains[chain.name] = chain
        self._unreadable.discard(chain.name)
        self._review()
        if (reason := self._registry.failures.get(chain.name)) is not None:
            raise InvalidManifest(reason)
        return before != chain

    def fail(self, name: str) -> None:
        """The file of a chain is not as it should be; why is told until it can be read again."""
        self._unreadable.add(name)

    def drop(self, name: str) -> None:
        """Have this chain not answer any more, if there is one of that name."""
        if self._chains.pop(name, None) is not None:
            self._unreadable.discard(name)
            self._review()

    def learn(self, model: ModelEntry) -> None:
        """A model is served as it is described there."""
        self._models[model.name] = model
        self._review()

    def forget(self, model: str) -> None:
        """A model is not served any more."""
        if self._models.pop(model, None) is not None:
            self._review()

    def _review(self) -> None:
        registry = self._registry
        failures = {name: reason for name, reason in registry.failures.items() if name not in self._chains}
        wrong = unfit(self._chains.values(), self._models, failures)
        for name, error in wrong.items():
            if registry.failures.get(name) != str(error):
                log.error("the chain %s is not served as it is now: %s", name, error)
            registry.fail(name, str(error))
        for name in self._chains.keys() - wrong.keys() - self._unreadable:
            registry.mend(name)
        older = [chain for name, chain in registry.chains.items() if name in wrong]
        unfit_too = unfit(older, self._models, failures)
        fit = {name: chain for name, chain in self._chains.items() if name not in wrong}
        registry.serve_chains(fit | {chain.name: chain for chain in older if chain.name not in unfit_too})
