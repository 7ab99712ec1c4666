"""What ``verify`` found, and whether that is right."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class KernelCheck:
    """One kernel on the reference's inputs against the operator's meaning: bits that differ."""

    name: str
    op: str
    binary: bool
    elements: int
    mismatches: int


@dataclass(frozen=True)
class LayerCheck:
    """A float value, computed from PyTorch's own inputs, against PyTorch's.

    ``share`` is the largest difference as a part of what rounding explains; ``wrong`` counts
    elements beyond it. Of integers, and levels of a quantised network, ``decided`` counts those
    that differ where rounding decides.
    """

    name: str
    elements: int
    difference: float
    share: float
    wrong: int
    decided: int = 0


@dataclass(frozen=True)
class SignCheck:
    """Decisions of one sign against PyTorch's.

    ``differ`` counts those unlike PyTorch's, ``distance`` is how far from 0 the furthest of them
    is, ``rounding`` how far rounding explains, ``wrong`` counts those beyond. ``zeros`` are inputs
    that are exactly 0 where PyTorch's sign is 0: the layers behind show what became of them.
    """

    name: str
    elements: int
    differ: int
    distance: float
    rounding: float
    wrong: int
    zeros: int


@dataclass(frozen=True)
class Int8Check:
    """A result of a layer on bytes, from the framework's inputs: bits unlike those of its meaning.

    ``difference`` is the largest from the float network's value, ``error`` the root of the mean
    square of that by the root of the mean square of the value; both 0 for signs and bytes.
    """

    name: str
    elements: int
    mismatches: int
    difference: float
    error: float


@dataclass(frozen=True)
class HalfCheck:
    """A result of a layer in half precision, from the framework's inputs, against its values.

    ``difference`` is the largest, ``error`` the root of the mean square, relative to the values'.
    """

    name: str
    elements: int
    difference: float
    error: float


@dataclass(frozen=True)
class FlipCheck:
    """Decisions of a sign that the errors of all layers on bytes before it turn around.

    ``distance`` is how far from 0 the furthest of their inputs is in the float network, ``typical``
    the median over all inputs.
    """

    name: str
    elements: int
    flipped: int
    distance: float
    typical: float


@dataclass(frozen=True)
class OutputCheck:
    """One output: its largest difference from the module's, free-running and with PyTorch's signs.

    ``wrong`` counts elements that, with every sign decided as PyTorch does, differ by more than
    rounding explains. Integers are to be ``exact`` wherever rounding does not decide them;
    ``top1_agreement`` is the share of all that are equal.
    """

    name: str
    difference: float
    with_signs: float
    rounding: float
    wrong: int
    top1_agreement: float
    exact: bool = False


@dataclass(frozen=True)
class Report:
    """The result of ``verify`` over all samples.

    ``kernels`` is empty if bits were not compared with the operators' meaning. ``unchecked`` names
    signs of the network that no part of the artifact could be compared with. ``zeros_decided``
    counts signs of a sum that PyTorch rounded to 0. ``export_difference`` is how far the module is
    from the graph that was compiled, relative to its outputs, both in float64. ``int8`` and
    ``flips`` are of networks with layers on bytes, whose errors are no faults; ``half`` is of those
    in half precision, which rounding explains.
    """

    samples: int
    kernels: tuple[KernelCheck, ...]
    layers: tuple[LayerCheck, ...]
    signs: tuple[SignCheck, ...]
    outputs: tuple[OutputCheck, ...]
    unchecked: tuple[str, ...]
    zeros_decided: int
    export_difference: float
    int8: tuple[Int8Check, ...] = ()
    flips: tuple[FlipCheck, ...] = ()
    half: tuple[HalfCheck, ...] = ()

    @property
    def faults(self) -> list[str]:
        """What is wrong, a line each; empty if nothing is."""
        found = [
            f"{k.name} ({k.op}): {k.mismatches} of {k.elements} outputs lack the bits of its"
            " meaning"
            for k in self.kernels
            if k.mismatches
        ]
        found += [
            f"{q.name} (int8): {q.mismatches} of {q.elements} values lack the bits of its meaning"
            for q in self.int8
            if q.mismatches
        ]
        found += [
            f"{v.name}: {v.wrong} of {v.elements} values differ from PyTorch's, by up to"
            f" {v.difference:.2e}, {v.share:.3g} times what rounding explains"
            for v in self.layers
            if v.wrong
        ]
        found += [
            f"{s.name}: {s.wrong} of {s.elements} signs differ from PyTorch's, up to"
            f" {s.distance:.2e} from 0; rounding explains {s.rounding:.2e}"
            for s in self.signs
            if s.wrong
        ]
        found += [f"{name}: this sign could not be compared" for name in self.unchecked]
        if self.export_difference > _EXPORT:
            found.append(
                "the module does not compute what its export does: they differ by"
                f" {self.export_difference:.2e} of the outputs in float64"
            )
        explained = self.named > 0 or bool(self.int8)
        for o in self.outputs:
            if o.wrong:
                found.append(
                    f"{o.name}: with PyTorch's signs {o.wrong} values differ from PyTorch's, by up"
                    f" to {o.with_signs:.2e}; rounding explains {o.rounding:.2e}"
                )
            elif o.difference > o.rounding and not explained:
                found.append(f"{o.name}: a difference of {o.difference:.2e} that no sign explains")
        return found

    @property
    def named(self) -> int:
        """Signs and levels decided unlike PyTorch: what may move the outputs."""
        decided = sum(v.decided for v in self.layers)
        return sum(s.differ for s in self.signs) + self.zeros_decided + decided

    @property
    def ok(self) -> bool:
        """Whether every value is PyTorch's, or as near as rounding explains, and none unchecked."""
        return not self.faults

    @property
    def top1_agreement(self) -> float:
        """Share of samples (of pixels, for a dense output) whose largest class is PyTorch's."""
        return min((o.top1_agreement for o in self.outputs), default=1.0)

    @property
    def max_difference(self) -> float:
        """Of the outputs, free-running, from the module's."""
        return max((o.difference for o in self.outputs), default=0.0)

    def of_batch(self, size: int) -> "Report":
        """The same with the batch size in the names of the outputs."""
        named = (replace(o, name=f"{o.name} of {size}") for o in self.outputs)
        return replace(self, outputs=tuple(named))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, "faults": self.faults, **asdict(self)}

    def text(self) -> str:
        """A few lines for people."""
        lines = [_samples(self.samples)]
        if self.kernels:
            binary = [k for k in self.kernels if k.binary]
            lines.append(
                f"kernels: {len(self.kernels)} ({len(binary)} binary),"
                f" {sum(k.elements for k in self.kernels)} outputs,"
                f" {sum(k.mismatches for k in self.kernels)} without the bits of their meaning"
            )
        share = max((v.share for v in self.layers), default=0.0)
        lines.append(
            f"float values: {sum(v.elements for v in self.layers)} in {len(self.layers)} layers,"
            f" {sum(v.wrong for v in self.layers)} wrong; the furthest differs by {share:.0%} of"
            " what rounding explains"
        )
        if decided := sum(v.decided for v in self.layers):
            lines[-1] += f"; {decided} levels decided unlike PyTorch"
        lines.append(self._sign_line())
        lines += self._int8_lines() if self.int8 else []
        lines += [self._half_line()] if self.half else []
        for o in self.outputs:
            if o.exact:
                lines.append(
                    f"{o.name}: {o.top1_agreement:.1%} equal; with PyTorch's signs {o.wrong} differ"
                    " that rounding does not decide"
                )
                continue
            lines.append(
                f"{o.name}: top-1 agreement {o.top1_agreement:.1%}, largest difference"
                f" {o.difference:.2e}; with PyTorch's signs {o.with_signs:.2e}, rounding explains"
                f" {o.rounding:.2e}"
            )
        faults = self.faults
        lines += [f"WRONG {f}" for f in faults[:_SHOWN]]
        if len(faults) > _SHOWN:
            lines.append(f"... and {len(faults) - _SHOWN} more")
        return "\n".join(lines)

    def _int8_lines(self) -> list[str]:
        errors: dict[str, float] = {}
        for q in self.int8:
            errors[q.name] = max(errors.get(q.name, 0.0), q.error)
        worst = sorted(filter(errors.get, errors), key=lambda n: -errors[n])[:_WORST]
        line = (
            f"int8: {sum(q.elements for q in self.int8)} values in {len(errors)} layers,"
            f" {sum(q.mismatches for q in self.int8)} without the bits of their meaning"
        )
        if worst:
            line += f"; furthest from float: {', '.join(f'{n} {errors[n]:.2%}' for n in worst)}"
        flips = sorted(self.flips, key=lambda f: -f.flipped / max(f.elements, 1))[:_WORST]
        shown = ", ".join(
            f"{f.name} {f.flipped / f.elements:.2%}, up to {f.distance:.1e} from 0 where"
            f" {f.typical:.1e} is typical"
            for f in flips
            if f.flipped
        )
        total = sum(f.elements for f in self.flips)
        flipped = f"signs that turn around behind them: {sum(f.flipped for f in self.flips)}"
        return [line, f"{flipped} of {total}{f' ({shown})' if shown else ''}"]

    def _half_line(self) -> str:
        worst = sorted(self.half, key=lambda h: -h.error)[:_WORST]
        shown = ", ".join(f"{h.name} {h.error:.3%}, at most {h.difference:.1e}" for h in worst)
        count = sum(h.elements for h in self.half)
        return f"half precision: {count} values in {len(self.half)} layers; from float32: {shown}"

    def _sign_line(self) -> str:
        differ = [s for s in self.signs if s.differ]
        line = (
            f"signs: {sum(s.elements for s in self.signs)} in {len(self.signs)} layers,"
            f" {sum(s.differ for s in differ)} decided unlike PyTorch"
        )
        if differ:
            names = ", ".join(f"{s.name} {s.distance:.1e} from 0" for s in differ[:3])
            line += f" ({names}{', ...' if len(differ) > 3 else ''})"
        zeros = sum(s.zeros for s in self.signs)
        line += f"; {zeros} of exact zeros" + (" kept as PyTorch's 0" if zeros else "")
        if self.zeros_decided:
            line += f", {self.zeros_decided} that PyTorch rounded to 0"
        return line


