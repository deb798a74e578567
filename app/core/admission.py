"""Permits: what is refused is refused at the door, before any work is done for it.

One permit spans a whole request: from the first byte that is received until its answer is handed over. Bytes are taken
as they arrive, pictures and their pixels once their headers are known, and all of it is given back where the permit's
`with` block is left; places of pictures before that, where the caller may take long to fetch the answer.
"""

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.core.request import Priority
from app.errors import Overloaded

BULK_CEILING = 0.75
"""Share of every budget that bulk work may fill; the rest is kept for people."""
MODEL_CEILING = 0.75
"""Share of the pictures that one of several models may have in flight; the rest is kept for the others."""
CALLER_SHARE = 3.0
"""A caller may hold at most this many times the bytes that are free: three quarters of all where it is alone, and ever
less the more others hold. Some room is always left for whoever comes next.

Source: the dynamic threshold of Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
switches", IEEE/ACM Transactions on Networking 6(2), 1998.
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be in flight at once: pictures, bytes received and made of them, pixels declared by headers."""

    pictures: int
    image_bytes: int
    pixels: int

    def scaled(self, share: float) -> "Budget":
        """That share of every count."""
        return Budget(int(self.pictures * share), int(self.image_bytes * share), int(self.pixels * share))


class Admission:
    """One budget for all fronts. Safe to use from several threads."""

    def __init__(self, limit: Budget, retry_after: Callable[[], float] = lambda: 1.0) -> None:
        """`retry_after` gives the seconds that a refused caller is advised to wait."""
        self.limit = limit
        self._ceilings = {Priority.INTERACTIVE: limit, Priority.BULK: limit.scaled(BULK_CEILING)}
        self._retry_after = retry_after
        self.make_room: Callable[[], None] = lambda: None
        """Called before bytes are refused: gives back what is held for nobody's answer."""
        self._lock = threading.RLock()
        self._pictures = self._bytes = self._pixels = 0
        self._by_model: Counter[Hashable] = Counter()
        self._by_caller: Counter[str] = Counter()

    @property
    def used(self) -> Budget:
        """What is in flight now."""
        return Budget(self._pictures, self._bytes, self._pixels)

    def free(self, priority: Priority) -> int:
        """Pictures that may still be admitted with that priority."""
        return max(0, self._ceilings[priority].pictures - self._pictures)

    @contextmanager
    def permit(self, priority: Priority, caller: str = "") -> "Iterator[Permit]":
        """Room for one request, empty at first; all that it took is given back where the `with` block is left.

        `caller` is whose share its bytes are counted to; those of "" are nobody's.
        """
        permit = Permit(self, priority, caller)
        try:
            yield permit
        finally:
            permit._give_back_all()

    def _refuse(self, full: str) -> Overloaded:
        return Overloaded(
            f"The service is busy: as many {full} as it takes are in flight. Try again later.",
            retry_after=self._retry_after(),
        )


