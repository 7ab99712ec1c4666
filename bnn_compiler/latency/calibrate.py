"""A latency model of a machine: random programs are timed there until the minutes are over.

The next programs are those on which the model so far is least sure of itself. Everything that was
timed is in a journal, so that a calibration that was stopped goes on where it was.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from platformdirs import user_cache_path

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy import backend
from bnn_compiler.device import gpu
from bnn_compiler.errors import BuildError, InputError, ScheduleError, TargetError
from bnn_compiler.latency import making, places, programs
from bnn_compiler.latency import model as models
from bnn_compiler.latency.journal import Journal
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.model import LatencyModel
from bnn_compiler.latency.places import Place
from bnn_compiler.latency.regress import Regressor
from bnn_compiler.latency.sample import Sample
from bnn_compiler.latency.templates import TEMPLATES, Template
from bnn_compiler.latency.variants import Variants
from bnn_compiler.runtime import cpu
from bnn_compiler.target import Gpu, Target

log = logging.getLogger("bnn_compiler")

#: Programs timed in turns with each other; plans drawn to choose one program from.
TURN, _CANDIDATES = 4, 24
#: A model is fitted anew when there are this many times as many programs as for the last one.
_GROWTH = 1.4
#: Of the cross-validation of models to choose by.
_FOLDS = 3
FITTING = "fitting the model"
#: Programs without which a model would mean nothing.
LEAST = 8
#: Programs that were disturbed so much say nothing: shares of their time.
_DISTURBED = 0.1


@dataclass(frozen=True)
class State:
    """Of a calibration: programs timed, seconds since it began and in all, and the error of the
    last model on programs left out (None before the first).
    """

    programs: int
    seconds: float
    limit: float
    error: float | None
    doing: str


@dataclass(frozen=True)
class Calibration:
    """What came of it: the model, where it is kept, and how many programs were disturbed."""

    model: LatencyModel
    path: Path
    disturbed: int


Tell = Callable[[State], None]


def calibrate(
    target: str | Path = "native",
    *,
    minutes: float = 10.0,
    programs_at_most: int | None = None,
    schedules: str | Path | None = None,
    journal: str | Path | None = None,
    output: str | Path | None = None,
    prior: bool = True,
    seed: int = 0,
    templates: Sequence[Template] = TEMPLATES,
    device: str | None = None,
    secret: str | Path | None = None,
    tell: Tell = lambda state: None,
) -> Calibration:
    """Time programs on this machine, or on the boards at ``device``, for ``minutes``, or until the
    journal has ``programs_at_most``, and fit a model, kept where ``LatencyModel.load`` finds it, or
    in ``output``.

    A shipped model of the target, if ``prior``, is where the new one starts from: few programs are
    then enough. Ctrl-C ends it early; what was timed counts. ``device`` and ``secret`` are as in
    ``tune``. Raises TargetError if this machine cannot run the target's code, DeviceError if the
    boards cannot be used, InputError for a number out of range, ScheduleError if too little could
    be timed.
    """
    if minutes <= 0 or (programs_at_most is not None and programs_at_most < LEAST):
        raise InputError(
            f"{minutes:g} minutes, {programs_at_most} programs: give more than 0 minutes,"
            f" and at least {LEAST} programs"
        )
    wanted = targets.load(target)
    known = Schedules.load(wanted, Path(schedules) if schedules else None)
    log_path = Path(journal) if journal else journal_path(wanted, _machine_name(device))
    start = prior_of(known) if prior else None
    if device is not None:
        tell(State(0, 0.0, 60 * minutes, None, "trying the reference program on the board"))
    place = _place(device, secret, known)
    with Journal(log_path, wanted, place.cpu) as lines:
        work = _Calibration(
            lines, known, place, start, minutes, programs_at_most, seed, templates, tell
        )
        try:
            work.run()
        except KeyboardInterrupt:
            log.warning("interrupted: the model is made of what was timed")
        return conclude(
            lines, known, start, Path(output) if output else None, lambda: work.say(FITTING)
        )


def conclude(
    journal: Journal,
    schedules: Schedules,
    prior: Regressor | None,
    output: Path | None,
    begin: Callable[[], None] = lambda: None,
) -> Calibration:
    """Fit a model to what is in the journal and keep it; ``begin`` is told before that.

    Raises ScheduleError if that is too little.
    """
    good = undisturbed(journal.samples)
    if len(good) < LEAST:
        raise ScheduleError(
            f"{len(good)} of {len(journal.samples)} programs could be timed undisturbed, a model"
            f" needs {LEAST}: give it more --minutes, on a machine that does nothing else"
        )
    begin()
    path = output or models.calibrated(schedules.target)
    found = LatencyModel.fit(good, schedules, journal.cpu, prior)
    found.save(path)
    return Calibration(found, path, len(journal.samples) - len(good))


def journal_path(target: Target, machine: str = "") -> Path:
    """Where a target's programs are remembered if nothing else is said; ``machine`` is a board."""
    name = f"{target.name}.{machine}" if machine else target.name
    return user_cache_path("bnn_compiler") / "latency" / f"{name}.journal.jsonl"


def prior_of(schedules: Schedules) -> Regressor | None:
    """Of the shipped model of a target, if there is one."""
    path = models.shipped(schedules.target)
    return models.read(path, schedules).regressor if path.is_file() else None


def undisturbed(samples: Sequence[Sample]) -> list[Sample]:
    """Those whose halves agree, and during which the reference was not far slower than usual."""
    if not samples:
        return []
    usual = float(np.median([s.reference for s in samples]))
    return [s for s in samples if s.noise <= _DISTURBED and s.reference <= 1.5 * usual]


