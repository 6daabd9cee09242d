"""A small detector without anchors, and how it learns: plain convolutions, grids of 8, 16 and 32 pixels, boxes and scores."""

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
LARGEST = 16  # side of the largest box that a cell can tell, in its own stride
BEST_CELLS = 8  # of each part, those that learn it


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, momentum=0.03),
        nn.ReLU(inplace=True),
    )


class Block(nn.Module):  # type: ignore[misc]  # torch is not installed where the types are checked
    """Narrow, wide again, and added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.path = nn.Sequential(conv(channels, channels // 2, 1), conv(channels // 2, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x)


class Head(nn.Module):  # type: ignore[misc]  # as Block
    """What each cell of one grid says: 4 numbers of a box, and a logit a class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.shared = conv(channels, channels)
        self.box = nn.Conv2d(channels, 4, 1)
        self.score = nn.Conv2d(channels, classes, 1)
        nn.init.constant_(self.score.bias, -4.6)  # few cells have a part

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.shared(x)
        return self.box(x), self.score(x)


class Detector(nn.Module):  # type: ignore[misc]  # as Block
    """(n, 3, h, w), RGB of 0 to 1, sides multiples of 32, to (n, 4 + classes, cells), as edge-agent's yolo head takes it: centre x,
    centre y, width, height as fractions of the picture, and scores.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 24, 3, 2), Block(24))
        self.to8 = nn.Sequential(conv(24, 40, 3, 2), Block(40), Block(40))
        self.to16 = nn.Sequential(conv(40, 80, 3, 2), Block(80), Block(80))
        self.to32 = nn.Sequential(conv(80, 112, 3, 2), Block(112), conv(112, 64, 1))
        self.join16 = nn.Sequential(conv(80 + 64, 64, 1), Block(64))
        self.join8 = nn.Sequential(conv(40 + 64, 48, 1), Block(48))
        self.heads = nn.ModuleList(Head(channels, classes) for channels in (48, 64, 64))

    def raw(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each grid, (n, 4, rows, columns) and (n, classes, rows, columns)."""
        x8 = self.to8(self.stem(x))
        x16 = self.to16(x8)
        x32 = self.to32(x16)
        x16 = self.join16(torch.cat((x16, functional.interpolate(x32, scale_factor=2.0)), 1))
        x8 = self.join8(torch.cat((x8, functional.interpolate(x16, scale_factor=2.0)), 1))
        return [head(level) for head, level in zip(self.heads, (x8, x16, x32), strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        picture = torch.tensor([[float(x.shape[3])], [float(x.shape[2])]])
        levels = []
        for stride, (box, score) in zip(STRIDES, self.raw(x), strict=True):
            middle = (
                box[:, :2].flatten(2) * (stride / picture) + cell_centres(int(box.shape[2]), int(box.shape[3]), stride) / picture
            )
            size = torch.sigmoid(box[:, 2:].flatten(2)) * (LARGEST * stride / picture)
            levels.append(torch.cat((middle, size, torch.sigmoid(score.flatten(2))), 1))
        return torch.cat(levels, 2)


def cell_centres(rows: int, columns: int, stride: int) -> Tensor:
    """(2, rows * columns): x and y in pixels."""
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    return torch.stack((x.flatten(), y.flatten())) * stride


def loss(net: Detector, pixels: Tensor, boxes: Tensor, classes: Tensor) -> Tensor:
    """pixels: (n, 3, h, w). boxes: (n, m, 4), x1 y1 x2 y2 in pixels. classes: (n, m), -1 none, -2 a part of which nothing is asked.

    Cells learn a part by how well they already find it (TOOD, arXiv:2108.07755), boxes by their generalized IoU (arXiv:1902.09630).
    """
    raw = net.raw(pixels)
    centres = torch.cat(
        [cell_centres(box.shape[2], box.shape[3], s) for s, (box, _) in zip(STRIDES, raw, strict=True)], 1
    ).T  # (cells, 2)
    strides = torch.cat([torch.full((box[0, 0].numel(),), float(s)) for s, (box, _) in zip(STRIDES, raw, strict=True)])
    flat = torch.cat([box.flatten(2) for box, _ in raw], 2).transpose(1, 2)
    logits = torch.cat([score.flatten(2) for _, score in raw], 2).transpose(1, 2)  # (n, cells, classes)
    middle = flat[..., :2] * strides[:, None] + centres
    half = torch.sigmoid(flat[..., 2:]) * (LARGEST / 2 * strides[:, None])
    predicted = torch.cat((middle - half, middle + half), 2)  # (n, cells, 4)

    with torch.no_grad():
        wanted, part, ignored = assign(predicted, logits.sigmoid(), centres, boxes, classes)
    found = wanted.sum(2) > 0
    total = wanted.sum().clamp(min=1)
    scores = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    focus = torch.where(wanted > 0, 1.0, 0.75 * logits.detach().sigmoid() ** 2)  # what is easily empty teaches nothing
    score_loss = (scores * focus * ~(ignored & ~found)[..., None]).sum() / total
    goal = torch.gather(boxes, 1, part[..., None].expand(-1, -1, 4))[found]
    box_loss = ((1 - iou(predicted[found], goal, generalized=True)) * wanted.sum(2)[found]).sum() / total
    return score_loss + 2.5 * box_loss


def assign(predicted: Tensor, scores: Tensor, centres: Tensor, boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What each cell is to learn: scores (n, cells, classes), the index of its part (n, cells), whether nothing is asked of it."""
    x, y = centres[:, 0], centres[:, 1]
    inside = (x > boxes[..., :1]) & (y > boxes[..., 1:2]) & (x < boxes[..., 2:3]) & (y < boxes[..., 3:])  # (n, m, cells)
    overlap = iou(boxes[:, :, None], predicted[:, None])
    score = torch.gather(scores.transpose(1, 2), 1, classes.clamp(min=0)[..., None].expand(-1, -1, len(centres)))
    fit = score.sqrt() * overlap**4 * (inside & (classes >= 0)[..., None])
    best, where = fit.topk(BEST_CELLS, dim=2)
    chosen = torch.zeros_like(fit).scatter_(2, where, (best > 0).float())
    owner_fit, part = (overlap * chosen).max(1)  # a cell between two parts takes the one that it fits better
    quality = fit / fit.amax(2, keepdim=True).clamp(min=1e-9) * (overlap * chosen).amax(2, keepdim=True)
    quality = torch.gather(quality * chosen, 1, part[:, None])[:, 0] * (owner_fit > 0)
    label = torch.gather(classes.clamp(min=0), 1, part)
    wanted = functional.one_hot(label, scores.shape[2]) * quality[..., None]
    return wanted, part, (inside & (classes == -2)[..., None]).any(1)


def iou(a: Tensor, b: Tensor, *, generalized: bool = False) -> Tensor:
    """Of boxes (…, 4), x1 y1 x2 y2, that broadcast."""
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    common = sides.prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - common + 1e-7
    if not generalized:
        return common / union
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1) + 1e-7
    return common / union - (hull - union) / hull
