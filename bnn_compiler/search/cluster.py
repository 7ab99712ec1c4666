"""Workers that are actors of a Ray cluster, on its machines or, as "local", on this one.

Every actor has a core, and a GPU where the cluster has any, and a folder of its own: what judges of
a stage read (the supernet's weights) goes into Ray's store once a stage, and an actor takes it from
there when it is first asked. What a judgement leaves (trained weights) comes back with the answer.
"""

import logging
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnn_compiler import files
from bnn_compiler.closing import Closing
from bnn_compiler.errors import SearchError
from bnn_compiler.search.accuracy import Lost
from bnn_compiler.search.plans import Plan
from bnn_compiler.search.pool import Desk, Gone, Luggage, Make, Worker
from bnn_compiler.version import __version__

_FORMS = "local, auto, or the HOST:PORT of the cluster's head"
#: Seconds to reach the head, to wait for a place for the first worker, and for one to leave.
_REACH, _PATIENCE, _GRACE = 5.0, 300.0, 2.0
#: What opens a connection of HTTP/2, which a cluster's head speaks, and the kind of frame that the
#: other side begins with. Ray itself would try for minutes, and complain.
_PREFACE, _SETTINGS = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    b"\4",
)


class Actor:
    """What runs on the cluster; one candidate at a time."""

    def __init__(self, make: Make) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bnnc-worker-"))
        self._luggage = make if isinstance(make, Luggage) else None
        self._desk = Desk(self._luggage.at(self._folder) if self._luggage else make)
        self._stage: str | None = None

    def hello(self) -> str:
        """The version of this package there."""
        return __version__

    def judge(
        self, stage: str, packed: list[Any], plan: Plan, seed: int
    ) -> tuple[float | Lost, dict[str, bytes]]:
        """The accuracy, and the files that judging has left; ``packed`` is the store's reference to
        the files that the stage's judges read.
        """
        import ray

        if stage != self._stage:
            for name, data in ray.get(packed[0]).items():
                files.replace_bytes(self._folder / name, data)
            self._stage = stage
        found = self._desk.judge(stage, plan, seed)
        left: dict[str, bytes] = {}
        for name in self._luggage.left(stage, plan, seed) if self._luggage else ():
            path = self._folder / name
            if path.is_file():
                left[name] = path.read_bytes()
                path.unlink()
        return found, left

    def leave(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass
class _Remote:
    """See Worker. ``due`` is the answer that is waited for."""

    cluster: "Cluster"
    make: Make
    actor: Any
    due: Any
    there: bool = False

    def ask(self, stage: str, plan: Plan, seed: int) -> None:
        packed = self.cluster.packed(self.make, stage)
        self.due = self.actor.judge.remote(stage, [packed], dict(plan), seed)

    def answer(self) -> float | Lost | None:
        import ray

        try:
            found = ray.get(self.due)
        except ray.exceptions.RayError as e:
            raise Gone(_last_line(e)) from e
        if not self.there:
            if found != __version__:
                raise SearchError(
                    f"a machine of the cluster has bnn_compiler {found}, and here is {__version__}:"
                    " install the same on all"
                )
            self.there = True
            return None
        score, left = found
        if isinstance(self.make, Luggage):
            for name, data in left.items():
                files.replace_bytes(self.make.folder / name, data)
        return score  # type: ignore[no-any-return]

    def end(self) -> None:
        import ray

        with suppress(Exception):
            if self.there and ray.wait([self.due], timeout=0)[0]:
                # It does nothing now, so it can clear its folder.
                ray.wait([self.actor.leave.remote()], timeout=_GRACE)
        with suppress(Exception):
            ray.kill(self.actor, no_restart=True)


@dataclass
class Cluster(Closing):
    """The pool of a Ray cluster, as ``join`` makes it; use it in a ``with``.

    ``capacity`` is how many workers it has places for. ``chances``: machines come and go.
    """

    capacity: int
    gpus: int
    chances: int = 3
    _folder: Path | None = None
    _packed: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def join(address: str, workers: int | None = None) -> "Cluster":
        """The cluster at ``address``: local (one for ``workers`` is started here), auto (the one
        that runs on this machine), or HOST:PORT.

        Raises SearchError without Ray, and for an address where no cluster answers.
        """
        _check(address)
        _set(address)
        folder = None
        options: dict[str, Any] = {"address": address}
        if address == "local":
            folder = Path(tempfile.mkdtemp(prefix="bnnc-ray-"))
            cores = max(workers or 1, len(os.sched_getaffinity(0)))
            options |= {"num_cpus": cores, "include_dashboard": False, "_temp_dir": str(folder)}
        try:
            with _silent():
                import ray

                ray.init(logging_level=logging.CRITICAL, log_to_driver=False, **options)
            total = ray.cluster_resources()
        except ImportError as e:
            raise SearchError(
                f"--ray needs Ray ({e}): pip install 'bnn_compiler[distributed]'"
            ) from e
        except Exception as e:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            raise SearchError(f"--ray {address}: {_reason(e)}") from e
        gpus = int(total.get("GPU", 0))
        return Cluster(gpus or max(1, int(total.get("CPU", 0))), gpus, _folder=folder)

    def start(self, make: Make) -> _Remote:
        """See Pool."""
        import ray

        kind = ray.remote(num_cpus=1, num_gpus=1 if self.gpus else 0, max_restarts=0)(Actor)
        actor = kind.remote(make)
        return _Remote(self, make, actor, actor.hello.remote())

    def ready(self, workers: Sequence[Worker]) -> list[Worker]:
        """See Pool."""
        import ray

        mine = [w for w in workers if isinstance(w, _Remote)]
        patience = None if any(w.there for w in mine) else _PATIENCE
        done, _ = ray.wait([w.due for w in mine], num_returns=1, timeout=patience)
        if not done:
            raise SearchError(
                f"the cluster has had no place for a worker in {_PATIENCE:.0f} s: it takes a core"
                f"{' and a GPU' if self.gpus else ''}"
            )
        return [w for w in mine if w.due in done]

    def packed(self, make: Make, stage: str) -> Any:
        """The store's reference to the files of a stage, put there once."""
        import ray

        if stage not in self._packed:
            found: dict[str, bytes] = {}
            if isinstance(make, Luggage):
                found.update(make.packed(stage))
            self._packed = {stage: ray.put(found)}
        return self._packed[stage]

    def close(self) -> None:
        """Leave the cluster; one that ``join`` has started ends."""
        import ray

        self._packed.clear()
        ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _set(address: str) -> None:
    """What Ray reads from the environment as it is imported and started, unless the user says else:
    nothing is told to its makers, or printed by its own code, and few attempts are made.
    """
    wanted = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_BACKEND_LOG_LEVEL": "fatal",
        "RAY_NUM_REDIS_GET_RETRIES": "5",
    }
    if address == "local" and "ray" not in sys.modules:
        # Without a token others on this machine could run code as us; and Ray would keep one. A Ray
        # that was imported before has read its mode, and would not know the token of its own head.
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def _check(address: str) -> None:
    """Raise SearchError for an address of another form, or if nothing listens there."""
    if address in ("local", "auto"):
        return
    found = re.fullmatch(r"([^/:\s]+|\[[^]\s]+\]):(\d+)", address)
    if not found or not 0 < int(found[2]) < 65536:
        raise SearchError(f"--ray {address}: give {_FORMS}")
    try:
        with socket.create_connection((found[1].strip("[]"), int(found[2])), _REACH) as head:
            head.settimeout(_REACH)
            head.sendall(_PREFACE)
            if head.recv(9, socket.MSG_WAITALL)[3:4] != _SETTINGS:
                raise OSError("something else listens there")
    except OSError as e:
        raise SearchError(
            f"--ray {address}: no cluster answers ({e}); start one with `ray start --head --port"
            f" {found[2]}`, or let --ray local start one here"
        ) from e


def _reason(error: BaseException) -> str:
    """Why a cluster cannot be joined."""
    cause: BaseException | None = error
    while cause is not None:
        if "token" in str(cause):
            return (
                "the cluster wants its token: set RAY_AUTH_MODE=token, and have the head's"
                " ~/.ray/auth_token here too"
            )
        cause = cause.__cause__ or cause.__context__
    return _last_line(error)


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing is written to stderr, by whatever code of this process."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _last_line(error: BaseException) -> str:
    """What an error of Ray's says, without the traceback in front of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
