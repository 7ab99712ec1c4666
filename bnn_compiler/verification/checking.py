"""The check at the end of ``compile``."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bnn_compiler.errors import ArtifactError, MismatchError
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.quantization import Calibration
from bnn_compiler.quantization.agreement import top1
from bnn_compiler.runtime import load
from bnn_compiler.verification import check, check_bytes

#: A batch whose values take more memory is left to ``verify``.
_MOST = 2 << 30


def check_draft(
    draft: Path, networks: Sequence[Network], options: Options, tell: Callable[[str], None]
) -> None:
    """Compare an artifact that is not shipped yet with its network, which is one for each batch.

    Tells why where it does not: another network was asked for, another machine's code, a batch too
    large. Raises MismatchError.
    """
    if options.zero_weight in ("+1", "-1"):
        tell(f"not checked, since zero_weight {options.zero_weight} may make another network")
        return
    with load(draft, run_here=False) as artifact:
        try:
            artifact.check_runs_here()
        except ArtifactError as e:
            if artifact.description.target.kind == "llvm":
                tell("not checked, since its code does not run here (bnnc verify --emulate does)")
            else:
                tell(f"not checked, since {str(e).removeprefix(f'{draft}: ')}")
            return
        faults: list[str] = []
        for batch, network in zip(artifact.batches, networks, strict=True):
            part = artifact.at(batch)
            needed = check_bytes(part, network)
            if needed > _MOST:
                size = f"{needed / 1e9:.0f} GB"
                tell(f"not checked, since all values of this batch ({batch}) take {size}")
                continue
            faults += check(part, network, options).faults
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise MismatchError(
            f"the compiled network does not compute what PyTorch does, so it is not written:"
            f" {faults[0]}{more}; check=False (--no-check) writes it for bnnc verify to examine"
        )


def tell_agreement(draft: Path, calibration: Calibration, tell: Callable[[str], None]) -> None:
    """Tell how often the largest class is the float network's on the samples of ``calibration``."""
    with load(draft, run_here=False) as artifact:
        try:
            artifact.check_runs_here()
        except ArtifactError:
            return
        agreed = 0.0
        for batch, wanted in zip(calibration.batches, calibration.outputs, strict=True):
            found = artifact.run(*batch.inputs)
            first = found[0] if isinstance(found, tuple) else found
            agreed += batch.count * top1(*map(batch.of_samples, (first, wanted)))
    share = agreed / sum(batch.count for batch in calibration.batches)
    tell(
        f"int8: {len(calibration.ranges)} layers; the top-1 class of {share:.1%} of the calibration"
        " samples is that of the float network"
    )
