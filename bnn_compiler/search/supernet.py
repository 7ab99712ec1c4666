"""One network whose crops are all trained together.

Two ways to train it:

    sandwich      slimmable networks' rule (Yu and Huang, ICCV 2019): each batch trains the full
                  network, the smallest and random ones; with distillation in place the smaller
                  ones learn the full one's outputs
    random_plans  one random plan for each batch, as MetaPruning and the search over group counts
                  (Phan et al., CVPR 2020) do
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.crops import Crop, Plan, Space

#: A random plan of a space.
Draw = Callable[[np.random.Generator], Plan]

#: MetaPruning's scales of channels: 0.10, 0.13, ... 1.00.
SCALES = tuple(percent / 100 for percent in range(10, 101, 3))
#: Crops that are remembered: a search asks for the same plan a few times in a row.
_MOST = 32


class Crops:
    """The crops of a space, the latest remembered."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._known: OrderedDict[tuple[tuple[str, int], ...], Crop] = OrderedDict()

    def of(self, plan: Plan) -> Crop:
        """Errors are those of ``Crop.of``."""
        key = tuple(sorted({**self.space.full, **plan}.items()))
        if key not in self._known:
            self._known[key] = Crop.of(self.space, plan)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


class Supernet(nn.Module):
    """The full network's parameters; a plan's network uses its part of them.

    ``model`` starts as the space's own network, trained or not. In training mode batch norms use
    the batch; a plan's own statistics are made by ``recalibrate``.
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.model = space.crop(space.full)
        self._crops = Crops(space)

    @property
    def full(self) -> Plan:
        """The plan of the full network."""
        return self._crops.space.full

    def forward(self, x: Tensor, plan: Plan | None = None) -> Tensor:
        """The plan's outputs, differentiable in the full parameters; None is the full network."""
        if plan is None:
            return self.model(x)  # type: ignore[no-any-return]
        return self._crops.of(plan).run(dict(self.model.named_parameters()), x, self.training)

    def network(self, plan: Plan) -> nn.Module:
        """A copy of the plan's network with the inherited weights, in eval mode.

        Its batch norms have the full network's statistics until they are recalibrated.
        """
        return self._crops.of(plan).network(dict(self.model.named_parameters()))


def by_scale(full: Plan, groups: dict[str, Sequence[int]] | None = None) -> Draw:
    """Every group by one of MetaPruning's 31 scales, group counts from ``groups``, by their key.

    Raises TrainingError for counts of a key that the plan does not have.
    """
    counts = groups or {}
    unknown = sorted(set(counts) - set(full))
    if unknown:
        raise TrainingError(f"no group {unknown[0]!r}; known: {', '.join(sorted(full))}")

    def draw(rng: np.random.Generator) -> Plan:
        return {
            name: int(rng.choice(counts[name]))
            if name in counts
            else size
            if name.endswith(".groups")
            else max(1, int(size * rng.choice(SCALES)))
            for name, size in full.items()
        }

    return draw


def sandwich(
    draw: Draw, smallest: Plan, *, random: int = 2, distil: bool = True, smoothing: float = 0.0
) -> Callable[[Any, Tensor, Tensor, np.random.Generator], Iterator[Tensor]]:
    """The sandwich rule as an objective of ``train.fit``: full, ``smallest``, ``random`` plans.

    With ``distil`` the smaller networks learn the full network's probabilities instead of the
    labels. ``smoothing`` is of the full network's labels.
    """

    def losses(
        model: Supernet, images: Tensor, labels: Tensor, rng: np.random.Generator
    ) -> Iterator[Tensor]:
        logits = model(images)
        wanted = logits.detach().float().softmax(1) if distil else labels
        yield F.cross_entropy(logits, labels, label_smoothing=smoothing)
        for plan in (smallest, *(draw(rng) for _ in range(random))):
            yield F.cross_entropy(model(images, plan), wanted)

    return losses


def random_plans(
    draw: Draw, *, smoothing: float = 0.1
) -> Callable[[Any, Tensor, Tensor, np.random.Generator], Iterator[Tensor]]:
    """One random plan for each batch, as MetaPruning and the group search train."""

    def losses(
        model: Any, images: Tensor, labels: Tensor, rng: np.random.Generator
    ) -> Iterator[Tensor]:
        yield F.cross_entropy(model(images, draw(rng)), labels, label_smoothing=smoothing)

    return losses
