"""PP-OCR's graphs, read by rapidocr's own code and by ours; `text_figures.py` reads many more pictures."""

import importlib.util
from collections.abc import Iterator
from itertools import islice

import cv2
import numpy as np
import pytest

from tests.parity.pictures import REQUIRED

if not REQUIRED and importlib.util.find_spec("rapidocr") is None:
    pytest.skip("rapidocr is not installed", allow_module_level=True)

from rapidocr import RapidOCR

from tests.parity.text_pictures import labels, page
from tests.parity.text_reading import Figures, Reader, ask, rapid, theirs


@pytest.fixture(scope="module")
def engine() -> RapidOCR:
    return rapid()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    made = Reader(tmp_path_factory.mktemp("ocr"))
    yield made
    made.close()


def test_lines_are_found_in_the_same_places_and_say_the_same(reader: Reader, engine: RapidOCR) -> None:
    figures = Figures()
    for picture in [*map(page, range(4)), *islice(labels(), 14, 17)]:
        figures.add(reader.read(picture), theirs(engine, picture))
    assert figures.lines >= 20
    assert figures.same_texts >= figures.lines - 1, figures.differences  # 98 % of many


def test_lines_that_are_upside_down_are_turned(reader: Reader, engine: RapidOCR) -> None:
    turned = np.ascontiguousarray(np.asarray(cv2.rotate(page(3), cv2.ROTATE_180), np.uint8))
    figures = Figures()
    figures.add(reader.read(turned), theirs(engine, turned))
    assert figures.lines >= 4
    assert figures.same_texts >= figures.lines - 1, figures.differences


@pytest.mark.parametrize("level", [0, 255])
def test_blank_pictures_say_nothing(reader: Reader, engine: RapidOCR, level: int) -> None:
    blank = np.full((480, 640, 3), level, np.uint8)
    assert (reader.read(blank), theirs(engine, blank)) == ([], [])


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)], ids=str)
def test_crops_of_hardly_a_pixel_are_answered(reader: Reader, size: tuple[int, int]) -> None:
    crop = np.full((*size, 3), 255, np.uint8)
    assert ask(reader.models[2], crop).text == ""
