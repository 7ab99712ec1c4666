"""Why some of the spellings cannot be compiled yet; who mends one takes its line out."""

NOT_YET: dict[str, str] = {
    "zero or a learnt distance": "round",
    "bits pooled, shuffled, cut and joined": "signs that are shuffled run in float",
}
