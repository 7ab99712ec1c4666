"""Which parameters are binary, which may decay."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, nn

from bnn_compiler.errors import ModelError
from bnn_compiler.nn.conv import BinaryConv2d, BinaryLinear

_REAL = (nn.modules.conv._ConvNd, nn.Linear)


@dataclass(frozen=True)
class Parameters:
    """A model's trainable parameters, each in one of three lists, in the order of ``parameters()``.

    ``binary``: weights whose signs are used. ``weights``: of real convolutions and linear layers.
    ``rest``: biases, batch norms, slopes, shifts.
    """

    binary: list[Tensor]
    weights: list[Tensor]
    rest: list[Tensor]

    @staticmethod
    def of(model: nn.Module, *, binary: Collection[str] = ()) -> "Parameters":
        """Of every module; a parameter that several modules share is listed once.

        ``binary`` names further parameters whose signs are used, of layers that are not this
        package's. Raises ModelError for a name that the model does not have.
        """
        named = dict(model.named_parameters())
        for name in binary:
            if name not in named:
                raise ModelError(f"no parameter {name!r}; the first are {', '.join([*named][:3])}")
        signs = {named[name] for name in binary}
        weights: set[Tensor] = set()
        for module in model.modules():
            if isinstance(module, (BinaryConv2d, BinaryLinear)):
                (weights if module.real_weights else signs).add(module.weight)
            elif isinstance(module, _REAL):
                weights.add(module.weight)
        trained = [p for p in model.parameters() if p.requires_grad]
        return Parameters(
            [p for p in trained if p in signs],
            [p for p in trained if p in weights and p not in signs],
            [p for p in trained if p not in signs and p not in weights],
        )

    def real_groups(self, weight_decay: float = 0.0) -> list[dict[str, object]]:
        """Groups for torch's optimizers, without the binary parameters: only ``weights`` decay."""
        groups: list[dict[str, object]] = [
            {"params": self.weights, "weight_decay": weight_decay},
            {"params": self.rest, "weight_decay": 0.0},
        ]
        return [g for g in groups if g["params"]]

    def groups(self, weight_decay: float = 0.0) -> list[dict[str, object]]:
        """The same with the binary parameters' latent weights, which never decay."""
        latent: list[dict[str, object]] = [{"params": self.binary, "weight_decay": 0.0}]
        return (latent if self.binary else []) + self.real_groups(weight_decay)
