"""Why some of the spellings cannot be compiled yet; who mends one takes its line out."""

NOT_YET: dict[str, str] = {
    "zero or a learnt distance": "round",
    "bits pooled, shuffled, cut and joined": "tensors of five dimensions",
    "halves by the same weights": "split",
    "centred per image": "mean over channels",
    "normalised per image by std": "mean over channels, std",
    "normalised per image by var": "mean over channels, var",
    "thermometer of the image": "tensors of five dimensions",
    "index of the largest": "argmax",
    "binary layer of tokens": "tensors of three dimensions",
    "attention between binary layers": "tensors of three dimensions, matmul, softmax, layer norm",
    "attention of computed signs": "tensors of three dimensions, matmul of computed signs",
}
