"""One network whose crops are all trained together.

Two ways to train it:

    sandwich      slimmable networks' rule (Yu and Huang, ICCV 2019): each batch trains the full
                  network, the smallest and random ones; with distillation in place the smaller
                  ones learn the full one's outputs
    random_plans  one random plan for each batch, as MetaPruning and the search over group counts
                  (Phan et al., CVPR 2020) do
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.crops import Crop, Plan, Space
from bnn_compiler.search.plans import SCALES

#: A random plan of a space.
Draw = Callable[[np.random.Generator], Plan]

_TRIES = 1000
#: Crops that are remembered by default: making one may take longer than training on a batch.
REMEMBER = 256


class Crops:
    """The crops of a space; the latest ``most``, which hold no weights, are remembered."""

    def __init__(self, space: Space, most: int) -> None:
        self.space, self._most = space, most
        self._known: OrderedDict[tuple[tuple[str, int], ...], Crop] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """A worker makes its own crops."""
        return {**vars(self), "_known": OrderedDict()}

    def of(self, plan: Plan) -> Crop:
        """Errors are those of ``Crop.of``."""
        key = tuple(sorted({**self.space.full, **plan}.items()))
        if key not in self._known:
            self._known[key] = Crop.of(self.space, plan)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


class Supernet(nn.Module):
    """The full network's parameters; a plan's network uses its part of them.

    ``model`` starts as the space's own network, trained or not. In training mode batch norms use
    the batch; a plan's own statistics are made by ``recalibrate``. The latest crops are kept
    (``remember``): where making one is slow, train on a ``pool`` of no more plans.
    """

    def __init__(self, space: Space, *, remember: int = REMEMBER) -> None:
        super().__init__()
        self.model = space.crop(space.full)
        self._crops = Crops(space, remember)

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


def by_scale(
    full: Plan,
    *,
    choices: Mapping[str, Sequence[int]] | None = None,
    legal: Callable[[Plan], bool] = lambda plan: True,
) -> Draw:
    """Every group by one of MetaPruning's 31 scales, or one of its ``choices``, drawn until legal.

    ``choices`` are by key, "NAME.groups" (which have no scales) too. The draw raises TrainingError
    if none of 1,000 plans is legal.
    """
    options = {
        name: tuple(max(1, int(size * scale)) for scale in SCALES)
        for name, size in full.items()
        if name != "batch" and not name.endswith(".groups")
    }
    options |= {name: tuple(values) for name, values in (choices or {}).items()}

    def draw(rng: np.random.Generator) -> Plan:
        for _ in range(_TRIES):
            plan = {name: values[rng.integers(len(values))] for name, values in options.items()}
            if legal(plan):
                return plan
        raise TrainingError(f"none of {_TRIES} random plans is legal; look at the choices")

    return draw


def pool(draw: Draw, plans: int, *, seed: int = 0) -> Draw:
    """One of ``plans`` plans that ``draw`` gave, so that their crops are made once."""
    rng = np.random.default_rng(seed)
    drawn = [draw(rng) for _ in range(plans)]
    return lambda rng: drawn[rng.integers(plans)]


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
