"""NOTICE names every package of the images' locks, with a licence that its users may rely on."""

from types import ModuleType

import pytest

from tests.deploy.places import DOCKERFILES, ROOT, final_stage, image_script

COPYLEFT = ("GPL", "AGPL", "SSPL", "BUSL")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return image_script("notice")


def test_it_is_in_step_with_the_locks(script: ModuleType) -> None:
    assert (ROOT / "NOTICE").read_text() == script.notice(), "run `make notice`"


def test_no_licence_asks_for_the_sources_of_what_is_beside_it(script: ModuleType) -> None:
    taken = {name: script.licence(name) for name in script.packages()}
    assert not {name: one for name, one in taken.items() if any(word in one for word in COPYLEFT)}


def test_a_package_of_unknown_licence_is_not_passed_over(script: ModuleType) -> None:
    with pytest.raises(LookupError, match=r"no-such-package is not installed here: say its licence"):
        script.licence("no-such-package")


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_the_images_have_it(dockerfile: str) -> None:
    assert ("COPY", "LICENSE NOTICE /licenses/") in final_stage(dockerfile)
