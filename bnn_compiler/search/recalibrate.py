"""Batch norm's statistics of a plan's network, and what it is worth with them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.crops import Plan
from bnn_compiler.search.data import Labelled, batches
from bnn_compiler.search.deterministic import deterministic

_NORM = nn.modules.batchnorm._BatchNorm


@torch.no_grad()
def recalibrate(network: nn.Module, images: Iterable[Tensor]) -> None:
    """Make every batch norm's statistics anew from batches of images [N, C, H, W].

    Means and variances are averages over the batches, of equal weight, in any order the same but
    for rounding. Without this, the accuracy of a crop is noise (MetaPruning, Liu et al., ICCV 2019;
    a few thousand images are enough). Leaves the network in eval mode. Raises TrainingError if
    there are no images, or if a statistic is not finite.
    """
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _NORM) and module.track_running_stats
    }
    momenta = {name: norm.momentum for name, norm in norms.items()}
    network.eval()
    for norm in norms.values():
        norm.reset_running_stats()
        # None averages over all batches.
        norm.momentum = None
        norm.train()
    try:
        count = 0
        for batch in images:
            network(batch)
            count += 1
    finally:
        for name, norm in norms.items():
            norm.momentum = momenta[name]
        network.eval()
    if not count:
        raise TrainingError("no images to recalibrate batch norms with")
    for name, norm in norms.items():
        if not _finite(norm.running_mean) or not _finite(norm.running_var):
            raise TrainingError(f"the statistics of {name or 'the batch norm'} are not finite")


def recalibrate_on(
    network: nn.Module, data: Labelled, *, images: int = 2048, batch: int = 256
) -> None:
    """``recalibrate`` with the first ``images`` of ``data``, on the network's device."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    count = min(images, len(data))
    # Whole batches: a last one of a single image may have no variance.
    order = torch.arange(max(count // batch * batch, min(count, batch)))
    recalibrate(network, (x.to(device) for x, _ in batches(data, batch, order)))


@torch.no_grad()
def accuracy(network: nn.Module, data: Labelled, *, batch: int = 256) -> float:
    """Top-1, 0..1, in eval mode. Raises TrainingError for outputs that are not finite."""
    if not len(data):
        raise TrainingError("no images to measure the accuracy with")
    network.eval()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    right = 0
    for images, labels in batches(data, batch):
        logits = network(images.to(device))
        if not _finite(logits):
            raise TrainingError("the network's outputs are not finite")
        right += int((logits.argmax(1).cpu() == labels).sum())
    return right / len(data)


class Weights(Protocol):
    """What gives a plan's network its weights: a Supernet or a PruningNet."""

    def network(self, plan: Plan) -> nn.Module:
        """The plan's network."""


@dataclass(frozen=True)
class Inherited:
    """(plan, seed) -> accuracy with the weights that the plan inherits or that are generated.

    Batch norms are recalibrated on the first ``images`` of ``calibrate``; the accuracy is that on
    ``choose``, all of it: compare plans on thousands of images. It depends on the plan alone:
    neither on the seed nor on what was asked before. This is a filter of candidates, not a
    verdict: see ``halving``. Errors are those of the space, ``recalibrate`` and ``accuracy``.
    """

    weights: Weights
    calibrate: Labelled
    choose: Labelled
    images: int = 2048
    batch: int = 256

    def __call__(self, plan: Plan, seed: int = 0) -> float:
        """0..1."""
        with deterministic(seed):
            network = self.weights.network(plan)
            recalibrate_on(network, self.calibrate, images=self.images, batch=self.batch)
            return accuracy(network, self.choose, batch=self.batch)


def _finite(tensor: Tensor | None) -> bool:
    return tensor is None or bool(torch.isfinite(tensor).all())
