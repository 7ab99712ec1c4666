"""Integers rounded up."""


def ceil_div(value: int, by: int) -> int:
    """``value`` / ``by``, rounded up."""
    return -(-value // by)


def round_up(value: int, multiple: int) -> int:
    """The least multiple of ``multiple`` that is at least ``value``."""
    return ceil_div(value, multiple) * multiple
