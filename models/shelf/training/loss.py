"""Which cell answers for which object, and what a wrong answer costs.

Assignment is task-aligned (TOOD, Feng et al., 2021, arXiv:2108.07755); class scores learn the overlap of their box
(varifocal loss, Zhang et al., 2021, arXiv:2008.13367); boxes learn complete IoU (Zheng et al., 2020, arXiv:1911.08287),
their edges the two bins beside the truth (distribution focal loss, Li et al., 2020, arXiv:2006.04388).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.shelf.training.network import BINS, NEAREST

CELLS_PER_OBJECT = 10
BOX_WEIGHT = 5.0
EDGE_WEIGHT = 1.0


@dataclass(frozen=True, slots=True)
class Targets:
    """Objects of a batch: image and class int64 [M], box float32 [M, 4] in input pixels, ignore bool [M]."""

    image: Tensor
    kind: Tensor
    box: Tensor
    ignore: Tensor

    def only(self, chosen: Tensor) -> "Targets":
        """The objects where `chosen` (bool [M])."""
        return Targets(self.image[chosen], self.kind[chosen], self.box[chosen], self.ignore[chosen])

    def on(self, device: str) -> "Targets":
        """The same in a device's memory."""
        return Targets(self.image.to(device), self.kind.to(device), self.box.to(device), self.ignore.to(device))


def overlap(a: Tensor, b: Tensor, complete: bool = False) -> Tensor:
    """IoU of boxes [..., 4] pair by pair, or complete IoU: less centre distance and aspect mismatch."""
    corner = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = corner.clamp(min=0).prod(-1)
    size_a, size_b = (a[..., 2:] - a[..., :2]).clamp(min=1e-3), (b[..., 2:] - b[..., :2]).clamp(min=1e-3)
    iou = shared / (size_a.prod(-1) + size_b.prod(-1) - shared + 1e-6)
    if not complete:
        return iou
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) ** 2).sum(-1) / 4
    turn = torch.atan(size_a[..., 0] / size_a[..., 1]) - torch.atan(size_b[..., 0] / size_b[..., 1])
    shape = (4 / math.pi**2) * turn**2
    with torch.no_grad():
        weight = shape / (1 - iou + shape + 1e-6)
    return iou - apart / ((hull**2).sum(-1) + 1e-6) - weight * shape


def _near(box: Tensor, centre: Tensor, stride: Tensor) -> Tensor:
    """Which cells may answer for which box: bool [M, N]; their centre lies in it, tiny boxes reach one stride out."""
    middle, half = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) / 2
    near_x = (centre[None, :, 0] - middle[:, None, 0]).abs() < torch.maximum(half[:, None, 0], stride[None] * 0.75)
    near_y = (centre[None, :, 1] - middle[:, None, 1]).abs() < torch.maximum(half[:, None, 1], stride[None] * 0.75)
    return near_x & near_y


@torch.no_grad()
def assign(
    boxes: Tensor, scores: Tensor, targets: Targets, centre: Tensor, stride: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Task-aligned assignment.

    Takes predictions [B, N, 4] and [B, N, C] (0 to 1). Returns, for every chosen cell, its image index, its cell
    index, the index of its object, and the score it should give (0 to 1).
    """
    near = _near(targets.box, centre, stride)
    obj, cell = near.nonzero(as_tuple=True)
    image = targets.image[obj]
    iou = overlap(boxes[image, cell], targets.box[obj]).clamp(min=0)
    closeness = torch.exp(-((centre[cell] - (targets.box[obj, :2] + targets.box[obj, 2:]) / 2) ** 2).sum(-1) / 1e4)
    align = scores[image, cell, targets.kind[obj]].sqrt() * iou**6 + 1e-9 * closeness
    dense = torch.zeros(near.shape, device=near.device)
    dense[obj, cell] = align
    top, index = dense.topk(min(CELLS_PER_OBJECT, dense.shape[1]), 1)
    obj, rank = (top > 0).nonzero(as_tuple=True)
    cell, align, image = index[obj, rank], top[obj, rank], targets.image[obj]
    iou = overlap(boxes[image, cell], targets.box[obj]).clamp(min=0)
    key = image * boxes.shape[1] + cell
    best = torch.zeros(boxes.shape[0] * boxes.shape[1], device=key.device).scatter_reduce(0, key, align, "amax")
    won = align >= best[key]
    image, cell, obj, align, iou = image[won], cell[won], obj[won], align[won], iou[won]
    count = len(targets.box)
    most_align = torch.zeros(count, device=obj.device).scatter_reduce(0, obj, align, "amax")
    most_iou = torch.zeros(count, device=obj.device).scatter_reduce(0, obj, iou, "amax")
    return image, cell, obj, align / (most_align[obj] + 1e-12) * most_iou[obj]


def edge_loss(edges: Tensor, box: Tensor, centre: Tensor, stride: Tensor) -> Tensor:
    """Cross entropy [P] of edges [P, 4, BINS] against boxes [P, 4], seen from cells at [P, 2] of stride [P]."""
    reach = torch.cat([centre - box[:, :2], box[:, 2:] - centre], 1) / stride[:, None]
    place = (reach - NEAREST).clamp(0, BINS - 1.01)
    low = place.floor().long()
    share = (place - low)[..., None]
    cost = -edges.log_softmax(2)
    both = cost.gather(2, low[..., None]) * (1 - share) + cost.gather(2, low[..., None] + 1) * share
    return both.mean((1, 2))


def detection_loss(
    predicted: tuple[Tensor, Tensor, Tensor], targets: Targets, centre: Tensor, stride: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Class loss, box loss and edge loss (scalars) of the network's answer, each over the sum of the target scores."""
    boxes, logits, edges = predicted
    asked, ignored = targets.only(~targets.ignore), targets.only(targets.ignore)
    scores = logits.sigmoid().detach()
    wanted = torch.zeros_like(logits)
    matter = torch.ones_like(logits)
    if len(ignored.box):
        obj, cell = _near(ignored.box, centre, stride).nonzero(as_tuple=True)
        matter[ignored.image[obj], cell, ignored.kind[obj]] = 0.0
    box_loss, edge = boxes.sum() * 0, edges.sum() * 0
    if len(asked.box):
        image, cell, obj, quality = assign(boxes.detach(), scores, asked, centre, stride)
        wanted[image, cell, asked.kind[obj]] = quality
        matter[image, cell, asked.kind[obj]] = 1.0
        gap = 1 - overlap(boxes[image, cell], asked.box[obj], complete=True)
        box_loss = (gap * quality).sum()
        edge = (edge_loss(edges[image, :, :, cell], asked.box[obj], centre[cell], stride[cell]) * quality).sum()
    total = wanted.sum().clamp(min=1.0)
    weight = torch.where(wanted > 0, wanted, 0.75 * scores**2) * matter
    class_loss = (functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * weight).sum()
    return class_loss / total, box_loss / total, edge / total
