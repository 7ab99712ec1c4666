"""What cannot be compiled, and what its error must say."""

import torch
import torch.nn.functional as F

from tests.operators.modules import IMAGE, TOKENS

#: Name -> (function, shape of its input, part of the error).
REFUSED = {
    "sin": (torch.sin, TOKENS, r"aten.sin.default at .*this operator cannot be compiled"),
    "cummax": (lambda x: x.cummax(1).values, TOKENS, "aten.cummax.default at"),
    "dropout in attention": (
        lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
        TOKENS,
        "draws random numbers",
    ),
    "indices of max_pool2d": (
        lambda x: F.max_pool2d(x, 2, return_indices=True)[1].float(),
        IMAGE,
        "its result is torch.int64",
    ),
    "size by values": (
        lambda x: x.repeat_interleave(torch.tensor([1, 0, 2, 1, 1]), 1),
        TOKENS,
        "how large its result is depends on values",
    ),
    "bits of integers": (
        lambda x: (x.trunc().int() ^ 3).float(),
        TOKENS,
        "bitwise_xor|__xor__",
    ),
}
