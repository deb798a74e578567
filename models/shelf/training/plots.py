"""The pictures of the model card."""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
from pycocotools.cocoeval import COCOeval

from models.shelf.training.arrays import CLASSES, U8
from models.shelf.training.detect import Detections
from models.shelf.training.jpeg import decode
from models.shelf.training.metrics import Pictures

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ((235, 140, 20), (30, 110, 235), (150, 90, 40), (215, 40, 215), (40, 175, 60))
"""One colour a class, RGB."""


def plot_precision(run: COCOeval, path: Path) -> None:
    """Precision over recall for each class at an overlap of 0.5."""
    precision = run.eval["precision"][0, :, :, 0, -1]
    figure, axes = plt.subplots(figsize=(6, 4.2), dpi=110)
    recall = np.linspace(0, 1, precision.shape[0])
    for index, name in enumerate(CLASSES):
        curve = np.clip(precision[:, index], 0, 1)
        axes.plot(recall, curve, label=f"{name}  {curve.mean():.3f}", color=np.array(COLOURS[index]) / 255)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.legend(title="class, AP at IoU 0.5", loc="lower left")
    axes.grid(alpha=0.3)
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)


def plot_losses(records: list[dict[str, float]], path: Path) -> None:
    """Smoothed class loss and box loss over steps, as the journal has them."""
    figure, axes = plt.subplots(figsize=(6, 3.6), dpi=110)
    steps = [record["step"] for record in records]
    for name, colour in (("class_loss", COLOURS[1]), ("box_loss", COLOURS[0])):
        axes.plot(
            steps, [record[name] for record in records], label=name.replace("_", " "), color=np.array(colour) / 255
        )
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)


def plot_confusion(table: np.ndarray, path: Path) -> None:
    """Row-normalised confusion at the model's threshold and an overlap of 0.5."""
    names = [*CLASSES, "nothing"]
    share = table / np.maximum(1, table.sum(1, keepdims=True))
    figure, axes = plt.subplots(figsize=(5.6, 4.8), dpi=110)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="detected", ylabel="true")
    for row in range(len(names)):
        for column in range(len(names)):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{table[row, column]}", ha="center", va="center", fontsize=8, color=colour)
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)


def draw(image: U8, found: Detections) -> U8:
    """A copy of an RGB picture with its detections drawn in."""
    drawn = image.copy()
    thick = max(1, image.shape[1] // 640)
    for box, score, kind in zip(found.boxes, found.scores, found.kinds, strict=True):
        x1, y1, x2, y2 = (int(value) for value in box)
        colour = COLOURS[int(kind)]
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, thick)
        text = f"{CLASSES[int(kind)]} {score:.2f}"
        cv2.putText(drawn, text, (x1 + 2, y1 + 11 * thick), cv2.FONT_HERSHEY_SIMPLEX, 0.36 * thick, colour, thick)
    return drawn


def contact_sheet(pictures: Pictures, found: dict[int, Detections], threshold: float, path: Path) -> None:
    """Detections on the first twelve pictures, three in a row."""
    tiles = []
    for image, packed in Pictures(pictures.annotations, min(12, len(pictures))).packed():
        drawn = draw(decode(packed), found[image["id"]].above(threshold))
        small = cv2.resize(drawn, (560, 315), interpolation=cv2.INTER_AREA)
        tiles.append(np.asarray(small, np.uint8))
    while len(tiles) % 3:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.hstack(tiles[start : start + 3]) for start in range(0, len(tiles), 3)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
