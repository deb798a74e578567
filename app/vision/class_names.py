"""Which classes a request means, by their names or numbers."""

from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest

_NEAR = 3
_LISTED = 20
_LONGEST = 100
_COMPARED = 100
"""So many names are compared letter by letter: a thousand would hold up the event loop for ten milliseconds."""


class ClassNames:
    """A model's labels as a request may name them."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        """`labels` are the names in the model's order; two classes may have the same."""
        self._labels = labels
        self._ids: dict[str, list[int]] = {}
        for class_id, label in enumerate(labels):
            self._ids.setdefault(label, []).append(class_id)

    def ids(self, wanted: tuple[str, ...]) -> NDArray[np.int64]:
        """The class ids [k] of names or numbers, sorted, each once; a name is preferred where it is a number as well.

        Raises `InvalidRequest` for one that is neither, with the names that are near it.
        """
        return np.array(sorted({class_id for name in wanted for class_id in self._of(name)}), np.int64)

    def _of(self, name: str) -> list[int]:
        if name in self._ids:
            return self._ids[name]
        if _is_number(name) and len(name) < 9 and int(name) < len(self._labels):
            return [int(name)]
        raise InvalidRequest(f"The model has no class {name[:_LONGEST]!r}. {self._hint(name)}")

    def _hint(self, name: str) -> str:
        if _is_number(name):
            return f"Its classes are numbered 0 to {len(self._labels) - 1}."
        near = self._near(name.lower()[:_LONGEST])
        if near:
            return f"Near it {'is' if len(near) == 1 else 'are'}: {', '.join(near)}."
        names = list(self._ids)
        return f"Its classes are: {', '.join(names[:_LISTED])}{' …' if names[_LISTED:] else ''}."

    def _near(self, name: str) -> list[str]:
        """The names most like this one; of very many, those alone that begin alike are looked at."""
        names = list(self._ids)
        if len(names) > _COMPARED:
            names = [label for label in names if label[:1].lower() == name[:1]]
        lower = {label.lower(): label for label in names[:_COMPARED]}
        return [lower[match] for match in get_close_matches(name, lower, _NEAR)]


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
