"""Every module of torch.nn that computes at inference, with the shape of what it takes."""

import torch
from torch import nn


class Pair(nn.Module):
    """A module of two tensors, on x and a function of it; the ``result``-th of its results."""

    def __init__(self, module, second=torch.tanh, result=None):
        super().__init__()
        self.module, self.second, self.result = module, second, result

    def forward(self, x):
        found = self.module(x, self.second(x))
        return found if self.result is None else found[self.result]


class First(nn.Module):
    """The first result of a module of ``times`` equal tensors."""

    def __init__(self, module, times=1, **given):
        super().__init__()
        self.module, self.times, self.given = module, times, given

    def forward(self, x):
        return self.module(*[x] * self.times, **self.given)[0]


IMAGE, ROWS, TOKENS, MATRIX, VOLUME = (2, 8, 6, 10), (2, 8, 12), (2, 5, 16), (3, 8), (1, 4, 3, 4, 6)

#: Name -> (module, shape of its input).
MODULES = {
    "Identity": (nn.Identity(), IMAGE),
    # Activations.
    **{
        name: (getattr(nn, name)(*args), IMAGE)
        for name, args in {
            "ELU": (),
            "Hardshrink": (),
            "Hardsigmoid": (),
            "Hardtanh": (),
            "Hardswish": (),
            "LeakyReLU": (),
            "LogSigmoid": (),
            "PReLU": (),
            "ReLU": (),
            "ReLU6": (),
            "RReLU": (),
            "SELU": (),
            "CELU": (0.7,),
            "GELU": (),
            "Sigmoid": (),
            "SiLU": (),
            "Mish": (),
            "Softplus": (2.0,),
            "Softshrink": (),
            "Softsign": (),
            "Tanh": (),
            "Tanhshrink": (),
            "Threshold": (0.1, 0.5),
            "GLU": (1,),
            "Softmin": (1,),
            "Softmax": (1,),
            "Softmax2d": (),
            "LogSoftmax": (1,),
        }.items()
    },
    "GELU of tanh": (nn.GELU("tanh"), TOKENS),
    "PReLU of channels": (nn.PReLU(5), TOKENS),
    "GLU of tokens": (nn.GLU(), TOKENS),
    # Convolutions.
    "Conv1d": (nn.Conv1d(8, 6, 3, 2, 1), ROWS),
    "Conv1d, dilated groups": (nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=4), ROWS),
    "Conv1d, circular": (nn.Conv1d(8, 6, 3, padding=1, padding_mode="circular"), ROWS),
    "Conv2d": (nn.Conv2d(8, 6, 3, 2, 1), IMAGE),
    "Conv2d, reflecting": (nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"), IMAGE),
    "Conv2d, dilated groups": (nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4), IMAGE),
    "ConvTranspose1d": (nn.ConvTranspose1d(8, 6, 4, 2, 1), ROWS),
    "ConvTranspose2d": (nn.ConvTranspose2d(8, 6, 4, 2, 1), IMAGE),
    "ConvTranspose2d, depthwise": (nn.ConvTranspose2d(8, 8, 3, 2, 1, 1, groups=8), IMAGE),
    **{
        f"ConvTranspose2d, {name}": (nn.ConvTranspose2d(8, 8, *args, **given), IMAGE)
        for name, args, given in (
            ("dilated", (3, 2, 1), {"dilation": 2, "groups": 4}),
            ("dilated, stride of 1", (3, 1, 1), {"dilation": 2}),
            ("dilated by 3", (3, 2, 1, 1), {"dilation": 3, "groups": 2}),
            ("kernel below stride", (2, 3, 0, 1), {}),
            ("kernel below stride, no bias", (1, 2), {"bias": False}),
            ("padded beyond its kernel", (3, 2, 4), {}),
            ("padded beyond its kernel, stride of 1", (3, 1, 3), {}),
            ("padded beyond its dilated kernel", (3, 2, 5), {"dilation": 2}),
            ("of two sizes", ((2, 3), (3, 1), (0, 3), (1, 0)), {}),
        )
    },
    **{
        f"ConvTranspose1d, {name}": (nn.ConvTranspose1d(8, 6, *args, **given), ROWS)
        for name, args, given in (
            ("dilated", (3, 2, 1), {"dilation": 3}),
            ("kernel below stride", (1, 2, 0, 1), {}),
            ("padded beyond its kernel", (2, 2, 3), {}),
        )
    },
    "Fold": (nn.Fold((6, 6), 2, stride=2), (2, 8, 9)),
    "Fold, overlapping": (nn.Fold((4, 5), 2), (2, 8, 12)),
    "Unfold": (nn.Unfold(3, padding=1, stride=2), IMAGE),
    "Unfold, dilated": (nn.Unfold((2, 3), dilation=2), IMAGE),
    # Pools.
    "MaxPool1d": (nn.MaxPool1d(3, 2, 1), ROWS),
    "MaxPool2d": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "MaxPool3d": (nn.MaxPool3d(2), VOLUME),
    "AvgPool1d": (nn.AvgPool1d(3, 2, 1), ROWS),
    "AvgPool2d": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    "AvgPool3d": (nn.AvgPool3d(2), VOLUME),
    "LPPool1d": (nn.LPPool1d(2, 3), ROWS),
    "LPPool2d": (nn.LPPool2d(2, 2), IMAGE),
    "AdaptiveAvgPool1d": (nn.AdaptiveAvgPool1d(5), ROWS),
    "AdaptiveAvgPool1d, 1": (nn.AdaptiveAvgPool1d(1), ROWS),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((3, 4)), IMAGE),
    "AdaptiveAvgPool3d": (nn.AdaptiveAvgPool3d(1), VOLUME),
    "AdaptiveAvgPool3d, halves": (nn.AdaptiveAvgPool3d((1, 2, 3)), VOLUME),
    "AdaptiveMaxPool1d": (nn.AdaptiveMaxPool1d(5), ROWS),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d((3, 4)), IMAGE),
    "AdaptiveMaxPool3d": (nn.AdaptiveMaxPool3d((1, 2, 3)), VOLUME),
    # Pads.
    "ConstantPad1d": (nn.ConstantPad1d(2, 1.5), ROWS),
    "ConstantPad2d": (nn.ConstantPad2d((1, 2, 0, 1), 1.5), IMAGE),
    "ConstantPad3d": (nn.ConstantPad3d(1, 0.5), VOLUME),
    "ZeroPad1d": (nn.ZeroPad1d(1), ROWS),
    "ZeroPad2d": (nn.ZeroPad2d(1), IMAGE),
    "ZeroPad3d": (nn.ZeroPad3d(1), VOLUME),
    **{
        f"{kind}Pad{n}d": (getattr(nn, f"{kind}Pad{n}d")(1), shape)
        for kind in ("Reflection", "Replication", "Circular")
        for n, shape in ((1, ROWS), (2, IMAGE), (3, VOLUME))
    },
    # Norms.
    "BatchNorm1d": (nn.BatchNorm1d(8), ROWS),
    "BatchNorm1d of a matrix": (nn.BatchNorm1d(8), MATRIX),
    "BatchNorm2d": (nn.BatchNorm2d(8), IMAGE),
    "BatchNorm3d": (nn.BatchNorm3d(4), VOLUME),
    "GroupNorm": (nn.GroupNorm(4, 8), IMAGE),
    "InstanceNorm1d": (nn.InstanceNorm1d(8), ROWS),
    "InstanceNorm2d": (nn.InstanceNorm2d(8, affine=True), IMAGE),
    "InstanceNorm3d": (nn.InstanceNorm3d(4), VOLUME),
    "LayerNorm": (nn.LayerNorm(16), TOKENS),
    "LayerNorm of images": (nn.LayerNorm((8, 6, 10)), IMAGE),
    "RMSNorm": (nn.RMSNorm(16), TOKENS),
    "LocalResponseNorm": (nn.LocalResponseNorm(3), IMAGE),
    "LocalResponseNorm of rows": (nn.LocalResponseNorm(4), ROWS),
    # Products.
    "Linear": (nn.Linear(8, 5), MATRIX),
    "Linear of tokens": (nn.Linear(16, 5), TOKENS),
    "Bilinear": (Pair(nn.Bilinear(8, 8, 5)), MATRIX),
    "MultiheadAttention": (First(nn.MultiheadAttention(16, 4, batch_first=True), 3), TOKENS),
    "MultiheadAttention without weights": (
        First(nn.MultiheadAttention(16, 4, batch_first=True), 3, need_weights=False),
        TOKENS,
    ),
    "MultiheadAttention, time first": (First(nn.MultiheadAttention(16, 2), 3), TOKENS),
    "MultiheadAttention, bias_kv": (
        First(nn.MultiheadAttention(16, 2, add_bias_kv=True, add_zero_attn=True), 3),
        TOKENS,
    ),
    "TransformerEncoderLayer": (
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
        TOKENS,
    ),
    "TransformerEncoder": (
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(
                16, 4, 32, activation="gelu", batch_first=True, norm_first=True
            ),
            2,
            enable_nested_tensor=False,
        ),
        TOKENS,
    ),
    "TransformerDecoderLayer": (Pair(nn.TransformerDecoderLayer(16, 4, 32)), TOKENS),
    "Transformer": (Pair(nn.Transformer(16, 4, 1, 1, 32, batch_first=True)), TOKENS),
    # Recurrences.
    "RNN": (First(nn.RNN(16, 6, batch_first=True)), TOKENS),
    "LSTM": (First(nn.LSTM(16, 6, batch_first=True)), TOKENS),
    "LSTM, both ways": (First(nn.LSTM(16, 6, 2, bidirectional=True)), TOKENS),
    "LSTM, projected": (First(nn.LSTM(16, 6, proj_size=3)), TOKENS),
    "GRU": (First(nn.GRU(16, 6, batch_first=True)), TOKENS),
    "GRU, both ways": (First(nn.GRU(16, 6, 2, bidirectional=True)), TOKENS),
    "RNNCell": (nn.RNNCell(8, 6), MATRIX),
    "LSTMCell": (First(nn.LSTMCell(8, 6)), MATRIX),
    "GRUCell": (nn.GRUCell(8, 6), MATRIX),
    # Dropouts do nothing.
    "Dropout": (nn.Dropout(), IMAGE),
    "Dropout1d": (nn.Dropout1d(), ROWS),
    "Dropout2d": (nn.Dropout2d(), IMAGE),
    "Dropout3d": (nn.Dropout3d(), VOLUME),
    "AlphaDropout": (nn.AlphaDropout(), IMAGE),
    "FeatureAlphaDropout": (nn.FeatureAlphaDropout(), IMAGE),
    # Shapes.
    "Flatten": (nn.Flatten(), IMAGE),
    "Unflatten": (nn.Unflatten(1, (2, 4)), IMAGE),
    "PixelShuffle": (nn.PixelShuffle(2), IMAGE),
    "PixelUnshuffle": (nn.PixelUnshuffle(2), IMAGE),
    "ChannelShuffle": (nn.ChannelShuffle(4), IMAGE),
    "Upsample, nearest": (nn.Upsample(scale_factor=2), IMAGE),
    "Upsample, nearest, rows": (nn.Upsample(scale_factor=2), ROWS),
    "Upsample, nearest, volume": (nn.Upsample(scale_factor=2), VOLUME),
    "Upsample, nearest-exact": (nn.Upsample((9, 7), mode="nearest-exact"), IMAGE),
    "Upsample, linear": (nn.Upsample(scale_factor=2, mode="linear"), ROWS),
    "Upsample, linear, aligned": (
        nn.Upsample(size=30, mode="linear", align_corners=True),
        ROWS,
    ),
    "Upsample, bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "Upsample, bilinear, aligned": (
        nn.Upsample((9, 7), mode="bilinear", align_corners=True),
        IMAGE,
    ),
    "Upsample, bicubic": (nn.Upsample(scale_factor=2, mode="bicubic"), IMAGE),
    "Upsample, bicubic, aligned": (
        nn.Upsample((9, 7), mode="bicubic", align_corners=True),
        IMAGE,
    ),
    "Upsample, trilinear": (nn.Upsample(scale_factor=2, mode="trilinear"), VOLUME),
    "UpsamplingNearest2d": (nn.UpsamplingNearest2d(scale_factor=2), IMAGE),
    "UpsamplingBilinear2d": (nn.UpsamplingBilinear2d(scale_factor=2), IMAGE),
    # Distances.
    "CosineSimilarity": (Pair(nn.CosineSimilarity()), IMAGE),
    "PairwiseDistance": (Pair(nn.PairwiseDistance()), MATRIX),
    # Losses are computed in networks too.
    "MSELoss": (Pair(nn.MSELoss()), MATRIX),
    "L1Loss": (Pair(nn.L1Loss(reduction="none")), MATRIX),
    "SmoothL1Loss": (Pair(nn.SmoothL1Loss(reduction="none")), MATRIX),
}
