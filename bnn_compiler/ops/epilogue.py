"""What happens to a kernel's value before it is stored, as data.

A fused operator is an anchor (a convolution, a pool, a plain read) that yields one float32 value
per output element, an epilogue (a chain of steps on that value) and outputs. Steps and outputs
refer by index to the call's operands: per-channel float32 vectors [C], or NHWC float32 tensors.

In the IR each is one string, so that a printed module reads well:

    epilogue=["affine:0:1", "add:2", "bias:3", "prelu:4"]   outputs=["float32", "bits>=:5"]
"""

from dataclasses import dataclass

#: Step kinds: name -> (number of operands, number of literal parameters).
STEPS = {
    "affine": (2, 0),  # fma(v, scale[c], bias[c])
    "bias": (1, 0),  # v + bias[c]
    "add": (1, 0),  # v + t[n, y, x, c]
    "add_tile": (1, 0),  # v + t[n, y, x, c mod C(t)]
    "add_avg2": (1, 0),  # v + 2x2 stride-2 average of t
    "prelu": (1, 0),  # v > 0 ? v : v * slope[c]
    "clip": (0, 2),  # min(max(v, lo), hi)
    "sign": (0, 1),  # -1, zero or +1, as float32
}
#: Steps whose operand is a tensor, not a per-channel vector.
TENSOR_STEPS = ("add", "add_tile", "add_avg2")


@dataclass(frozen=True)
class Step:
    """One step of an epilogue; ``operands`` are indices, ``params`` literals."""

    kind: str
    operands: tuple[int, ...] = ()
    params: tuple[float, ...] = ()

    def __str__(self) -> str:
        return ":".join([self.kind, *map(str, self.operands), *(repr(p) for p in self.params)])

    @staticmethod
    def parse(text: str) -> "Step":
        """Read the form that ``str`` writes. Raises KeyError for an unknown kind."""
        kind, *rest = text.split(":")
        operands, _ = STEPS[kind]
        return Step(
            kind, tuple(int(v) for v in rest[:operands]), tuple(float(v) for v in rest[operands:])
        )


@dataclass(frozen=True)
class Output:
    """One result: the float32 value, or its sign bits against a per-channel threshold.

    ``compare`` is ">=" or ">": the bit of channel c is ``value compare operands[threshold][c]``.
    """

    compare: str = ""
    threshold: int = -1

    @property
    def is_bits(self) -> bool:
        return bool(self.compare)

    def __str__(self) -> str:
        return f"bits{self.compare}:{self.threshold}" if self.is_bits else "float32"

    @staticmethod
    def parse(text: str) -> "Output":
        """Read the form that ``str`` writes."""
        if text == "float32":
            return Output()
        compare, threshold = text.removeprefix("bits").split(":")
        return Output(compare, int(threshold))


@dataclass(frozen=True)
class Epilogue:
    """Steps in order, then outputs, all on the same final value."""

    steps: tuple[Step, ...] = ()
    outputs: tuple[Output, ...] = (Output(),)

    def attrs(self) -> dict[str, list[str]]:
        """The two attributes of a Relax call."""
        return {"epilogue": [str(s) for s in self.steps], "outputs": [str(o) for o in self.outputs]}

    @staticmethod
    def parse(epilogue: list[str], outputs: list[str]) -> "Epilogue":
        """Read the two attributes back."""
        return Epilogue(
            tuple(Step.parse(str(s)) for s in epilogue),
            tuple(Output.parse(str(o)) for o in outputs),
        )
