"""Functions of one value that are constant, or that value, between some of its values."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.fx import Node

#: Functions with more edges than this are no signs.
MOST_EDGES = 8


@dataclass(frozen=True)
class Steps:
    """An element as a function of the element of ``source`` at the same place.

    ``edges`` ascend. ``values`` are those below the first edge, at it, between it and the second,
    and so on; None is the source itself. All broadcast to the source, with as many dimensions.
    """

    source: Node
    edges: tuple[Tensor, ...]
    values: tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Piece:
    """An open interval of the source, or (``at``) one of its values."""

    low: Tensor
    high: Tensor
    at: Tensor | None = None


#: A part of a function: edges inside its piece, and values around them.
Part = tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]


def within(steps: Steps, piece: Piece) -> Tensor | None:
    """The value of ``steps`` in a piece that lies between its edges, or at one of them."""
    index = 0
    for i, edge in enumerate(steps.edges):
        if piece.at is not None and bool((piece.at == edge).all()):
            index = 2 * i + 1
        elif bool((piece.low >= edge).all()):
            index = 2 * i + 2
    value = steps.values[index]
    return piece.at if value is None else value


def like(value: Tensor | None, wanted: Tensor) -> Tensor | None:
    """``value`` in the dtype and with the dimensions of ``wanted``; None where it would round."""
    if value is None or value.dim() > wanted.dim() or value.is_complex():
        return None
    cast = value.to(wanted.dtype)
    return cast.reshape((1,) * (wanted.dim() - value.dim()) + tuple(value.shape))


def placed(edge: Tensor, values: Sequence[Tensor | None], piece: Piece) -> Part | None:
    """The part of a step at ``edge`` that lies in the piece; None if that differs by channel."""
    if bool(((edge > piece.low) & (edge < piece.high)).all()):
        return (edge,), tuple(values)
    if bool((edge <= piece.low).all()):
        return (), (values[2],)
    if bool((edge >= piece.high).all()):
        return (), (values[0],)
    return None


def merged(lists: Sequence[tuple[Tensor, ...]]) -> list[Tensor] | None:
    """All edges in one order; None if channels order them differently, or there are too many."""
    found: list[Tensor] = []
    for edge in (e for edges in lists for e in edges):
        at = 0
        for other in found:
            if bool((edge == other).all()):
                break
            if bool((edge > other).all()):
                at += 1
            elif not bool((edge < other).all()):
                return None
        else:
            found.insert(at, edge)
    return found if len(found) <= MOST_EDGES else None


def compact(steps: Steps) -> Steps:
    """Without edges at which nothing changes."""
    edges: list[Tensor] = []
    values: list[Tensor | None] = [steps.values[0]]
    for i, edge in enumerate(steps.edges):
        at, after = steps.values[2 * i + 1 : 2 * i + 3]
        same = values[-1] is None and after is None and (at is None or bool((at == edge).all()))
        if not same and values[-1] is not None and at is not None and after is not None:
            same = bool((values[-1] == at).all()) and bool((at == after).all())
        if not same:
            edges.append(edge)
            values += [at, after]
    return Steps(steps.source, tuple(edges), tuple(values))
