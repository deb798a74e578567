"""Scores to labels."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from app.errors import EngineFailure, InvalidManifest
from app.vision.classification import Classification, ClassificationSpec, ClassificationTask
from app.vision.image import Size
from app.vision.preprocessing import Placement
from app.vision.tasks import Options

LABELS = ("cat", "dog", "owl")
PLACEMENT = Placement(1, 1, 0, 0, Size(8, 8), Size(8, 8))


def classified(
    values: NDArray[np.floating] | list[float], spec: ClassificationSpec | None = None, options: Options | None = None
) -> Classification:
    task = ClassificationTask(spec or ClassificationSpec(), LABELS)
    outputs = {"scores": np.asarray(values, np.float32) if isinstance(values, list) else values}
    task.check(outputs)
    return task.finish(outputs, PLACEMENT, options or Options())


def test_the_best_come_first_with_their_labels() -> None:
    found = classified([1.0, 3.0, 2.0])
    assert found.labels == ("dog", "owl", "cat")
    assert found.class_ids.tolist() == [1, 2, 0]
    assert np.allclose(found.scores, [0.66524096, 0.24472847, 0.09003057])
    assert (found.scores.dtype, found.class_ids.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("shift", [0, 1e4, -1e4, 1e30])
def test_softmax_stands_large_logits(shift: float) -> None:
    found = classified([shift, shift, shift])
    assert np.allclose(found.scores, 1 / 3)
    assert classified([shift + abs(shift) + 1000, shift, shift]).scores[0] == pytest.approx(1)


def test_probabilities_are_taken_as_they_are() -> None:
    found = classified([0.2, 0.7, 0.1], ClassificationSpec(softmax=False))
    assert np.allclose(found.scores, [0.7, 0.2, 0.1])
    assert classified([1.0001, 0, 0], ClassificationSpec(softmax=False)).scores[0] == 1


def test_how_many_is_the_manifests_choice_or_the_requests() -> None:
    assert len(classified([1.0, 3.0, 2.0], ClassificationSpec(top_k=2)).labels) == 2
    assert len(classified([1.0, 3.0, 2.0], ClassificationSpec(top_k=2), Options(top_k=1)).labels) == 1
    assert len(classified([1.0, 3.0, 2.0], options=Options(top_k=50)).labels) == 3
    assert classified([1.0, 3.0, 2.0], options=Options(score_threshold=0.5)).labels == ("dog",)


@pytest.mark.parametrize("shape", [(3,), (3, 1, 1), (1, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_shapes_and_dtypes(shape: tuple[int, ...], dtype: type) -> None:
    assert classified(np.array([1, 3, 2], dtype).reshape(shape)).labels[0] == "dog"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_an_engine_failure(bad: float) -> None:
    with pytest.raises(EngineFailure, match="not finite"):
        classified([1.0, bad, 2.0])


@pytest.mark.parametrize(
    ("outputs", "spec", "said"),
    [
        ({"a": np.zeros(1000)}, {}, "labels: the model scores 1000 classes, but the manifest lists 3 labels"),
        ({"a": np.zeros((3, 4))}, {}, r"shape \[3, 4\]"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, {}, r"several \(a, b\); name the one"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, {"output": "c"}, "has no 'c'; it has a, b"),
        ({}, {}, "output"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    outputs: dict[str, NDArray[np.float64]], spec: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidManifest, match=said):
        ClassificationTask(ClassificationSpec.model_validate(spec), LABELS).check(outputs)


def test_an_output_is_read_by_name() -> None:
    task = ClassificationTask(ClassificationSpec(output="b"), LABELS)
    outputs = {"a": np.zeros((7, 7), np.float32), "b": np.array([0, 9, 0], np.float32)}
    task.check(outputs)
    assert task.finish(outputs, PLACEMENT, Options()).labels[0] == "dog"


def test_sigmoid_scores_each_class_by_itself() -> None:
    task = ClassificationTask(ClassificationSpec(sigmoid=True, score_threshold=0.5), ("a", "b", "c"))
    found = task.finish({"o": np.array([0.0, -1, 3], np.float32)}, PLACEMENT, Options())
    assert found.labels == ("c", "a")
    assert np.allclose(found.scores, [1 / (1 + np.exp(-3)), 0.5])
    assert len(task.finish({"o": np.array([0.0, -1, 3])}, PLACEMENT, Options(score_threshold=0.1)).labels) == 3


def test_a_single_logit_may_stand_for_two_classes() -> None:
    task = ClassificationTask(ClassificationSpec(sigmoid=True), ("no", "yes"))
    task.check({"o": np.zeros(1, np.float32)})
    found = task.finish({"o": np.array([2.0], np.float32)}, PLACEMENT, Options())
    assert found.labels == ("yes", "no")
    assert found.scores.sum() == pytest.approx(1)


def test_a_single_probability_may_stand_for_two_classes() -> None:
    task = ClassificationTask(ClassificationSpec(softmax=False), ("no", "yes"))
    task.check({"o": np.zeros(1, np.float32)})
    found = task.finish({"o": np.array([0.75], np.float32)}, PLACEMENT, Options())
    assert found.labels == ("yes", "no")
    assert found.scores.tolist() == [0.75, 0.25]


def test_softmax_of_a_single_number_says_nothing() -> None:
    with pytest.raises(InvalidManifest, match="whatever it is; write `sigmoid: true`"):
        ClassificationTask(ClassificationSpec(), ("yes",)).check({"o": np.zeros(1, np.float32)})


def test_softmax_and_sigmoid_are_not_both() -> None:
    with pytest.raises(ValidationError, match="set one of them to false"):
        ClassificationSpec(sigmoid=True, softmax=True)


def test_with_several_labels_all_that_score_enough_are_answered() -> None:
    several = ClassificationSpec.model_validate({"multi_label": True, "sigmoid": True})
    found = classified([2.0, -2.0, 0.1], several)
    assert (found.labels, found.multi_label) == (("cat", "owl"), True)
    assert np.allclose(found.scores, [0.88079708, 0.52497919])
    assert classified([-2.0, -2.0, -2.0], several).labels == ()
    assert classified([2.0, -2.0, 0.1], several, Options(score_threshold=0.1)).labels == ("cat", "owl", "dog")
    assert classified([2.0, -2.0, 0.1], several, Options(top_k=1)).labels == ("cat",)
    assert classified([0.2, 0.7, 0.6], ClassificationSpec.model_validate({"multi_label": True})).labels == (
        "dog",
        "owl",
    )


def test_several_labels_have_probabilities_or_logits_and_which_is_checked() -> None:
    probable = ClassificationSpec.model_validate({"multi_label": True})
    with pytest.raises(InvalidManifest, match=r"scores are -1 to 3, which are no probabilities; write `sigmoid: true`"):
        classified([-1.0, 3.0, 2.0], probable)
    with pytest.raises(EngineFailure, match="no probabilities"):
        ClassificationTask(probable, LABELS).finish({"s": np.array([0.5, 1.5, 0], np.float32)}, PLACEMENT, Options())
    with pytest.raises(ValidationError, match="softmax makes classes exclude each other"):
        ClassificationSpec.model_validate({"multi_label": True, "softmax": True})
