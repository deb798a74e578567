import numpy as np
import pytest

from app.errors import EngineFailure, InvalidManifest, InvalidRequest
from app.vision.image import Size
from app.vision.preprocessing import Placement
from app.vision.tasks import DEFAULTS, Options
from app.vision.text_recognition import TextRecognition, TextRecognitionSpec, TextRecognitionTask

PLACEMENT = Placement(1, 1, 0, 0, Size(8, 8), Size(8, 8))
DICTIONARY = ("a", "ß", "字")


def read(steps: list[int], options: Options = DEFAULTS, share: float = 0.9, **spec: object) -> TextRecognition:
    table = np.full((len(steps), 5), (1 - share) / 4, np.float32)
    table[np.arange(len(steps)), steps] = share
    return task(**spec).finish({"steps": table}, PLACEMENT, options)


def task(**spec: object) -> TextRecognitionTask:
    return TextRecognitionTask(TextRecognitionSpec.model_validate(spec), DICTIONARY)


def test_repetitions_count_once_and_blanks_part_them() -> None:
    assert read([0, 1, 1, 0, 1, 2, 3, 3, 0]).text == "aaß字"


def test_the_space_follows_the_dictionary() -> None:
    assert read([1, 4, 2]).text == "a ß"


def test_the_blank_may_come_last() -> None:
    assert read([0, 4, 1, 2, 3], blank="last").text == "aß字 "


def test_the_score_is_the_mean_of_the_characters_that_are_read() -> None:
    table = np.array([[0.1, 0.9, 0, 0, 0], [0.4, 0.6, 0, 0, 0], [0.5, 0.2, 0.3, 0, 0], [0, 0, 0.5, 0.1, 0.4]])
    found = task().finish({"steps": table.astype(np.float32)}, PLACEMENT, DEFAULTS)
    assert (found.text, found.score) == ("aß", pytest.approx(0.7))


def test_nothing_is_read_where_all_is_blank() -> None:
    assert read([0, 0, 0]) == TextRecognition("", 0.0)


def test_a_text_that_scores_too_little_is_none() -> None:
    assert read([1], Options(score_threshold=0.95)).text == ""
    assert read([1], score_threshold=0.95).text == ""
    assert read([1], Options(score_threshold=0.5), score_threshold=0.95).text == "a"


def test_logits_become_probabilities() -> None:
    table = np.log(np.array([[0.1, 0.7, 0.1, 0.05, 0.05]], np.float32)) + 12
    found = task(softmax=True).finish({"steps": table}, PLACEMENT, DEFAULTS)
    assert (found.text, found.score) == ("a", pytest.approx(0.7, abs=1e-4))


@pytest.mark.parametrize("characters", [4, 6, 18710])
def test_a_dictionary_of_another_size_is_refused_at_load(characters: int) -> None:
    message = f"dictionary has 3 characters, with space and blank 5, but the model scores {characters}"
    with pytest.raises(InvalidManifest, match=message):
        task().check({"steps": np.zeros((10, characters), np.float32)})


def test_a_dictionary_without_its_space_is_refused_at_load() -> None:
    with pytest.raises(InvalidManifest, match="with blank 4, but the model scores 5"):
        task(space=False).check({"steps": np.zeros((10, 5), np.float32)})


def test_characters_first_are_refused_at_load() -> None:
    with pytest.raises(InvalidManifest, match="transpose"):
        task().check({"steps": np.zeros((5, 40), np.float32)})


def test_logits_without_softmax_are_refused_at_load() -> None:
    with pytest.raises(InvalidManifest, match="softmax: true"):
        task().check({"steps": np.full((10, 5), 7, np.float32)})


def test_an_output_of_another_kind_is_refused_at_load() -> None:
    with pytest.raises(InvalidManifest, match="steps, characters"):
        task().check({"scores": np.zeros(5, np.float32)})


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 3.0])
def test_numbers_that_are_no_probabilities_are_a_failure(wrong: float) -> None:
    with pytest.raises(EngineFailure, match="probabilities"):
        task().finish({"steps": np.full((3, 5), wrong, np.float32)}, PLACEMENT, DEFAULTS)


@pytest.mark.parametrize(
    "options",
    [Options(max_detections=3), Options(normalize=True), Options(embedding_format="json"), Options(map_size="model")],
)
def test_options_that_mean_nothing_are_refused(options: Options) -> None:
    with pytest.raises(InvalidRequest, match="one line of text"):
        task().check_options(options)
