"""What a user chooses about the meaning of a network: checked once, carried by every stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bnn_compiler.errors import InputError
from bnn_compiler.passes.byte_input import Normalization, normalization_of
from bnn_compiler.passes.quantize_rest import Range
from bnn_compiler.passes.weights import ZERO_WEIGHT
from bnn_compiler.target import Target


@dataclass(frozen=True)
class Options:
    """``zero_weight`` is one of ZERO_WEIGHT; ``normalization`` is None for float32 inputs.

    The layers of ``int8`` read bytes. With ``half`` float layers compute in half precision.
    """

    zero_weight: str = "exact"
    normalization: Normalization | None = None
    allow_reorder: bool = False
    int8: tuple[Range, ...] = ()
    half: bool = False

    @staticmethod
    def of(
        zero_weight: str = "exact",
        input_dtype: str = "float32",
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        allow_reorder: bool = False,
    ) -> "Options":
        """From the arguments of ``compile``. Raises InputError, listing what is known."""
        if zero_weight not in ZERO_WEIGHT:
            known = ", ".join(repr(v) for v in ZERO_WEIGHT)
            raise InputError(f"zero_weight {zero_weight!r}; known: {known}")
        return Options(zero_weight, normalization_of(input_dtype, mean, std), bool(allow_reorder))

    @staticmethod
    def of_manifest(manifest: Mapping[str, Any]) -> "Options":
        """What an artifact was compiled with."""
        contract, given = manifest["contract"], manifest.get("normalization")
        normalization = Normalization(**{k: tuple(v) for k, v in given.items()}) if given else None
        ranges = tuple(Range(**given) for given in manifest.get("int8", ()))
        found = Options(contract["zero_weight"], normalization, contract["reorder"], ranges)
        return found.on(manifest["target"]["kind"])

    def on(self, kind: str) -> "Options":
        """The same for a [target] kind: to reorder is to use tensor cores on a GPU."""
        return replace(self, half=self.allow_reorder and kind == "cuda")


def check_int8(target: Target, rest: str = "int8") -> None:
    """Raise InputError for a target that has no int8 kernels, which ``rest`` asks for."""
    if target.hardware.kind != "llvm":
        raise InputError(
            f"rest {rest!r} is for CPUs; for {target.name} leave it out (--rest float32)"
        )


#: What ``compile`` does when nothing is said.
DEFAULT = Options()
