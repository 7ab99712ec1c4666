"""rest="auto": every layer that is not binary as what it costs least, by its error on samples."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from bnn_compiler.cost.pick import Schedules
from bnn_compiler.cost.price import Prices
from bnn_compiler.errors import InputError
from bnn_compiler.network import Network, with_own_ranges
from bnn_compiler.options import Options
from bnn_compiler.quantization import binary_forms
from bnn_compiler.quantization.calibrate import DEFAULT_METHOD, Calibration, calibrate
from bnn_compiler.quantization.choose import Choices, check_tolerance, choose
from bnn_compiler.quantization.forms import Forms
from bnn_compiler.quantization.pace import Tell, silent


def choices(
    network: Network,
    options: Options,
    schedules: Schedules,
    samples: Any,
    *,
    method: str | None = None,
    float_layers: Collection[str] = (),
    tolerance: float,
    tell: Tell = silent,
) -> tuple[Choices, Calibration]:
    """Choose for all layers but ``float_layers``; the calibration has the ranges of those on bytes.

    ``samples`` are as quantization/samples.py takes them; ``tell`` is told how far it is. Raises
    InputError for a network that was quantised elsewhere, for samples that there are not, for a
    tolerance that is no share, for a network without classes, and what ``calibrate`` raises.
    """
    check_tolerance(tolerance)
    if with_own_ranges(network.folded(options), options, ()) is not None:
        raise InputError(
            "this network was quantised and brings its scales: rest 'int8' keeps them (--rest"
            " int8), rest 'auto' is for networks in float"
        )
    if samples is None:
        raise InputError("rest 'auto' needs samples to calibrate on: calibration (--calibrate)")
    found = calibrate(network, options, samples, method or DEFAULT_METHOD, float_layers)
    prices = Prices(schedules)
    forms = Forms(network, options, found, prices)
    notes = tuple(binary_forms.notes(forms.plan(()), prices))
    chosen = choose(forms, tolerance, notes, tell)
    return chosen, replace(found, ranges=chosen.ranges)
