"""Classes as requests name them."""

import pytest

from app.errors import InvalidRequest
from app.vision.class_names import ClassNames

NAMES = ClassNames(("person", "bicycle", "2", "tench, Tinca tinca", "person"))


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (("bicycle",), [1]),
        (("person",), [0, 4]),
        (("2",), [2]),
        (("1", "bicycle", "0"), [0, 1]),
        (("tench, Tinca tinca",), [3]),
    ],
)
def test_names_and_numbers(wanted: tuple[str, ...], ids: list[int]) -> None:
    assert NAMES.ids(wanted).tolist() == ids


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("persn", "no class 'persn'. Near it is: person."),
        ("Bicycle", "Near it is: bicycle."),
        ("5", "numbered 0 to 4"),
        ("9" * 5000, "numbered 0 to 4"),
        ("zebra", "Its classes are: person, bicycle, 2, tench, Tinca tinca."),
        ("²", "Its classes are"),
        ("-1", "no class '-1'"),
    ],
)
def test_one_that_is_not_there_is_refused_with_what_is_near(wanted: str, hint: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        NAMES.ids(("person", wanted))
    assert hint in str(caught.value)
    assert len(str(caught.value)) < 300


def test_of_very_many_names_the_near_ones_are_found_as_well() -> None:
    names = ClassNames((*(f"thing {number}" for number in range(20_000)), "tench", "Person"))
    with pytest.raises(InvalidRequest, match="Near it is: Person"):
        names.ids(("persn",))
