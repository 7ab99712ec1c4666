"""Which layers that are not binary run on bytes: the most time saved for a flipped sign first.

A layer on bytes takes less time (cost/price.py) and makes an error, which turns signs behind it
around and, on some sample, the network's answer. Layers are taken in the order of what they save
for such a sign, until the share of samples whose largest class is another is used up.
"""

from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

from bnn_compiler.errors import InputError
from bnn_compiler.passes.quantize_rest import Range
from bnn_compiler.quantization.forms import Forms
from bnn_compiler.quantization.pace import Pace, Tell, silent

#: Samples of a hundred whose largest class may be another.
DEFAULT_TOLERANCE = 0.01
#: Signs that a layer turns around at least, so that none is a finite share.
_LEAST = 1e-6

FASTER, SLOWER, BEYOND = "int8 is faster", "int8 is not faster", "beyond the tolerance"


@dataclass(frozen=True)
class Layer:
    """A layer that is not binary, and what it runs as: ``kind`` "float32" or "int8", and ``why``; a
    layer that reads an image of bytes is "int16" where it is not int8.

    On bytes alone it saves ``saved`` seconds, turns the share ``flipped`` of the signs behind it
    around, and changes the largest class of the share ``changed`` of samples. With those that were
    taken before it the share is ``together``: None where it was not tried.
    """

    layer: str
    kind: str
    why: str
    saved: float
    flipped: float
    changed: float
    together: float | None = None


@dataclass(frozen=True)
class Choices:
    """What became of every layer that is not binary, in the order in which they were looked at.

    ``changed`` is the share of the ``samples`` whose largest class is another than in float;
    ``seconds`` are those of the network's kernels with these choices, ``float_seconds`` in float,
    priced by ``about``. ``notes`` are about binary layers.
    """

    tolerance: float
    samples: int
    changed: float
    seconds: float
    float_seconds: float
    about: str
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]
    ranges: tuple[Range, ...] = ()

    @property
    def in_float(self) -> tuple[str, ...]:
        """The layers that stay in float, of those that could run on bytes."""
        return tuple(one.layer for one in self.layers if one.kind != "int8")

    def lines(self) -> list[str]:
        """A table for people, and what it adds up to."""
        rows = [("layer", "runs as", "saves us", "signs flipped", "classes changed", "why")]
        rows += [
            (
                one.layer,
                one.kind,
                f"{1e6 * one.saved:.1f}",
                f"{one.flipped:.2%}",
                f"{one.changed:.1%}" + _together(one),
                one.why,
            )
            for one in self.layers
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        taken = sum(one.kind == "int8" for one in self.layers)
        return [
            *table,
            f"{taken} of {len(self.layers)} layers run as int8: {1e3 * self.seconds:.3f} ms of"
            f" kernels instead of {1e3 * self.float_seconds:.3f} by {self.about}; the top-1 class"
            f" of {self.changed:.1%} of {self.samples} samples changes, {self.tolerance:.1%} may",
            *self.notes,
        ]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, without the ranges."""
        found = asdict(self)
        del found["ranges"]
        return found


def choose(
    forms: Forms, tolerance: float, notes: tuple[str, ...] = (), tell: Tell = silent
) -> Choices:
    """Take layers while the largest class of at most ``tolerance`` of the samples is another.

    ``tell`` is told now and then how far that is. Raises InputError for a tolerance that is no
    share, and for a network without classes.
    """
    check_tolerance(tolerance)
    check_classes(forms)
    names = [r.layer for r in forms.calibration.ranges]
    base = forms.seconds(())
    saved = _saved(forms, names, tell)
    alone, batches = Pace(tell, _batches(forms)), _batches(forms)

    def seen(done: int) -> None:
        alone.at(done, f"{len(names)} layers alone, batch {done} of {batches} of the samples")

    effects = dict(zip(names, forms.effects([(n,) for n in names], seen=seen), strict=True))

    def rate(name: str) -> float:
        return saved[name] / max(effects[name].share, _LEAST)

    order = sorted(names, key=rate, reverse=True)
    faster = [n for n in order if saved[n] > 0]
    taken, together = _taken(forms, faster, tolerance, tell)
    wide = {call.name for call in forms.plan(()).calls if call.op == "byte_conv2d"}
    layers = tuple(
        Layer(
            n,
            "int8" if n in taken else "int16" if n in wide else "float32",
            FASTER if n in taken else SLOWER if saved[n] <= 0 else BEYOND,
            saved[n],
            effects[n].share,
            effects[n].changed,
            together.get(n),
        )
        for n in order
    )
    changed = [together[n] for n in faster if n in taken]
    return Choices(
        tolerance,
        sum(b.count for b in forms.calibration.batches),
        changed[-1] if changed else 0.0,
        forms.seconds(taken),
        base,
        forms.prices.about,
        layers,
        notes,
        forms.ranges(taken),
    )


def check_tolerance(tolerance: float) -> None:
    """Raise InputError for what is no share of samples."""
    if not isinstance(tolerance, Real) or not 0 <= tolerance <= 1:
        raise InputError(
            f"tolerance {tolerance!r}: give the share of samples whose class may change, 0 to 1"
        )


def check_classes(forms: Forms) -> None:
    """Raise InputError where the first output has no classes to compare."""
    outputs = forms.calibration.outputs
    if outputs[0].dtype.kind != "f" or outputs[0].ndim < 2 or outputs[0].shape[1] < 2:
        raise InputError(
            f"rest 'auto' compares classes, and this network's first output is"
            f" {outputs[0].dtype} {list(outputs[0].shape)}; use rest 'int8' and name the layers to"
            " leave in float (--float LAYER)"
        )


def _batches(forms: Forms) -> int:
    return len(forms.calibration.batches)


def _saved(forms: Forms, names: list[str], tell: Tell) -> dict[str, float]:
    """Seconds that each layer saves on bytes."""
    base, pace, saved = forms.seconds(()), Pace(tell, len(names)), {}
    for name in names:
        saved[name] = base - forms.seconds((name,))
        pace.at(len(saved), f"the times of {len(saved)} of {len(names)} layers")
    return saved


def _taken(
    forms: Forms, order: list[str], tolerance: float, tell: Tell
) -> tuple[tuple[str, ...], dict[str, float]]:
    """The layers that are taken, and the share of changed samples when each was tried."""
    if not order:
        return (), {}
    (all_,) = forms.effects([order], tolerance)
    if all_.changed <= tolerance:
        return tuple(order), dict.fromkeys(order, all_.changed)
    taken: tuple[str, ...] = ()
    together: dict[str, float] = {}
    batches = _batches(forms)
    pace = Pace(tell, len(order) * batches)
    for tried, name in enumerate(order):

        def seen(done: int, tried: int = tried) -> None:
            pace.at(tried * batches + done, f"{tried + 1} of {len(order)} layers tried together")

        (effect,) = forms.effects([(*taken, name)], tolerance, seen)
        together[name] = effect.changed
        if effect.changed <= tolerance:
            taken = (*taken, name)
    return taken, together


def _together(one: Layer) -> str:
    return "" if one.together is None else f" ({one.together:.1%} together)"
