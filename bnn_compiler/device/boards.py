"""Boards as a machine: one program at a time on each, and lost work done again."""

import contextlib
import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypeVar

from bnn_compiler.deploy.cpu.link import toolchain
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.device import client, program
from bnn_compiler.device.address import Address
from bnn_compiler.device.client import BoardSession, Lost, Tracker
from bnn_compiler.device.measure import Done, Outcome, Plan, read
from bnn_compiler.device.secret import Secret
from bnn_compiler.errors import DeviceError
from bnn_compiler.target import Link

#: Connections one program may lose before the boards are at fault (as many as there are boards, if
#: those are more).
_LOSSES = 3
#: Seconds a board has to answer and to take the files, besides those the program may take.
_TRANSFER = 60.0
#: Seconds after which a board is tried again, more each time.
_PAUSE = 2.0

T = TypeVar("T")


class Boards:
    """The boards at an address; a farm's work in parallel.

    A board that goes away while it measures costs nothing but time: the program is measured again,
    on another board where there is one. Raises DeviceError if there is no board now or it has
    another ``secret``, BuildError if nothing here can link for ``arch``.
    """

    here = False

    def __init__(
        self, address: Address, arch: str, link: Link, secret: Secret | None = None
    ) -> None:
        self.address = address
        self.arch = arch
        self.tools = toolchain(arch, link)
        self.name = f"device {address.key} at {address.where}"
        self._secret = secret
        client.check(address, secret)

    def measure(self, programs: Sequence[TrialProgram], plan: Plan, done: Done) -> None:
        """See Machine."""
        # Of a board that is just restarting nothing is known; its work waits for it.
        boards = max(1, client.count(self.address))
        batch = _Batch(programs, lambda p, over: self.attempt(p, plan, over))
        # A tracker may still lend boards that are gone.
        batch.losses = max(_LOSSES, boards)
        if not self.address.farm:
            # A board that restarts needs a moment; a tracker lends it again when it is back.
            batch.pause = _PAUSE
        for _ in range(min(len(programs), boards)):
            # Nothing may keep the process alive when it is told to end.
            threading.Thread(target=batch.work, daemon=True).start()
        try:
            for _ in programs:
                found = batch.finished.get()
                if isinstance(found, BaseException):
                    raise found
                done(*found)
        except Lost as e:
            raise DeviceError(f"{self.address} was lost {batch.losses} times: {e}") from e
        finally:
            batch.over.set()

    def attempt(self, one: TrialProgram, plan: Plan, over: threading.Event) -> Outcome | None:
        """Measure on the next board that is free; None when it is ``over`` before.

        Raises Lost, or DeviceError.
        """
        address = self.address
        found: tuple[str, int, str] | None = (address.host, address.port, address.key)
        if address.farm:
            with Tracker(address) as tracker:
                found = tracker.request(over.is_set)
        if found is None:
            return None
        where = found
        return _within(plan.limit + _TRANSFER, lambda: self._session(where, one, plan))

    def _session(self, where: tuple[str, int, str], one: TrialProgram, plan: Plan) -> Outcome:
        try:
            with contextlib.closing(
                BoardSession(*where, lambda: self._launcher, self._secret)
            ) as session:
                both = (one.path, one.constants)
                files = [session.put(p.read_bytes(), p.name) for p in both]
                return read(*session.run([*files, *plan.arguments()], plan.limit + 2))
        except DeviceError as e:
            place = f"{self.address} ({where[0]}:{where[1]})"
            raise DeviceError(f"{place}: {e} (programs are for {self.arch})") from e

    @cached_property
    def _launcher(self) -> bytes:
        return program.launcher(self.tools)


class _Batch:
    """Programs that threads take, one for each board, until all have an outcome."""

    def __init__(
        self,
        programs: Sequence[TrialProgram],
        attempt: Callable[[TrialProgram, threading.Event], Outcome | None],
    ) -> None:
        self.programs = programs
        self.attempt = attempt
        self.pause = 0.0
        self.losses = _LOSSES
        self.over = threading.Event()
        self.finished: queue.SimpleQueue[tuple[int, Outcome] | BaseException] = queue.SimpleQueue()
        self._waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._losses: Counter[int] = Counter()
        for index in range(len(programs)):
            self._waiting.put(index)

    def work(self) -> None:
        """What each thread does."""
        while not self.over.is_set():
            try:
                index = self._waiting.get(timeout=0.1)
            except queue.Empty:
                continue
            try:
                outcome = self.attempt(self.programs[index], self.over)
                if outcome is not None:
                    self.finished.put((index, outcome))
            except Lost as e:
                self._lost(index, e)
            except BaseException as e:
                self.finished.put(e)

    def _lost(self, index: int, error: Lost) -> None:
        self._losses[index] += 1
        if self._losses[index] == self.losses:
            self.finished.put(error)
        else:
            self.over.wait(self.pause * self._losses[index])
            self._waiting.put(index)


def _within(seconds: float, function: Callable[[], T]) -> T:
    """Its result; Lost if there is none in time (a board without power does not even hang up)."""
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise Lost(f"no answer in {seconds:.0f} s")
    return results[0]
