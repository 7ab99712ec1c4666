"""What a GPU is to reach, and whether a run did."""

from typing import Any

#: Our time over torch.compile's, float16, both CUDA graphs; at least as exact as their names say.
RATIOS = {
    "birealnet18_1": 0.38,
    "birealnet18_8": 0.40,
    "birealnet18_64": 0.62,
    "birealnet18_64_reorder": 0.34,
    "reactnet_a_1": 0.40,
    "reactnet_a_64": 0.45,
    "reactnet_a_64_reorder": 0.30,
}
#: Microseconds of a 3x3 layer at batch 1, its share of a device copy's speed at batch 64.
LAYER_US, COPY_SHARE = 3.0, 0.85
#: Of a binary product, torch's int8 one over it.
SQUARE = 6.0


def peer(name: str) -> str:
    """The case whose PyTorch network a case is compared with."""
    return name.removesuffix("_reorder")


def table(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each goal by name: what was ``found``, None if it was not measured, and whether it is met."""
    rows: dict[str, tuple[float | None, float, bool]] = {}
    for name, goal in RATIOS.items():
        theirs = _of(found, "torch_compile", peer(name), "median_ms")
        rows[f"{name} / torch_compile"] = (
            _over(_of(found, "networks", name, "median_ms"), theirs),
            goal,
            False,
        )
    copy = _of(found, "torch_products", "all", "copy_gb_s")
    for name in found.get("layers_each", {}):
        if name.endswith("_1"):
            rows[f"{name} us"] = (_of(found, "layers_each", name, "us"), LAYER_US, False)
        else:
            speed = _of(found, "layers_each", name, "gb_s")
            rows[f"{name} / copy"] = (_over(speed, copy), COPY_SHARE, True)
    for name in found.get("square", {}):
        ours = _of(found, "square", name, "median_ms")
        theirs = _of(found, "torch_products", "all", "int8", "median_ms")
        rows[f"int8 / {name}"] = (_over(theirs, ours), SQUARE, True)
    return {
        name: {
            "found": value,
            "goal": goal,
            "met": None if value is None else value >= goal if more else value <= goal,
        }
        for name, (value, goal, more) in rows.items()
    }


def _over(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _of(found: Any, *keys: str) -> float | None:
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return None if found is None else float(found)