class Permit:
    """What one request holds of an `Admission`'s budget. `Admission.permit` makes it and takes it back."""

    __slots__ = ("_admission", "_bytes", "_models", "_pictures", "_pixels", "caller", "priority")

    def __init__(self, admission: Admission, priority: Priority, caller: str) -> None:
        self.priority = priority
        self.caller = caller
        self._admission = admission
        self._bytes = self._pictures = self._pixels = 0
        self._models: list[Hashable] = []

    def take_bytes(self, size: int) -> None:
        """Take room for so many bytes before they are kept.

        Raises `Overloaded` where there is none. What exceeds a ceiling by itself is admitted where nobody else holds
        any, so that nothing is refused for ever.
        """
        admission = self._admission
        with admission._lock:
            if self._refusal(size) is not None:
                admission.make_room()
                if (refusal := self._refusal(size)) is not None:
                    raise refusal
            admission._bytes += size
            self._bytes += size
            if self.caller:
                admission._by_caller[self.caller] += size

    def may_ever_take(self, size: int) -> bool:
        """Whether there is room for so many bytes where nobody else holds any."""
        return size <= self._admission.limit.image_bytes

    def _refusal(self, size: int) -> Overloaded | None:
        """Why there is no room for so many bytes more, if there is none."""
        admission = self._admission
        used, limit = admission._bytes, admission.limit.image_bytes
        others = used - self._bytes
        ceiling = limit if not others else admission._ceilings[self.priority].image_bytes
        if used + size > ceiling:
            return admission._refuse("bytes")
        if self.caller and others and admission._by_caller[self.caller] + size > CALLER_SHARE * (limit - used - size):
            return Overloaded(
                "Your own requests hold as much of the room for uploads as one caller may. Wait for their answers "
                "before you send more.",
                retry_after=admission._retry_after(),
            )
        return None

    def give_back_bytes(self, size: int) -> None:
        """Give back room for bytes that are not kept any more."""
        with self._admission._lock:
            self._return_bytes(min(size, self._bytes))

    def give_back_pictures(self) -> None:
        """Give back the places of pictures that are answered; the answer's bytes stay taken until it is handed over."""
        with self._admission._lock:
            self._return_pictures()

    def take_picture(self, model: Hashable, pixels: int, *, shared: bool = False, count: int = 1) -> None:
        """Take a picture's place and its pixels, or the places of `count` rows, for a model that shares the lanes with
        others or not.

        Raises `Overloaded` where there is no room; what exceeds a ceiling by itself is admitted as `take_bytes` does.
        """
        admission = self._admission
        ceiling, limit = admission._ceilings[self.priority], admission.limit
        with admission._lock:
            if ((used := admission._pictures) and used + count > ceiling.pictures) or used + count > limit.pictures:
                raise admission._refuse("pictures")
            of_model = admission._by_model[model]
            if shared and of_model and of_model + count > MODEL_CEILING * ceiling.pictures:
                raise admission._refuse("pictures for this model")
            if ((used := admission._pixels) and used + pixels > ceiling.pixels) or used + pixels > limit.pixels:
                raise admission._refuse("pixels")
            admission._pictures += count
            admission._pixels += pixels
            admission._by_model[model] += count
            self._pictures += count
            self._pixels += pixels
            self._models += [model] * count

    @contextmanager
    def places(self, model: Hashable, most: int, *, shared: bool = False) -> Iterator[int]:
        """Places for parts of a picture that has its own, for the length of the `with` block: as many of `most` as
        there is room for, at least one, which is the picture's own.
        """
        admission, ceiling = self._admission, self._admission._ceilings[self.priority]
        with admission._lock:
            room = ceiling.pictures - admission._pictures
            if shared:
                room = min(room, int(MODEL_CEILING * ceiling.pictures) - admission._by_model[model])
            taken = max(0, min(most - 1, room))
            admission._pictures += taken
            admission._by_model[model] += taken
        try:
            yield taken + 1
        finally:
            with admission._lock:
                admission._pictures -= taken
                admission._by_model[model] -= taken
                if not admission._by_model[model]:
                    del admission._by_model[model]

    def _return_bytes(self, size: int) -> None:
        admission = self._admission
        admission._bytes -= size
        self._bytes -= size
        if self.caller:
            admission._by_caller[self.caller] -= size
            if not admission._by_caller[self.caller]:
                del admission._by_caller[self.caller]

    def _give_back_all(self) -> None:
        admission = self._admission
        with admission._lock:
            self._return_bytes(self._bytes)
            self._return_pictures()

    def _return_pictures(self) -> None:
        admission = self._admission
        admission._pictures -= self._pictures
        admission._pixels -= self._pixels
        self._pictures = self._pixels = 0
        for model in self._models:
            admission._by_model[model] -= 1
            if not admission._by_model[model]:
                del admission._by_model[model]
        self._models.clear()
