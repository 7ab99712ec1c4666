"""Losses by which a binary network learns from a real-valued one."""

import torch.nn.functional as F
from torch import Tensor

from bnn_compiler.errors import TrainingError


def distribution_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The distributional loss of ReActNet (Liu et al., ECCV 2020, equation 10).

    -1/n sum over images and classes of p(teacher) log p(student): the labels are not used. Both
    are logits [N, classes]. No gradient reaches the teacher. Raises TrainingError for other shapes.
    """
    _check(student, teacher)
    wanted = F.softmax(teacher.detach(), 1)
    return -(wanted * F.log_softmax(student, 1)).sum(1).mean()


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    weight: float = 0.9,
) -> Tensor:
    """Knowledge distillation (Hinton et al., 2015).

    weight * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - weight) * cross-entropy.
    Logits [N, classes], labels [N]; T^2 keeps the soft gradients' size whatever the temperature.
    Raises TrainingError for other shapes, a temperature of 0 or less, a weight outside [0, 1].
    """
    _check(student, teacher)
    if temperature <= 0 or not 0 <= weight <= 1:
        raise TrainingError(
            f"temperature {temperature} and weight {weight}; they are above 0 and in [0, 1]"
        )
    soft = F.kl_div(
        F.log_softmax(student / temperature, 1),
        F.log_softmax(teacher.detach() / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    return weight * temperature**2 * soft + (1 - weight) * F.cross_entropy(student, labels)


def _check(student: Tensor, teacher: Tensor) -> None:
    if student.dim() != 2 or student.shape != teacher.shape:
        raise TrainingError(
            f"logits of student {list(student.shape)} and teacher {list(teacher.shape)};"
            " both are [N, classes]"
        )
