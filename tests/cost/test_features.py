"""The shipped models were trained on these features: their values may not change."""

import hashlib
import json
from pathlib import Path

import numpy as np

from bnn_compiler import target as targets
from bnn_compiler.cost import features, records

#: {hardware: {family of the points: [pairs, digest of their features, of their rough cycles]}}
WANTED = json.loads(Path(__file__).with_name("features.json").read_text())


def found(name):
    """Of the schedules in every record that is shipped, as if for the hardware of one target; those
    of int8 came after the models.
    """
    hardware = targets.load(name).hardware
    rows = {}
    for shipped in ("x86-64-v3", "x86-64-v4", "x86-avx512-vpopcnt"):
        known = records.read(records.shipped(targets.load(shipped))).values()
        for record in (r for r in known if r.cpu == "znver4" and r.point.family in WANTED[name]):
            for task in (record.task, record.task.of_batch(1)):
                rows.setdefault(record.point.family, []).append(
                    features.matrix(task, [record.point], hardware)
                )
    return {
        family: [len(pairs), *(_digest(np.concatenate(part)) for part in zip(*pairs, strict=True))]
        for family, pairs in sorted(rows.items())
    }


def _digest(values):
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


def test_values_are_those_the_models_know():
    assert {name: found(name) for name in WANTED} == WANTED
