"""The end of a search on disk: the plan, the trained network and how to load it."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnn_compiler import files
from bnn_compiler.errors import SearchError
from bnn_compiler.search.network import Task
from bnn_compiler.search.run import Result

PLAN, STATE = "plan.json", "network.pt"


@dataclass(frozen=True)
class Winner:
    """A plan and its trained network: that of the seed with the best validation."""

    plan: dict[str, int]
    network: nn.Module


def winner(task: Task, result: Result, plan: dict[str, int] | None = None) -> Winner:
    """Load the winner, or another ``plan`` that was trained in full.

    Raises SearchError if its weights are gone.
    """
    plan = result.winner if plan is None else plan
    trained = [t for t in result.trained if t.plan == plan and t.validation is not None]
    best = max(trained, key=lambda t: t.validation or 0.0, default=None)
    if best is None:
        raise SearchError("no training of the plan succeeded, so it has no weights")
    path = task.weights_path(best.plan, best.seed)
    if not path.is_file():
        raise SearchError(f"{path} is gone: without it the plan has no weights; start with -o anew")
    return Winner(best.plan, task.trained_network(best.plan, best.seed))


def write(task: Task, found: Winner, budgets: list[str]) -> None:
    """network.pt (a state_dict), then plan.json, which says how to load it."""
    buffer = io.BytesIO()
    torch.save(found.network.state_dict(), buffer)
    files.replace_bytes(task.folder / STATE, buffer.getvalue())
    text = json.dumps(description(task, found, budgets), indent=1)
    files.replace_text(task.folder / PLAN, text)


def description(task: Task, found: Winner, budgets: list[str]) -> dict[str, Any]:
    """plan.json: the plan, what it is a plan of, and the lines that load the network."""
    model = task.model if isinstance(task.model, str) else type(task.model).__name__
    return {
        "plan": found.plan,
        "model": model,
        "shape": list(task.shape),
        "target": task.target,
        "budgets": budgets,
        "load": [
            "import json, torch",
            "from bnn_compiler.latency.space import PlanSpace",
            f"space = PlanSpace.of({model!r}, (torch.zeros({list(task.shape)}),))",
            f"network = space.crop(json.load(open({PLAN!r}))['plan'])",
            f"network.load_state_dict(torch.load({STATE!r}, weights_only=True))",
        ],
    }


def read_plan(path: Path) -> dict[str, int]:
    """The plan of a plan.json. Raises SearchError if it holds none."""
    try:
        plan = json.loads(path.read_text())["plan"]
        return {str(k): int(v) for k, v in plan.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise SearchError(f"{path} holds no plan: {e!r}") from e
