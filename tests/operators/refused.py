"""What cannot be compiled, and what its error must say."""

import torch
import torch.nn.functional as F

from tests.operators.modules import IMAGE, TOKENS, VOLUME

#: Name -> (function, shape of its input, part of the error).
REFUSED = {
    "unknown": (torch.lgamma, TOKENS, r"aten.lgamma.default at .*this operator cannot be compiled"),
    "names like it": (
        torch.special.log_ndtr,
        TOKENS,
        r"nearest in name: .*\(bnnc check --operators",
    ),
    "median of too many": (
        lambda x: x.repeat(1, 1, 300).median(-1).values,
        TOKENS,
        "this form of the operator cannot be compiled; others can",
    ),
    "the first of many integers": (
        lambda x: x.argmax(1).topk(17).values.float(),
        (1, 5, 20),
        "the first 17 of these",
    ),
    "computed mask": (lambda x: x[x > 0], TOKENS, r"depends on values; torch\.where"),
    "volumes": (
        lambda x: F.conv_transpose3d(x, torch.ones(4, 2, 2, 2, 2)),
        VOLUME,
        "three dimensions cannot be compiled",
    ),
    "integer beyond float32": (
        lambda x: x.argmax(-1) + torch.tensor(2**24 + 1),
        TOKENS,
        "the integer 16777217, which float32 does not hold",
    ),
    "index beyond 2**24": (
        lambda x: x.expand(2**21, 5, 16)[torch.arange(3), torch.arange(3), torch.arange(3)],
        (1, 5, 16),
        "an index among 167772160 elements",
    ),
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
