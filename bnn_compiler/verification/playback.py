"""An artifact run step by step with the framework's values put in between.

So every kernel is judged on the framework's own inputs, and one sign that falls the other way
because it is a rounding error from 0 says nothing about the layers behind it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.frontend.oracle import Truth
from bnn_compiler.runtime import Artifact, Session
from bnn_compiler.verification.report import LayerCheck, SignCheck

#: Images, rows and columns of a value.
Part = tuple[slice, slice, slice]


@dataclass
class Played:
    """What one run found; ``differing`` has a mask [N, H, W, C] for each sign by name."""

    outputs: list[NDArray[Any]] = field(default_factory=list)
    layers: list[LayerCheck] = field(default_factory=list)
    differing: dict[str, NDArray[np.bool_]] = field(default_factory=dict)


#: NAME, NAME__bits... or NAME__inside_TOP_LEFT__bits... (ops/graph.py).
_SIGN = re.compile(r"(.*?)(?:__inside_(\d+)_(\d+))?(?:__bits\w*)?")


def sign_of_buffer(
    buffer: Mapping[str, Any], values: Mapping[str, Truth]
) -> tuple[str, Part] | None:
    """The sign whose decisions a buffer holds, and the part of it."""
    found = _SIGN.fullmatch(buffer["name"])
    truth = values.get(found[1]) if found else None
    if found is None or truth is None or truth.margin is None:
        return None
    _, h, w, c = buffer["shape"]
    if truth.value.size == np.prod(buffer["shape"]) and truth.value.shape[3] == c:
        # The same rows of channels, perhaps counted in another way.
        return found[1], (slice(None), slice(None), slice(None))
    top, left = int(found[2] or 0), int(found[3] or 0)
    part = (slice(None), slice(top, top + h), slice(left, left + w))
    return (found[1], part) if truth.value[part].shape == tuple(buffer["shape"]) else None


def play(
    artifact: Artifact, inputs: Sequence[NDArray[Any]], values: Mapping[str, Truth], floats: bool
) -> Played:
    """Run every step on what its buffers hold in the framework: signs, and with ``floats`` all."""
    session = Session(artifact)
    session.inputs = [np.ascontiguousarray(x) for x in inputs]
    buffers = {b["id"]: b for b in artifact.manifest["buffers"]}
    steps = artifact.manifest["steps"]
    last = {i: at for at, step in enumerate(steps) for i in step["reads"]}
    current: dict[int, NDArray[Any]] = {}
    played = Played()
    for at, step in enumerate(steps):
        for i in step["reads"]:
            if buffers[i]["kind"] == "arena":
                session.write_buffer(i, current[i])
        session.run(at, at + 1)
        for i in step["writes"]:
            if buffers[i]["kind"] == "arena":
                found = session.read_buffer(i)
                current[i] = _judge(buffers[i], found, values, floats, played)
        for i in [i for i in current if last.get(i, -1) <= at]:
            del current[i]
    played.outputs = list(session.outputs)
    return played


def _judge(
    buffer: dict[str, Any],
    found: NDArray[Any],
    values: Mapping[str, Truth],
    floats: bool,
    played: Played,
) -> NDArray[Any]:
    """Note how ``found`` differs from the framework's value; what the next steps shall read."""
    name, bits = buffer["name"], buffer["dtype"] == "uint32"
    sign = sign_of_buffer(buffer, values)
    if sign is not None:
        return _judge_sign(*sign, found, values[sign[0]].value, bits, played)
    truth = values.get(name)
    if bits or truth is None or truth.margin is not None or truth.value.shape != found.shape:
        return found
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(found - truth.value)
    # Equal infinities and NaNs are the same value.
    difference[(found == truth.value) | (np.isnan(found) & np.isnan(truth.value))] = 0
    if truth.ambiguous is not None:
        difference[truth.ambiguous] = 0
    largest = float(difference.max(initial=0.0))
    wrong = int(np.count_nonzero(~(difference <= truth.rounding)))
    share = largest / truth.rounding if truth.rounding else float(largest > 0)
    played.layers.append(LayerCheck(name, found.size, largest, share, wrong))
    return truth.value if floats else found


def _judge_sign(
    name: str,
    part: Part,
    found: NDArray[Any],
    whole: NDArray[Any],
    bits: bool,
    played: Played,
) -> NDArray[Any]:
    # Rows of channels may be counted in another way.
    value = whole[part].reshape(found.shape)
    if bits:
        # 0 has no bit: what was made of it shows in the layers behind.
        differs = ((value > 0) != (found > 0)) & (value != 0)
        forced = np.where(value == 0, found, value)
    else:
        differs, forced = value != found, value
    noted = played.differing.setdefault(name, np.zeros(whole.shape, bool))
    noted[part] |= differs.reshape(noted[part].shape)
    return forced


def sign_checks(values: Mapping[str, Truth], runs: Sequence[Played]) -> tuple[SignCheck, ...]:
    """Every sign that some run compared, by all of them."""
    checks = []
    for name in runs[0].differing:
        truth = values[name]
        assert truth.margin is not None, "only signs are noted"
        differs = np.logical_or.reduce([r.differing[name] for r in runs])
        distances = truth.margin[differs]
        # An input that is exactly 0 in both precisions leaves rounding nothing to explain.
        explained = (distances <= truth.rounding) & (distances > 0)
        checks.append(
            SignCheck(
                name,
                differs.size,
                int(differs.sum()),
                float(distances.max(initial=0.0)),
                truth.rounding,
                int(np.count_nonzero(~explained)),
                int(np.count_nonzero(truth.value == 0)),
            )
        )
    return tuple(checks)
