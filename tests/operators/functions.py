"""The usual functions of tensors, with the shape of what they are applied to."""

import math

import torch
import torch.nn.functional as F

from tests.operators.modules import IMAGE, MATRIX, ROWS, TOKENS

WEIGHT = torch.linspace(-1, 1, 16 * 5).reshape(16, 5)
INDEX = torch.tensor([3, 0, 2])
LEVELS = torch.linspace(-2, 2, 5)
KERNEL = torch.linspace(-1, 1, 8 * 8 * 9).reshape(8, 8, 3, 3)
GRID = torch.linspace(-1.4, 1.4, 2 * 4 * 5 * 2).reshape(2, 4, 5, 2).sin()


def attention(x, **given):
    heads = x.unflatten(-1, (4, 4)).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads.tanh(), heads.sigmoid(), **given)


def _sampled(mode, pad, aligned):
    given = {"mode": mode, "padding_mode": pad, "align_corners": aligned}
    return lambda x: F.grid_sample(x, GRID * 1.3, **given)


#: Name -> (function, shape of its input).
FUNCTIONS = {
    # Products.
    "einsum bij,jk": (lambda x: torch.einsum("bij,jk->bik", x, WEIGHT), TOKENS),
    "einsum bij,bkj": (lambda x: torch.einsum("bij,bkj->bik", x, x.tanh()), TOKENS),
    "einsum bhqd,bhkd": (
        lambda x: torch.einsum(
            "bqhd,bkhd->bhqk", x.unflatten(-1, (4, 4)), x.sigmoid().unflatten(-1, (4, 4))
        ),
        TOKENS,
    ),
    "einsum nchw,kc": (lambda x: torch.einsum("nchw,kc->nkhw", x, WEIGHT[:8, :].T), IMAGE),
    "einsum i,j": (lambda x: torch.einsum("bi,bj->bij", x, x), MATRIX),
    "einsum trace": (lambda x: torch.einsum("bij->bi", x), TOKENS),
    "einsum of three": (lambda x: torch.einsum("bi,bj,bk->ijk", x, x, x), MATRIX),
    "tensordot": (lambda x: torch.tensordot(x, WEIGHT, dims=1), TOKENS),
    "outer": (lambda x: torch.outer(x[0], x[1]), MATRIX),
    "inner": (lambda x: torch.inner(x, x), MATRIX),
    "dot": (lambda x: torch.dot(x[0], x[1]), MATRIX),
    "vdot": (lambda x: torch.vdot(x[0], x[1]), MATRIX),
    "mv": (lambda x: torch.mv(x, x[0]), MATRIX),
    "kron": (lambda x: torch.kron(x, x), (2, 3)),
    "cross": (lambda x: torch.linalg.cross(x, x.roll(1, 0)), (4, 3)),
    "addmm": (lambda x: torch.addmm(x, x, x, beta=0.5, alpha=2.0), (4, 4)),
    "addmv": (lambda x: torch.addmv(x[0], x, x[1]), (4, 4)),
    "addr": (lambda x: torch.addr(x, x[0], x[1]), (4, 4)),
    "baddbmm": (lambda x: torch.baddbmm(x, x, x, beta=2.0), (2, 4, 4)),
    "addbmm": (lambda x: torch.addbmm(x[0], x, x), (2, 4, 4)),
    "chain_matmul": (lambda x: torch.linalg.multi_dot([x, x, x]), (4, 4)),
    "matrix_power": (lambda x: torch.linalg.matrix_power(x, 3), (4, 4)),
    "cdist": (lambda x: torch.cdist(x, x.tanh()), TOKENS),
    "attention": (attention, TOKENS),
    "attention, causal": (lambda x: attention(x, is_causal=True), TOKENS),
    "attention, masked": (lambda x: attention(x, attn_mask=torch.eye(5) > 0), TOKENS),
    "attention, biased": (lambda x: attention(x, attn_mask=WEIGHT[:5]), TOKENS),
    "attention, scaled": (lambda x: attention(x, scale=0.3), TOKENS),
    "cosine_similarity": (lambda x: F.cosine_similarity(x, x.tanh(), dim=-1), TOKENS),
    # Arithmetic.
    "addcmul": (lambda x: torch.addcmul(x, x.tanh(), x.sigmoid(), value=0.5), TOKENS),
    "addcdiv": (lambda x: torch.addcdiv(x, x.tanh(), x.sigmoid() + 2, value=0.5), TOKENS),
    "lerp": (lambda x: torch.lerp(x, x.tanh(), 0.3), TOKENS),
    "lerp by a tensor": (lambda x: torch.lerp(x, x.tanh(), x.sigmoid()), TOKENS),
    "sub of a scalar": (lambda x: torch.sub(x, 2.0, alpha=3.0), TOKENS),
    "rsub": (lambda x: 1.0 - x, TOKENS),
    "true_divide": (lambda x: torch.true_divide(x, 3), TOKENS),
    "floor_divide": (lambda x: x // 0.3, TOKENS),
    "remainder": (lambda x: x % 0.7, TOKENS),
    "fmod": (lambda x: torch.fmod(x, 0.7), TOKENS),
    "frac": (torch.frac, TOKENS),
    "float_power": (lambda x: torch.pow(x.abs() + 0.1, 1.7), TOKENS),
    "pow of tensors": (lambda x: torch.pow(x.abs() + 0.1, x), TOKENS),
    "pow of a number": (lambda x: torch.pow(2.0, x), TOKENS),
    "cube": (lambda x: x**3, TOKENS),
    "negative power": (lambda x: (x.abs() + 1) ** -1.5, TOKENS),
    "hypot": (lambda x: torch.hypot(x, x.sigmoid()), TOKENS),
    "copysign": (lambda x: torch.copysign(x, x.tanh()), TOKENS),
    "maximum": (lambda x: torch.maximum(x, x.tanh()), TOKENS),
    "fmax": (lambda x: torch.fmax(x, x.tanh()), TOKENS),
    "fmin": (lambda x: torch.fmin(x, x.tanh()), TOKENS),
    "clamp by tensors": (lambda x: torch.clamp(x, -x.abs() / 2, x.abs() / 3), TOKENS),
    "clip": (lambda x: torch.clip(x, -0.3, 0.4), TOKENS),
    "nan_to_num": (torch.nan_to_num, TOKENS),
    # Functions of one value.
    **{
        name: (getattr(torch, name), TOKENS)
        for name in (
            *(
                "sin",
                "cos",
                "tan",
                "atan",
                "sinc",
                "sinh",
                "cosh",
                "tanh",
                "asinh",
                "exp",
                "exp2",
                "expm1",
            ),
            *("erf", "erfc", "sigmoid", "square", "abs", "neg", "positive", "round", "floor"),
            *("ceil", "trunc", "fix", "sgn", "sign", "relu", "selu", "deg2rad", "rad2deg"),
        )
    },
    "atanh": (lambda x: torch.atanh(x / 5), TOKENS),
    "acosh": (lambda x: torch.acosh(x.abs() + 1.0001), TOKENS),
    "asin": (lambda x: torch.asin(x / 5), TOKENS),
    "acos": (lambda x: torch.acos(x / 5), TOKENS),
    "erfinv": (lambda x: torch.erfinv(x / 5), TOKENS),
    "atan2": (lambda x: torch.atan2(x, x.tanh() - 0.3), TOKENS),
    "atan2 on axes": (lambda x: torch.atan2(x.relu(), (-x).relu()), TOKENS),
    "log": (lambda x: torch.log(x.abs() + 0.1), TOKENS),
    "log2": (lambda x: torch.log2(x.abs() + 0.1), TOKENS),
    "log10": (lambda x: torch.log10(x.abs() + 0.1), TOKENS),
    "log1p": (lambda x: torch.log1p(x.abs()), TOKENS),
    "logit": (lambda x: torch.logit(x.sigmoid(), eps=1e-4), TOKENS),
    "sqrt": (lambda x: torch.sqrt(x.abs()), TOKENS),
    "rsqrt": (lambda x: torch.rsqrt(x.abs() + 0.1), TOKENS),
    "reciprocal": (lambda x: torch.reciprocal(x.abs() + 1), TOKENS),
    "xlogy": (lambda x: torch.xlogy(x, x.abs() + 0.1), TOKENS),
    "logaddexp": (lambda x: torch.logaddexp(x, x.tanh()), TOKENS),
    "heaviside": (lambda x: torch.heaviside(x, torch.tensor(0.5)), TOKENS),
    "hardshrink": (F.hardshrink, TOKENS),
    "softshrink": (F.softshrink, TOKENS),
    "threshold": (lambda x: F.threshold(x, 0.1, 20.0), TOKENS),
    "logsigmoid": (F.logsigmoid, TOKENS),
    "softmin": (lambda x: F.softmin(x, -1), TOKENS),
    "softsign": (F.softsign, TOKENS),
    "tanhshrink": (F.tanhshrink, TOKENS),
    "glu": (lambda x: F.glu(x, -1), TOKENS),
    "normalize": (lambda x: F.normalize(x, dim=-1), TOKENS),
    "rms_norm": (lambda x: F.rms_norm(x, (16,)), TOKENS),
    "local_response_norm": (lambda x: F.local_response_norm(x, 2), IMAGE),
    # Reductions.
    "sum": (lambda x: x.sum(), TOKENS),
    "sum of some": (lambda x: x.sum((0, -1), keepdim=True), TOKENS),
    "nansum": (lambda x: torch.nansum(x, -1), TOKENS),
    "mean of all": (lambda x: x.mean(), TOKENS),
    "prod": (lambda x: x.prod(-1), TOKENS),
    "amax": (lambda x: x.amax((1, 2)), TOKENS),
    "aminmax": (lambda x: torch.cat(torch.aminmax(x, dim=-1)), TOKENS),
    "max of a dim": (lambda x: x.max(-1).values, TOKENS),
    "min of all": (lambda x: x.min(), TOKENS),
    "logsumexp": (lambda x: torch.logsumexp(x, -1), TOKENS),
    "var": (lambda x: x.var(-1), TOKENS),
    "std": (lambda x: x.std((1, 2), correction=0), TOKENS),
    "var_mean": (lambda x: torch.cat(torch.var_mean(x, -1)), TOKENS),
    "std_mean": (lambda x: torch.cat(torch.std_mean(x, -1)), TOKENS),
    "norm": (lambda x: torch.norm(x), TOKENS),
    "norm of 1": (lambda x: torch.norm(x, 1, dim=-1), TOKENS),
    "norm of 3": (lambda x: torch.norm(x, 3, dim=-1), TOKENS),
    "norm of infinity": (lambda x: torch.linalg.vector_norm(x, math.inf, dim=-1), TOKENS),
    "norm of -infinity": (lambda x: torch.linalg.vector_norm(x, -math.inf, dim=-1), TOKENS),
    "norm of 0": (lambda x: torch.linalg.vector_norm(x.relu(), 0, dim=-1), TOKENS),
    "matrix norm": (lambda x: torch.linalg.matrix_norm(x), TOKENS),
    "any": (lambda x: torch.where((x > 1).any(-1, keepdim=True), x, -x), TOKENS),
    "all": (lambda x: torch.where((x > -1).all(-1, keepdim=True), x, -x), TOKENS),
    "count_nonzero": (lambda x: x * torch.count_nonzero(x > 0, -1)[..., None], TOKENS),
    "cumsum": (lambda x: x.cumsum(1), TOKENS),
    "cumprod": (lambda x: x.cumprod(1), TOKENS),
    "cummax": (lambda x: x.round().cummax(1).values, TOKENS),
    "cummin": (lambda x: x.cummin(-1).values, TOKENS),
    "cummax, where": (lambda x: x.round().cummax(1).indices.float(), TOKENS),
    "logcumsumexp": (lambda x: x.logcumsumexp(1), TOKENS),
    "searchsorted": (lambda x: torch.searchsorted(LEVELS, x.round()).float(), TOKENS),
    "searchsorted, rows": (lambda x: torch.searchsorted(x.cummax(-1).values, x).float(), MATRIX),
    "bucketize": (lambda x: torch.bucketize(x.round(), LEVELS, right=True).float(), TOKENS),
    "sort": (lambda x: x.sort(1).values, TOKENS),
    "sort, equal": (lambda x: x.round().sort(stable=True, dim=-1, descending=True)[0], TOKENS),
    "argsort": (lambda x: x.round().argsort(stable=True, dim=1).float(), TOKENS),
    "argsort, largest first": (lambda x: x.argsort(-1, descending=True).float(), TOKENS),
    "msort": (torch.msort, TOKENS),
    "kthvalue": (lambda x: x.kthvalue(3, 1).values, TOKENS),
    "median": (lambda x: x - x.median(-1, keepdim=True).values, TOKENS),
    "median of all": (lambda x: x - x.median(), MATRIX),
    "quantile": (lambda x: torch.quantile(x, 0.3, -1, keepdim=True), TOKENS),
    "quantile of all": (lambda x: torch.quantile(x, 0.5, interpolation="midpoint"), MATRIX),
    "quantile, an element": (lambda x: torch.quantile(x, 0.6, 1, interpolation="lower"), TOKENS),
    "quantile, a place as float32 has it": (
        lambda x: torch.quantile(x.expand(101, 5, 16), 0.29, 0, interpolation="lower"),
        (1, 5, 16),
    ),
    "topk of many": (lambda x: x.flatten(1).topk(20, 1).values, TOKENS),
    "topk of many, smallest": (lambda x: x.flatten().topk(17, largest=False).indices, TOKENS),
    "diff": (lambda x: torch.diff(x, dim=-1), TOKENS),
    "trace": (torch.trace, MATRIX),
    # Moves.
    "tril": (torch.tril, TOKENS),
    "triu": (lambda x: torch.triu(x, 1), TOKENS),
    "roll": (lambda x: x.roll((1, -2), (1, 2)), TOKENS),
    "flip": (lambda x: x.flip((1, -1)), TOKENS),
    "fliplr": (torch.fliplr, TOKENS),
    "flipud": (torch.flipud, TOKENS),
    "rot90": (lambda x: torch.rot90(x, 1, (1, 2)), TOKENS),
    "repeat_interleave": (lambda x: x.repeat_interleave(3, 1), TOKENS),
    "repeat": (lambda x: x.repeat(1, 2, 3), TOKENS),
    "tile": (lambda x: torch.tile(x, (2, 1)), TOKENS),
    "index_select": (lambda x: x.index_select(1, INDEX), TOKENS),
    "index": (lambda x: x[:, INDEX], TOKENS),
    "index, negative": (lambda x: x[..., [-1, -2]], TOKENS),
    "index of two": (lambda x: x[:, INDEX, INDEX], TOKENS),
    "index of two, broadcast": (lambda x: x[:, INDEX[:, None], INDEX], TOKENS),
    "index, apart": (lambda x: x[[0, 1], :, [2, 3]], TOKENS),
    "gather": (lambda x: x.gather(1, INDEX.repeat(2, 16, 1).transpose(1, 2)), TOKENS),
    "take_along_dim": (lambda x: torch.take_along_dim(x, INDEX[None, :, None], 1), TOKENS),
    "take": (lambda x: torch.take(x, INDEX), TOKENS),
    "gather, computed": (lambda x: x.gather(1, x.argmax(1, keepdim=True)), TOKENS),
    "take_along_dim, computed": (
        lambda x: torch.take_along_dim(x, x.argmin(-1, keepdim=True), -1),
        TOKENS,
    ),
    "index, computed": (lambda x: x[:, x[0].argmax(0)], TOKENS),
    "index of two, computed": (lambda x: x[:, x[0].argmax(0), x[1].argmax(0)], TOKENS),
    "index, computed, apart": (lambda x: x[x[:, 0, 0].long() * 0 - 1, :, [2, 3]], TOKENS),
    "index_select, computed": (lambda x: x.index_select(1, x[0].argmax(0)), TOKENS),
    "embedding_bag": (lambda x: F.embedding_bag(torch.arange(6).reshape(2, 3) % 3, x), MATRIX),
    "embedding_bag, max": (
        lambda x: F.embedding_bag(torch.arange(3), x, torch.tensor([0, 2]), mode="max"),
        MATRIX,
    ),
    "embedding_bag, weighted sum": (
        lambda x: F.embedding_bag(
            x.argmax(1) % 3, x, torch.tensor([0, 1]), mode="sum", per_sample_weights=x[:, 0]
        ),
        MATRIX,
    ),
    "mask": (lambda x: x[..., torch.arange(16) % 3 == 0] * 2, TOKENS),
    "mask of two": (lambda x: x[:, WEIGHT[5:10] > 0], (2, 5, 5)),
    "masked_select": (lambda x: x.masked_select(torch.arange(16) % 3 == 0), TOKENS),
    "nonzero of a constant": (lambda x: x[..., (WEIGHT[:, 0] > 0).nonzero()[:, 0]], TOKENS),
    "narrow": (lambda x: x.narrow(1, 1, 3), TOKENS),
    "movedim": (lambda x: x.movedim(1, 2), TOKENS),
    "swapaxes": (lambda x: x.swapaxes(1, 2), TOKENS),
    "adjoint": (lambda x: x.mT, TOKENS),
    "unfold": (lambda x: x.unfold(1, 3, 2), TOKENS),
    "as image": (lambda x: F.unfold(x, 3), IMAGE),
    "diagonal": (lambda x: torch.diagonal(x, 1, 1, 2), TOKENS),
    "diag": (torch.diag, (4,)),
    "diag_embed": (torch.diag_embed, MATRIX),
    "block_diag": (lambda x: torch.block_diag(x, x), MATRIX),
    "vstack": (lambda x: torch.vstack((x, x)), TOKENS),
    "hstack": (lambda x: torch.hstack((x, x)), TOKENS),
    "dstack": (lambda x: torch.dstack((x, x)), TOKENS),
    "column_stack": (lambda x: torch.column_stack((x, x)), MATRIX),
    "cat with a constant": (lambda x: torch.cat((WEIGHT.T[None].expand(2, 5, 16), x), 1), TOKENS),
    "tensor_split": (lambda x: torch.tensor_split(x, 3, 2)[1], TOKENS),
    "hsplit": (lambda x: torch.hsplit(x, 5)[2], TOKENS),
    "unbind": (lambda x: x.unbind(1)[2], TOKENS),
    "unflatten": (lambda x: x.unflatten(2, (4, 4)), TOKENS),
    "ravel": (torch.ravel, TOKENS),
    "squeeze": (lambda x: x[:, :1].squeeze(1), TOKENS),
    "atleast_3d": (torch.atleast_3d, MATRIX),
    "expand_as": (lambda x: x[:, :1].expand_as(x), TOKENS),
    "meshgrid": (lambda x: torch.meshgrid(x[0], x[1], indexing="ij")[0], MATRIX),
    "cartesian_prod": (lambda x: torch.cartesian_prod(x[0], x[1]), MATRIX),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 2), IMAGE),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), IMAGE),
    "pad of tokens": (lambda x: F.pad(x, (0, 0, 1, 2), value=3.0), TOKENS),
    "masked_fill": (lambda x: x.masked_fill(x > 0, -1.0), TOKENS),
    "where": (lambda x: torch.where(x > 0, x, 0.25), TOKENS),
    "index_fill": (lambda x: x.index_fill(1, INDEX, 0.5), TOKENS),
    "index_add": (lambda x: x.index_add(1, INDEX, x[:, :3]), TOKENS),
    "index_copy": (lambda x: x.index_copy(1, INDEX, x[:, :3] * 2), TOKENS),
    "select_scatter": (lambda x: torch.select_scatter(x, x[:, 0] * 2, 1, 2), TOKENS),
    "slice_scatter": (lambda x: torch.slice_scatter(x, x[:, :2] * 2, 1, 1, 3), TOKENS),
    "slice assignment": (lambda x: _assigned(x), TOKENS),
    "scatter": (lambda x: x.scatter(1, INDEX.repeat(2, 16, 1).transpose(1, 2), 9.0), TOKENS),
    "scatter_add": (
        lambda x: x.scatter_add(1, INDEX.repeat(2, 16, 1).transpose(1, 2), x[:, :3]),
        TOKENS,
    ),
    "zeros_like": (lambda x: x + torch.zeros_like(x) + torch.full_like(x, 2.0), TOKENS),
    "arange": (lambda x: x * torch.arange(16), TOKENS),
    "linspace": (lambda x: x * torch.linspace(0, 1, 16), TOKENS),
    "one_hot": (lambda x: x @ F.one_hot(torch.arange(16) % 4, 4).float(), TOKENS),
    # Comparisons and truth values.
    "isclose": (lambda x: torch.isclose(x, x.tanh()).float(), TOKENS),
    "isnan": (lambda x: torch.isnan(x).float(), TOKENS),
    "isinf": (lambda x: torch.isinf(x).float(), TOKENS),
    "isfinite": (lambda x: torch.isfinite(x).float(), TOKENS),
    "signbit": (lambda x: torch.signbit(x).float(), TOKENS),
    "logical_xor": (lambda x: ((x > 0) ^ (x > 1)).float(), TOKENS),
    "low bits": (lambda x: ((x * 9).round().int() & 7).float(), TOKENS),
    "logical_not": (lambda x: torch.logical_not(x > 0).float(), TOKENS),
    # Pools.
    "adaptive_avg_pool1d": (lambda x: F.adaptive_avg_pool1d(x, 5), ROWS),
    "avg_pool of 3": (lambda x: F.avg_pool2d(x, 3, 1, 1, divisor_override=4), IMAGE),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"), IMAGE),
    "interpolate, area": (lambda x: F.interpolate(x, (3, 5), mode="area"), IMAGE),
    **{
        f"grid_sample, {mode}, {pad}, {aligned}": (_sampled(mode, pad, aligned), IMAGE)
        for mode, pad, aligned in (
            ("bilinear", "zeros", False),
            ("bilinear", "border", True),
            ("bilinear", "reflection", False),
            ("bilinear", "reflection", True),
            ("nearest", "zeros", True),
            ("nearest", "border", False),
        )
    },
    "grid_sample, computed": (
        lambda x: F.grid_sample(x, x[:, :2, :4, :5].permute(0, 2, 3, 1), align_corners=False),
        IMAGE,
    ),
    "grid_sample, computed, reflected": (
        lambda x: F.grid_sample(
            x,
            x[:, :2, :4, :5].permute(0, 2, 3, 1),
            padding_mode="reflection",
            align_corners=False,
        ),
        IMAGE,
    ),
    "convolution": (
        lambda x: torch.ops.aten.convolution(
            x, KERNEL, None, [2, 1], [1, 1], [1, 1], False, [0, 0], 1
        ),
        IMAGE,
    ),
    "convolution, transposed": (
        lambda x: torch.ops.aten.convolution(
            x, KERNEL, KERNEL[0, :, 0, 0], [2, 2], [1, 1], [1, 1], True, [1, 1], 1
        ),
        IMAGE,
    ),
    **{
        f"{name} of one image": (function, (3, 6, 8))
        for name, function in {
            "max_pool2d": lambda x: F.max_pool2d(x, 2),
            "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 2, 1),
            "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
            "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, (2, 3)),
            "lp_pool2d": lambda x: F.lp_pool2d(x, 2, 2),
            "conv2d": lambda x: F.conv2d(x, KERNEL[:, :3]),
            "conv_transpose2d": lambda x: F.conv_transpose2d(x, KERNEL[:3], stride=2),
        }.items()
    },
    "max_pool1d of one row": (lambda x: F.max_pool1d(x, 2), MATRIX),
    "adaptive_avg_pool1d of one row": (lambda x: F.adaptive_avg_pool1d(x, 3), MATRIX),
    "conv1d of one row": (lambda x: F.conv1d(x, KERNEL[:, :3, 0]), MATRIX),
    "affine_grid": (
        lambda x: F.affine_grid(x[:, :6].reshape(3, 2, 3), (3, 1, 4, 5), align_corners=False),
        MATRIX,
    ),
}


def _assigned(x):
    y = x.clone()
    y[:, 1:3] = 0.5
    y[:, :, 2] += 1
    return y
