"""Binary weights of latent ones."""

from torch import Tensor

from bnn_compiler.nn.sign import sign


def magnitude_aware_sign(weight: Tensor) -> Tensor:
    """scale * sign(W), where scale is the mean |W| of each output (dimension 0).

    The gradient is scale * 1[|W| <= 1], and none goes through the scale: Bi-Real Net's
    magnitude-aware gradient (Liu et al., ECCV 2018, section 3.3), which makes an update follow the
    magnitude of the weights so that it can change their signs. What is learned is sign(W); batch
    norm or the compiler absorbs the scale.
    """
    scale = weight.abs().mean(dim=tuple(range(1, weight.dim())), keepdim=True)
    return sign(weight) * scale.detach()
