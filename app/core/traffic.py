"""Which version answers a request that names none: by shares, so that one key meets one version.

The choice is weighted rendezvous hashing (Thaler & Ravishankar, "Using name-based mappings to increase hit rates",
1998; the weights as in Schindelhauer & Schomaker, "Weighted distributed hash tables", 2005): every version draws a
number from the key, and the one that draws best, by its weight, answers. It needs no memory, so that all replicas
agree, also after restarts; and where the weight of one version grows, keys move to it, and none to any other.
"""

import hashlib
import math
from collections.abc import Collection, Mapping

from app.repository.route import Route

_DIGEST_BITS = 64
_EXACT_BITS = 53
"""What a float holds without rounding, which might give 1."""


def pick(name: str, key: str, weights: Mapping[str, float]) -> str:
    """The version of model `name` for `key`, by `weights` of which one at least is above 0.

    Depends on nothing else. Of two versions with weights 90 and 10 the second has a tenth of all keys; at 80 and 20
    that tenth stays, and another joins it. The name is part of it, so that not the same robots try every candidate.
    """
    return max(weights, key=lambda version: (_draw(name, key, version, weights[version]), version))


def chance(name: str, key: str) -> float:
    """A number from 0 to below 1 that is the key's own."""
    text = "\0".join((name, key)).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(text, digest_size=_DIGEST_BITS // 8).digest()
    return float((int.from_bytes(digest) >> (_DIGEST_BITS - _EXACT_BITS)) / 2**_EXACT_BITS)


def _draw(name: str, key: str, version: str, weight: float) -> float:
    """Exponentially distributed with the weight as its rate, and turned round: the largest of all wins."""
    return -math.inf if weight <= 0 else math.log1p(-chance(f"{name}\0{version}", key)) / weight


class Traffic:
    """The routes of all models. One is changed in one step, at any time; requests see the one or the other."""

    def __init__(self, fixed: Mapping[str, Mapping[str, float]] | None = None) -> None:
        """`fixed` are shares by model that hold in the place of the manifests', until somebody changes them."""
        self._fixed = dict(fixed or {})
        self._declared: dict[str, Route] = {}
        self._routes: dict[str, Route] = {}

    def configure(self, name: str, declared: Route) -> bool:
        """Take what a manifest says. Read again unchanged, it leaves what was changed meanwhile as it is, and this is
        False.
        """
        if self._declared.get(name) == declared:
            return False
        self._declared[name] = declared
        self._routes[name] = self.declared(name)
        return True

    def change(self, name: str, route: Route) -> None:
        """Follow this from now on."""
        self._routes[name] = route

    def declared(self, name: str) -> Route:
        """What manifest and setting say, whatever holds now."""
        declared, fixed = self._declared.get(name, _NONE), self._fixed.get(name)
        return declared if fixed is None else declared.with_shares(fixed)

    def route(self, name: str) -> Route:
        """What holds now for a model."""
        return self._routes.get(name, _NONE)

    def choose(self, name: str, wanted: str | None, key: str | None, served: Collection[str]) -> str:
        """The version that answers: what is `wanted` (a version or a stage), else by `key` among those `served`.

        Without a key it is that with the largest share, which stands for the model where it is described. Where no
        version with a share is served, it is the default or newest one. What is wanted need not be served.
        """
        route = self.route(name)
        if wanted is not None:
            return route.stages.get(wanted, wanted)
        weights = {version: share for version, share in route.shares.items() if share > 0 and version in served}
        if weights:
            return max(weights, key=weights.__getitem__) if key is None else pick(name, key, weights)
        if route.default_version in served:
            assert route.default_version is not None
            return route.default_version
        return max(served, key=int)


_NONE = Route()
