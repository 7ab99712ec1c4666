"""The processes that build candidates."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tvm.support.popen_pool import PopenPoolExecutor

from bnn_compiler.errors import BuildError
from bnn_compiler.tune import workers

#: Presses Ctrl-C, which reaches the whole process group, all the while the workers start and work.
SCRIPT = """
import os, signal, time
from bnn_compiler.tune import workers

def main():
    signal.signal(signal.SIGINT, lambda number, frame: None)
    with workers.pool(2, 120) as pool:
        futures = [pool.submit(time.sleep, 0.2) for _ in range(4)]
        presses = 0
        while not all(f.done() for f in futures):
            os.killpg(0, signal.SIGINT)
            time.sleep(0.02)
            presses += 1
        assert [f.result() for f in futures] == [None] * 4
        assert presses > 5
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])

main()
"""


def test_ctrl_c_while_workers_start_is_quiet():
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def _crash():
    os.abort()


def test_crashes_and_hangs_cost_one_trial():
    pool = PopenPoolExecutor(max_workers=1, timeout=1.0)
    value, error = workers.outcome(pool.submit(_crash))
    assert value is None and error == "Subprocess terminated"
    value, error = workers.outcome(pool.submit(time.sleep, 60))
    assert value is None and error == "took too long and was stopped"
    assert workers.outcome(pool.submit(len, [1, 2])) == (2, "")


def _no_linker():
    raise BuildError("no C compiler")


def test_what_is_no_candidates_fault_ends_the_build():
    pool = PopenPoolExecutor(max_workers=1, timeout=5.0)
    with pytest.raises(BuildError, match="no C compiler"):
        workers.outcome(pool.submit(_no_linker))