def _place(device: str | None, secret: str | Path | None, schedules: Schedules) -> Place:
    """Where programs are timed: boards if they are given, else here."""
    target = schedules.target
    is_gpu = isinstance(target.hardware, Gpu)
    if device is None and not is_gpu:
        _check_here(target)
        return places.Here(schedules)
    backend.of(target).check(target)
    if device is None:
        return places.There(gpu.here(target), schedules)
    if is_gpu:
        raise TargetError(
            f"target {target.name} is a GPU: it is calibrated where it is, or by a kit"
        )
    # TVM's RPC is imported only where it is used.
    from bnn_compiler.device.address import Address
    from bnn_compiler.device.boards import Boards
    from bnn_compiler.device.secret import Secret

    known = None if secret is None else Secret.read(secret)
    boards = Boards(Address.parse(device), target.arch, target.link, known)
    return places.There(boards, schedules)


def _machine_name(device: str | None) -> str:
    """In the name of a journal."""
    if device is None:
        return ""
    from bnn_compiler.device.address import Address

    return f"board-{Address.parse(device).key}"


def _check_here(target: Target) -> None:
    native = targets.native()
    if target.arch != native.arch or not set(target.features) <= cpu.features():
        raise TargetError(
            f"this machine cannot run {target.name}: calibrate on a board (--device), or carry a"
            " kit there (--export-kit)"
        )
    backend.of(target).check(target)


class _Draw(NamedTuple):
    """A plan to time, its kernels, and whether it is the first that was drawn."""

    counts: dict[str, int]
    kernels: tuple[Kernel, ...]
    random: bool


class _Calibration:
    """A calibration under way."""

    def __init__(
        self,
        journal: Journal,
        schedules: Schedules,
        place: Place,
        prior: Regressor | None,
        minutes: float,
        most: int | None,
        seed: int,
        templates: Sequence[Template],
        tell: Tell,
    ) -> None:
        self.journal = journal
        self.schedules = schedules
        self.place = place
        self.prior = prior
        self.limit = 60 * minutes
        self.most = most
        # Another sequence after each start: the programs in the journal are not drawn again.
        self.random = Random(f"{seed} {len(journal.samples)}")
        self.templates = templates
        self.batches = making.of(schedules.target).batches
        self.tell = tell
        self.started = time.monotonic()
        self.variants: dict[str, Variants] = {}
        self.model: LatencyModel | None = None
        self.fitted_on = 0
        self.fit_seconds = 0.0

    def run(self) -> None:
        """Until the time is over, or there are enough programs."""
        if self._is_over():
            return
        self.say("building the reference program")
        self.place.begin()
        turn = 0
        # What the last turn took, and what the last fit will take, has to fit in what is left.
        needed = 0.0
        while not self._is_over(needed + self._last_fit()):
            self._fit()
            began = time.monotonic()
            chosen = [self.templates[(turn + i) % len(self.templates)] for i in range(TURN)]
            turn += TURN
            self._time(chosen)
            needed = time.monotonic() - began

    def _last_fit(self) -> float:
        """Seconds that a model of all programs will take, from the last one."""
        return self.fit_seconds * len(self.journal.samples) / max(self.fitted_on, 1)

    def say(self, doing: str) -> None:
        """Tell the caller."""
        error = None if self.model is None else self.model.about.error
        seconds = time.monotonic() - self.started
        self.tell(State(len(self.journal.samples), seconds, self.limit, error, doing))

    def _is_over(self, ahead: float = 0.0) -> bool:
        if self.most is not None and len(self.journal.samples) >= self.most:
            return True
        return time.monotonic() - self.started + ahead > self.limit

    def _fit(self) -> None:
        """A model to choose by, and to say how good it is."""
        good = undisturbed(self.journal.samples)
        if len(good) < LEAST or len(good) < _GROWTH * self.fitted_on:
            return
        self.say("fitting a model to choose by")
        self.fitted_on = len(good)
        began = time.monotonic()
        self.model = LatencyModel.fit(good, self.schedules, self.place.cpu, self.prior, _FOLDS)
        # The last one leaves fewer programs out, more often.
        self.fit_seconds = 2 * (time.monotonic() - began)

    def _time(self, templates: Sequence[Template]) -> None:
        """Build a program of each template, and time them in turns."""
        made: list[tuple[Template, _Draw, Any]] = []
        for template in templates:
            if self._is_over():
                break
            self.say(f"building a program of {template.name}")
            variants = self._variants(template)
            draw = self._choose(variants)
            plan = programs.substitute(variants.plan, draw.kernels, len(self.journal.samples))
            try:
                made.append((template, draw, self.place.build(plan)))
            except BuildError as e:
                log.warning("a program of %s was left out: %s", template.name, e)
        if not made:
            return
        self.say(f"timing {len(made)} programs in turns")
        times = self.place.in_turns([one for *_, one in made])
        for (template, draw, _), found in zip(made, times, strict=False):
            self.journal.add(
                Sample.timed(template.name, draw.counts, draw.kernels, found, draw.random)
            )

    def _variants(self, template: Template) -> Variants:
        if template.name not in self.variants:
            self.variants[template.name] = template.variants()
        return self.variants[template.name]

    def _choose(self, variants: Variants) -> "_Draw":
        """The plan among some random ones that the model knows least about; every other one is
        random, so that what the model is sure of is looked at too, and the intervals hold.
        """
        if self.model is None or self.random.random() < 0.5:
            counts = variants.draw(self.random, self.batches)
            return _Draw(counts, variants.kernels(counts), True)
        drawn = [variants.draw(self.random, self.batches) for _ in range(_CANDIDATES)]
        networks = [variants.kernels(counts) for counts in drawn]
        at = int(np.argmax(self.model.disagreement(networks)))
        return _Draw(drawn[at], networks[at], False)
