"""Why some of the spellings cannot be compiled yet; who mends one takes its line out."""

NOT_YET: dict[str, str] = {}
