"""Who is next: every kernel in turn gets a batch of trials, until none wants more.

MetaSchedule's gradient scheduler, which prefers the kernels that promise most, was never ahead at
equal trials (``benchmarks/task_scheduler.py``).
"""

from collections.abc import Callable, Sequence

from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.tune.journal import Trial
from bnn_compiler.tune.strategy import TaskSearch

#: Candidates measured between two fits of the model.
BATCH = 16
#: Measures candidates of a task and tells of each trial.
Measure = Callable[[Sequence[tuple[Task, Point]], Callable[[Trial], None]], None]


def round_robin(
    searches: Sequence[TaskSearch], measure: Measure, told: Callable[[TaskSearch], None]
) -> None:
    """Run all ``searches`` to their ends; ``told`` hears whose batch has ended.

    Raises what ``measure`` raises, and ScheduleError if the journal cannot be written.
    """
    left = list(searches)
    while left:
        left = [search for search in left if _batch(search, measure, told)]


def _batch(search: TaskSearch, measure: Measure, told: Callable[[TaskSearch], None]) -> bool:
    """Whether there was one."""
    before = search.best()
    points = search.next(BATCH)
    if not points:
        return False
    measure([(search.task, point) for point in points], search.search.journal.add)
    search.told(before)
    told(search)
    return True
