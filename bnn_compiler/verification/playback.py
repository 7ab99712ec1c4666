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
from bnn_compiler.verification import halves
from bnn_compiler.verification.quantized import EXACT, Meanings, compare
from bnn_compiler.verification.report import FlipCheck, HalfCheck, Int8Check, LayerCheck, SignCheck

#: Images, rows and columns of a value.
Part = tuple[slice, slice, slice]


@dataclass
class Played:
    """What one run found; ``differing`` has a mask [N, H, W, C] for each sign by name.

    ``flipped`` has those of signs that a layer on bytes decides itself, ``exact`` the indices of
    outputs that such a layer makes: both are judged by what those layers mean.
    """

    outputs: list[NDArray[Any]] = field(default_factory=list)
    layers: list[LayerCheck] = field(default_factory=list)
    differing: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    flipped: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    int8: list[Int8Check] = field(default_factory=list)
    exact: set[int] = field(default_factory=set)
    half: list[HalfCheck] = field(default_factory=list)


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
    artifact: Artifact,
    inputs: Sequence[NDArray[Any]],
    values: Mapping[str, Truth],
    floats: bool,
    meanings: Meanings | None = None,
    through: bool = False,
) -> Played:
    """Run every step on what its buffers hold in the framework: signs, and with ``floats`` all.

    A network with layers on bytes has ``meanings``, by which those are judged. The next steps read
    the framework's value in place of their results, unless the errors of these shall go ``through``
    to the signs.
    """
    session = Session(artifact)
    session.inputs = [np.ascontiguousarray(x) for x in inputs]
    buffers = {b["id"]: b for b in artifact.manifest["buffers"]}
    steps = artifact.manifest["steps"]
    last = {i: at for at, step in enumerate(steps) for i in step["reads"]}
    current: dict[int, NDArray[Any]] = {}
    #: What has errors of bytes in it, since the framework has no such value to go on with.
    inexact: set[int] = set()
    played = Played()
    for at, step in enumerate(steps):
        for i in step["reads"]:
            if buffers[i]["kind"] == "arena":
                session.write_buffer(i, current[i])
        session.run(at, at + 1)
        if halves.is_half(step):
            played.half += _judge_halves(artifact, step, session, values)
        narrow = step["op"] in EXACT or not inexact.isdisjoint(step["reads"])
        if meanings is not None and narrow and not through:
            inexact |= _judge_exact(artifact, step, session, current, meanings, values, played)
            judged = set(step["writes"])
        else:
            judged = set()
        for i in step["writes"]:
            if buffers[i]["kind"] == "arena" and i not in judged:
                found = session.read_buffer(i)
                current[i] = _judge(buffers[i], found, values, floats, played, meanings)
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
    meanings: Meanings | None,
) -> NDArray[Any]:
    """Note how ``found`` differs from the framework's value; what the next steps shall read."""
    name, bits = buffer["name"], buffer["dtype"] == "uint32"
    sign = sign_of_buffer(buffer, values)
    if sign is not None:
        return _judge_sign(*sign, found, values[sign[0]].value, bits, played.differing)
    narrow = meanings.bytes_of(name, values) if meanings is not None else None
    if narrow is not None:
        played.layers.append(narrow.judge(name, found))
        return narrow.value.reshape(found.shape) if floats else found
    truth = values.get(name)
    if bits or truth is None or truth.margin is not None or truth.value.shape != found.shape:
        return found
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(found - truth.value)
    # Equal infinities and NaNs are the same value.
    difference[(found == truth.value) | (np.isnan(found) & np.isnan(truth.value))] = 0
    decided = 0
    if truth.ambiguous is not None:
        decided = int(np.count_nonzero(difference[truth.ambiguous]))
        difference[truth.ambiguous] = 0
    largest = float(difference.max(initial=0.0))
    wrong = int(np.count_nonzero(~(difference <= truth.rounding)))
    share = largest / truth.rounding if truth.rounding else float(largest > 0)
    played.layers.append(LayerCheck(name, found.size, largest, share, wrong, decided))
    if truth.ambiguous is not None and not floats:
        return np.where(truth.ambiguous, truth.value, found)
    return truth.value if floats else found


