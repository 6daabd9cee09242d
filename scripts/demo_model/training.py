"""Teaching the detector: AdamW, one cycle of the learning rate, a moving average of the weights."""

import time

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from scripts.demo_model.net import Detector, loss
from scripts.demo_model.scene import LABELS, SIZE, Scenes

BATCH = 16
PEAK_RATE = 3e-3
EMA = 0.998  # what stays of the average at each step
TOLD_EVERY = 25  # steps


def train(scenes: Scenes, steps: int, seed: int) -> Detector:
    """The averaged net after so many batches; prints how it goes."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = Detector(len(LABELS)).to(memory_format=torch.channels_last)
    averaged = AveragedModel(net, avg_fn=_averaged, use_buffers=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1)
    order = np.concatenate([rng.permutation(len(scenes.pixels)) for _ in range(steps * BATCH // len(scenes.pixels) + 1)])
    began, losses = time.monotonic(), 0.0
    for step in range(steps):
        batch = order[step * BATCH : (step + 1) * BATCH]
        optimizer.zero_grad(set_to_none=True)
        value = loss(net, *_batch(scenes, batch, rng))
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(net)
        losses += value.item()
        if (step + 1) % TOLD_EVERY == 0 or step + 1 == steps:
            left = (time.monotonic() - began) / (step + 1) * (steps - step - 1)
            print(f"training: step {step + 1} of {steps}, loss {losses / TOLD_EVERY:.3f}, {left / 60:.1f} min left", flush=True)
            losses = 0.0
    trained: Detector = averaged.module.eval().to(memory_format=torch.contiguous_format)
    return trained


def _averaged(average: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    """Moving, over fewer steps at the beginning, so that little is left of the weights that it began with."""
    return average + (new - average) * max(1 - EMA, 9 / (10 + int(count)))


def _batch(scenes: Scenes, which: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Those pictures, mirrored, turned and lit at random."""
    pixels = torch.from_numpy(scenes.pixels[which]).permute(0, 3, 1, 2).float().div_(255)
    most = int((scenes.classes[which] != -1).sum(axis=1).max())
    boxes, classes = torch.from_numpy(scenes.boxes[which, :most]), torch.from_numpy(scenes.classes[which, :most])
    for i in range(len(which)):
        mirrored, flipped, turned = rng.random(3) < 0.5
        if mirrored:
            pixels[i] = pixels[i].flip(2)
            boxes[i] = torch.stack((SIZE - boxes[i, :, 2], boxes[i, :, 1], SIZE - boxes[i, :, 0], boxes[i, :, 3]), 1)
        if flipped:
            pixels[i] = pixels[i].flip(1)
            boxes[i] = torch.stack((boxes[i, :, 0], SIZE - boxes[i, :, 3], boxes[i, :, 2], SIZE - boxes[i, :, 1]), 1)
        if turned:
            pixels[i] = pixels[i].transpose(1, 2).clone()
            boxes[i] = boxes[i][:, [1, 0, 3, 2]]
    gain = torch.from_numpy(rng.uniform(0.75, 1.3, (len(which), 1, 1, 1)) * rng.uniform(0.93, 1.07, (len(which), 3, 1, 1)))
    pixels = (pixels * gain.float()).clamp_(0, 1)
    return pixels.contiguous(memory_format=torch.channels_last), boxes, classes
