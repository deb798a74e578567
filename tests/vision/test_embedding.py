"""Outputs to vectors: which numbers, of what length, in which form."""

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.errors import EngineFailure, InvalidManifest, InvalidRequest
from app.vision.embedding import Embedding, EmbeddingSpec, EmbeddingTask
from app.vision.image import Size
from app.vision.preprocessing import Placement
from app.vision.tasks import Options

PLACEMENT = Placement(1, 1, 0, 0, Size(8, 8), Size(8, 8))


def embedded(table: NDArray[Any], options: Options | None = None, **spec: Any) -> Embedding:
    task = EmbeddingTask(EmbeddingSpec(**spec))
    task.check({"out": table})
    return task.finish({"out": table}, PLACEMENT, options or Options())


@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 1, 1)])
def test_a_vector_is_all_of_the_output(shape: tuple[int, ...]) -> None:
    numbers = np.arange(1, 6, dtype=np.float32)
    found = embedded(numbers.reshape(shape), normalize=False)
    assert np.array_equal(found.vector, numbers)
    assert (found.normalized, found.told) == (False, [1, 2, 3, 4, 5])


def test_tokens_give_the_first_or_the_mean_of_those_that_are_not_skipped() -> None:
    tokens = np.random.default_rng(0).standard_normal((7, 4), np.float32)
    assert np.array_equal(embedded(tokens, pick="cls", normalize=False).vector, tokens[0])
    assert np.allclose(embedded(tokens, pick="mean", normalize=False).vector, tokens.mean(axis=0))
    assert np.allclose(embedded(tokens, pick="mean", skip_tokens=1, normalize=False).vector, tokens[1:].mean(axis=0))


def test_a_map_gives_the_mean_of_its_places() -> None:
    planes = np.random.default_rng(0).standard_normal((6, 3, 2), np.float32)
    assert np.allclose(embedded(planes, pick="mean", normalize=False).vector, planes.mean(axis=(1, 2)))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 300), st.floats(1e-30, 1e30), st.sampled_from(["f4", "f2", "f8"]))
def test_a_normalized_vector_has_length_1_whatever_it_had(seed: int, count: int, scale: float, dtype: str) -> None:
    direction = np.random.default_rng(seed).uniform(0.1, 1, count)
    scaled = direction * (scale if dtype != "f2" else 1)
    found = embedded(scaled.astype(dtype))
    assert found.normalized
    assert float(np.linalg.norm(found.vector.astype(np.float64))) == pytest.approx(1, abs=1e-5)
    assert float(found.vector @ direction / np.linalg.norm(direction)) == pytest.approx(1, abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-30, 30))
def test_numbers_in_json_are_within_seven_digits_of_the_largest(seed: int, power: int) -> None:
    numbers = np.random.default_rng(seed).standard_normal(16).astype(np.float32) * np.float32(10.0**power)
    told = np.array(embedded(numbers, normalize=False).told)
    assert np.abs(told - numbers).max() <= 1e-6 * np.abs(numbers).max()


def test_a_request_chooses_length_and_form() -> None:
    numbers = np.array([3, 4], np.float32)
    found = embedded(numbers, Options(normalize=False, embedding_format="float32"))
    assert isinstance(found.told, str)
    assert base64.b64decode(found.told) == b"\x00\x00\x40\x40\x00\x00\x80\x40"
    found = embedded(numbers, Options(normalize=True, embedding_format="float16"), normalize=False)
    assert isinstance(found.told, str)
    assert np.allclose(np.frombuffer(base64.b64decode(found.told), "<f2"), [0.6, 0.8], atol=1e-3)
    assert embedded(numbers, format="float16").format == "float16"


def test_numbers_that_float16_cannot_hold_are_refused_in_it_alone() -> None:
    numbers = np.array([70_000, 1], np.float32)
    with pytest.raises(InvalidRequest, match=r"float16 cannot hold numbers as large as 7e\+04"):
        embedded(numbers, Options(embedding_format="float16", normalize=False))
    assert embedded(numbers, Options(embedding_format="float16")).told
    assert embedded(numbers, Options(normalize=False)).told == [70_000, 1]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("normalize", [True, False])
def test_numbers_that_are_not_finite_are_no_answer(wrong: float, normalize: bool) -> None:
    task = EmbeddingTask(EmbeddingSpec(normalize=normalize))
    with pytest.raises(EngineFailure, match="not finite"):
        task.finish({"out": np.array([1, wrong], np.float32)}, PLACEMENT, Options())


def test_infinities_that_cancel_in_a_mean_are_no_answer_either() -> None:
    tokens = np.array([[np.inf, 1], [-np.inf, 1]], np.float32)
    with pytest.raises(EngineFailure, match="not finite"):
        EmbeddingTask(EmbeddingSpec(pick="mean")).finish({"out": tokens}, PLACEMENT, Options())


def test_a_vector_of_zeros_has_no_direction() -> None:
    zeros = np.zeros(4, np.float32)
    with pytest.raises(InvalidRequest, match="no direction; ask for normalize=false"):
        EmbeddingTask(EmbeddingSpec()).finish({"out": zeros}, PLACEMENT, Options())
    assert embedded(zeros, normalize=False).told == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("shape", "spec", "words"),
    [
        ((7, 4), {}, r"\[7, 4\] a picture, which is no single vector; choose pick: cls or mean"),
        ((4, 7, 7), {}, "choose pick: mean"),
        ((4, 7, 7), {"pick": "cls"}, r"the first of the tokens \[T, D\]"),
        ((4,), {"pick": "mean"}, r"tokens \[T, D\] or of a map"),
        ((7, 7, 4), {"pick": "mean"}, "channels last"),
        ((2, 4), {"pick": "mean", "skip_tokens": 2}, "2 leave none"),
        ((4,), {"skip_tokens": 1}, "belongs to pick: mean"),
        ((1,), {}, "has 2 to 65536 numbers, but the model's 1"),
    ],
)
def test_a_pick_that_does_not_fit_is_refused(shape: tuple[int, ...], spec: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidManifest, match=words):
        EmbeddingTask(EmbeddingSpec(**spec)).check({"out": np.ones(shape, np.float32)})


def test_which_output_is_meant_must_be_said_where_there_are_several() -> None:
    rows = {"pooled": np.ones(4, np.float32), "tokens": np.ones((3, 4), np.float32)}
    with pytest.raises(InvalidManifest, match="several"):
        EmbeddingTask(EmbeddingSpec()).check(rows)
    EmbeddingTask(EmbeddingSpec(output="pooled")).check(rows)


@pytest.mark.parametrize("options", [Options(top_k=1), Options(classes=("a",)), Options(map_size="model")])
def test_options_of_other_tasks_are_refused(options: Options) -> None:
    with pytest.raises(InvalidRequest, match="an embedding, which answers one vector"):
        EmbeddingTask(EmbeddingSpec()).check_options(options)
