"""Paired bootstrap over pictures (Efron, 1979) of COCO's average precision: is a difference more than luck?

Both models are measured on the same resampled pictures. A resampled set is the same detections, each counted as often
as its picture was drawn, so that matching is done once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

from models.shelf.training.arrays import CLASSES, F64

ROUNDS = 300
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class Matches:
    """The detections of one class, best first: `hit` and `counted` bool [T, D] by overlap threshold, `picture` int [D].

    `asked` int [N] is how many objects each picture has.
    """

    hit: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    picture: NDArray[np.int64]
    asked: NDArray[np.int64]


def matches_of(run: COCOeval) -> list[Matches]:
    """By class, from an evaluation that was made with `evaluate`."""
    count, areas = len(run.params.imgIds), len(run.params.areaRng)
    found = []
    for number in range(len(run.params.catIds)):
        first = number * areas * count  # all areas come first
        rows = [(place, each) for place, each in enumerate(run.evalImgs[first : first + count]) if each is not None]
        asked = np.zeros(count, np.int64)
        for place, each in rows:
            asked[place] = np.count_nonzero(np.asarray(each["gtIgnore"]) == 0)
        scores = np.concatenate([np.asarray(each["dtScores"]) for _, each in rows] or [np.zeros(0)])
        order = np.argsort(-scores, kind="mergesort")
        thresholds = len(run.params.iouThrs)
        empty = np.zeros((thresholds, 0), bool)
        matched = np.concatenate([each["dtMatches"] > 0 for _, each in rows] or [empty], 1)[:, order]
        ignored = np.concatenate([each["dtIgnore"].astype(bool) for _, each in rows] or [empty], 1)[:, order]
        picture = np.concatenate([np.full(len(each["dtScores"]), place) for place, each in rows] or [np.zeros(0, int)])
        found.append(Matches(matched & ~ignored, ~ignored, picture[order].astype(np.int64), asked))
    return found


def precision(matches: Matches, weights: F64) -> F64:
    """Average precision by overlap threshold, float64 [T], where each picture counts `weights` [N] times.

    NaN for a class that is not asked for.
    """
    asked = float(matches.asked @ weights)
    result = np.full(len(matches.hit), np.nan)
    if asked == 0:
        return result
    often = weights[matches.picture]
    for threshold, (hit, counted) in enumerate(zip(matches.hit, matches.counted, strict=True)):
        true, all_found = np.cumsum(hit * often), np.cumsum(counted * often)
        recall = true / asked
        curve = np.append(np.maximum.accumulate((true / np.maximum(all_found, 1e-9))[::-1])[::-1], 0.0)
        result[threshold] = curve[np.searchsorted(recall, _RECALLS - 1e-9)].mean()
    return result


def figures(matches: list[Matches], weights: F64) -> dict[str, float]:
    """mAP50, mAP50-95 and each class's mAP50; classes that are not asked for are left out."""
    table = np.stack([precision(each, weights) for each in matches])
    known = ~np.isnan(table[:, 0])
    by_class = {f"mAP50 {CLASSES[number]}": float(table[number, 0]) for number in np.flatnonzero(known)}
    return {"mAP50": float(table[known, 0].mean()), "mAP50-95": float(table[known].mean()), **by_class}


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of both, and between which differences 95 % of the resampled sets lie."""

    champion: float
    candidate: float
    low: float
    high: float


def compare(champion: COCOeval, candidate: COCOeval, seed: int = 0, rounds: int = ROUNDS) -> dict[str, Difference]:
    """The figures of two evaluations of the same pictures."""
    pair = [matches_of(champion), matches_of(candidate)]
    count = len(champion.params.imgIds)
    plain = [figures(each, np.ones(count)) for each in pair]
    rng, differences = np.random.default_rng(seed), []
    for _ in range(rounds):
        weights = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)
        old, new = (figures(each, weights) for each in pair)
        differences.append([new.get(name, np.nan) - old.get(name, np.nan) for name in plain[0]])
    low, high = np.nanpercentile(np.array(differences), [2.5, 97.5], axis=0)
    return {
        name: Difference(plain[0][name], plain[1][name], float(low[place]), float(high[place]))
        for place, name in enumerate(plain[0])
    }


def of_counts(champion: F64, candidate: F64, wanted: F64, seed: int = 0, rounds: int = ROUNDS) -> Difference:
    """The same of a share: counts by picture of both, and how many were wanted."""
    rng, differences, total = np.random.default_rng(seed), [], max(1.0, float(wanted.sum()))
    for _ in range(rounds):
        drawn = rng.integers(0, len(wanted), len(wanted))
        differences.append((candidate[drawn].sum() - champion[drawn].sum()) / max(1.0, float(wanted[drawn].sum())))
    low, high = np.percentile(differences, [2.5, 97.5])
    return Difference(float(champion.sum()) / total, float(candidate.sum()) / total, float(low), float(high))