def _judge_sign(
    name: str,
    part: Part,
    found: NDArray[Any],
    whole: NDArray[Any],
    bits: bool,
    differing: dict[str, NDArray[np.bool_]],
) -> NDArray[Any]:
    # Rows of channels may be counted in another way.
    value = whole[part].reshape(found.shape)
    if bits:
        # 0 has no bit: what was made of it shows in the layers behind.
        differs = ((value > 0) != (found > 0)) & (value != 0)
        forced = np.where(value == 0, found, value)
    else:
        differs, forced = value != found, value
    noted = differing.setdefault(name, np.zeros(whole.shape, bool))
    noted[part] |= differs.reshape(noted[part].shape)
    return forced


def _judge_halves(
    artifact: Artifact, step: Mapping[str, Any], session: Session, values: Mapping[str, Truth]
) -> list[HalfCheck]:
    """The errors of a step in half precision, of what the framework has too."""
    buffers = {b["id"]: b for b in artifact.manifest["buffers"]}
    outputs = [b["id"] for b in artifact.manifest["buffers"] if b["kind"] == "output"]
    checks = []
    for i in step["writes"]:
        truth = values.get(buffers[i]["name"])
        if (
            buffers[i]["dtype"] not in ("float32", "float16")
            or truth is None
            or truth.margin is not None
        ):
            continue
        found = session.outputs[outputs.index(i)] if i in outputs else session.read_buffer(i)
        if truth.value.size == found.size:
            checks.append(halves.error(buffers[i]["name"], found, truth))
    return checks


def _judge_exact(
    artifact: Artifact,
    step: Mapping[str, Any],
    session: Session,
    current: dict[int, NDArray[Any]],
    meanings: Meanings,
    values: Mapping[str, Truth],
    played: Played,
) -> set[int]:
    """Compare a step with its meaning; ``current`` gets the framework's values for its results.

    Those that the framework does not have are returned.
    """
    manifest = artifact.manifest
    buffers = {b["id"]: b for b in manifest["buffers"]}
    inputs, outputs = ([t["name"] for t in manifest[k]] for k in ("inputs", "outputs"))
    held = {}
    for i in step["reads"]:
        name, kind = buffers[i]["name"], buffers[i]["kind"]
        if kind == "arena":
            held[name] = current[i]
        elif kind == "input":
            held[name] = session.inputs[inputs.index(name)]
        else:
            held[name] = session.outputs[outputs.index(name)]
    meaning = meanings.results([buffers[i]["name"] for i in step["writes"]], held)
    unknown = set()
    for i in step["writes"]:
        name = buffers[i]["name"]
        at = outputs.index(name) if buffers[i]["kind"] == "output" else None
        found = session.read_buffer(i) if at is None else session.outputs[at]
        shaped = found.reshape(meaning[name].shape)
        narrow = meanings.bytes_of(name, values)
        played.int8.append(compare(step["name"], shaped, meaning[name], values.get(name), narrow))
        wanted = _in_framework(buffers[i], found, meanings, values, played)
        if wanted is found:
            unknown.add(i)
        if at is None:
            current[i] = wanted
        else:
            played.exact.add(at)
            found[...] = wanted
    return unknown


def _in_framework(
    buffer: Mapping[str, Any],
    found: NDArray[Any],
    meanings: Meanings,
    values: Mapping[str, Truth],
    played: Played,
) -> NDArray[Any]:
    """What the buffer would hold if the framework's value was stored in it."""
    sign = sign_of_buffer(buffer, values)
    if sign is not None:
        bits = buffer["dtype"] == "uint32"
        return _judge_sign(*sign, found, values[sign[0]].value, bits, played.flipped)
    narrow = meanings.bytes_of(buffer["name"], values)
    if narrow is not None:
        return narrow.value.reshape(found.shape)
    truth = values.get(buffer["name"])
    same = truth is not None and truth.margin is None and truth.value.size == found.size
    return truth.value.reshape(found.shape) if truth is not None and same else found


def flip_checks(values: Mapping[str, Truth], through: Played) -> tuple[FlipCheck, ...]:
    """Every sign where the errors of layers on bytes went through to it."""
    checks = []
    for name, differs in through.differing.items():
        margin = values[name].margin
        assert margin is not None, "only signs are noted"
        flipped = margin[differs]
        checks.append(
            FlipCheck(
                name,
                differs.size,
                flipped.size,
                float(flipped.max(initial=0.0)),
                float(np.median(margin)) if margin.size else 0.0,
            )
        )
    return tuple(checks)


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
