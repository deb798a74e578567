"""Which number the first class has, where a graph answers class numbers: 0, or 1 because 0 is the background."""

from collections.abc import Iterable

from app.commands.detector_values import Found
from app.errors import InvalidManifest

_BACKGROUNDS = ("background", "__background__", "_background_", "bg")


def label_offset(seen: Iterable[float], names: tuple[str, ...] | None, asked: bool) -> Found:
    """The number of the first class, from those that were seen; 0 needs not be said.

    Where somebody `asked` for the decoder, numbers that were not seen are no objection. Raises `InvalidManifest` where
    they do not tell, or are more than there are names.
    """
    there = sorted({int(number) for number in seen if number >= 0})
    if names is None:
        raise InvalidManifest(
            f"its class numbers{_reach(there)} and do not tell how many classes there are: name them with "
            "--labels, and where the first has the number 1 add --set detection.label_offset=1"
        )
    if names[0].strip().lower() in _BACKGROUNDS:
        return {}, "the first name is the background's, so classes are numbered from 0"
    most = len(names)
    if there and (there[-1] > most or (there[0] == 0 and there[-1] == most)):
        raise InvalidManifest(
            f"its class numbers{_reach(there)}, but there are {most} names: give one for every number with --labels, "
            "such as `unused` for those that are left out"
        )
    if there and there[0] == 0:
        return {}, "class numbers begin with 0"
    if there and there[-1] == most:
        return {"label_offset": 1}, f"there is a class number {most}, so the first class is 1 and 0 the background"
    if asked and not there:
        return {}, None
    raise InvalidManifest(
        f"its class numbers{_reach(there)}, so the first class may be 0 or, as 0 is the background in torchvision and "
        "TensorFlow, 1: say --set detection.label_offset=0 or --set detection.label_offset=1"
    )


def _reach(numbers: list[int]) -> str:
    if not numbers:
        return " were not seen"
    return f" are {numbers[0]}" if len(numbers) == 1 else f" are {numbers[0]} to {numbers[-1]}"
