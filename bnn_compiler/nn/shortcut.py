"""A shortcut between any channel counts, so that pruning a layer never costs its shortcut."""

import torch.nn.functional as F
from torch import Tensor, nn


class Shortcut(nn.Module):
    """y + x, where x may have more channels than y, or fewer, and ``stride`` times its size.

    x is averaged over ``stride`` x ``stride`` pixels, and then gives its leading channels; where y
    has more, they begin again at the first. Both counts are those of the tensors that come, so a
    plan of channels (``latency.PlanSpace``) may give the layers around it any counts.
    """

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x [N, C, H, W], y [N, O, H / stride, W / stride]."""
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride)
        channels = y.shape[1]
        times = -(-channels // x.shape[1])
        # The same calls whatever the counts: a plan is a change of sizes.
        return y + x.repeat(1, times, 1, 1)[:, :channels]