#: A module and its export differ by no more in float64 if they are the same network. What depends
#: on weights alone is computed in float32 in one of them.
_EXPORT = 1e-5
_SHOWN = 8
#: Layers that are named.
_WORST = 3


def _samples(count: int) -> str:
    return f"reference: the module itself, run by PyTorch on {count} sample{'s' * (count != 1)}"


def merge(reports: Sequence[Report]) -> Report:
    """One report over several samples."""
    first = reports[0]
    columns = {
        name: tuple(
            _merged(same) for same in zip(*(getattr(r, name) for r in reports), strict=True)
        )
        for name in ("kernels", "layers", "signs", "outputs", "int8", "flips", "half")
    }
    return Report(
        sum(r.samples for r in reports),
        unchecked=first.unchecked,
        zeros_decided=sum(r.zeros_decided for r in reports),
        export_difference=max(r.export_difference for r in reports),
        **columns,
    )


def join(reports: Sequence[Report]) -> Report:
    """One report over the programs of several batch sizes, side by side."""
    columns = {
        name: tuple(c for r in reports for c in getattr(r, name))
        for name in ("kernels", "layers", "signs", "outputs", "unchecked", "int8", "flips", "half")
    }
    return Report(
        sum(r.samples for r in reports),
        zeros_decided=sum(r.zeros_decided for r in reports),
        export_difference=max(r.export_difference for r in reports),
        **columns,
    )


#: Fields that are counted over samples, averaged, or the same in all; of others the largest counts.
_COUNTED = ("elements", "mismatches", "wrong", "differ", "zeros", "flipped", "decided")
_AVERAGED = ("top1_agreement",)


def _merged(same: Sequence[Any]) -> Any:
    found = {}
    for key in asdict(same[0]):
        values = [getattr(s, key) for s in same]
        if key in _COUNTED:
            found[key] = sum(values)
        elif key in _AVERAGED:
            found[key] = sum(values) / len(values)
        elif isinstance(values[0], str | bool):
            found[key] = values[0]
        else:
            found[key] = max(values)
    return type(same[0])(**found)
