"""Writes the table in networks.md from networks.json: `python docs/networks.py`."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN, END = "<!-- networks: python docs/networks.py -->\n", "<!-- end of networks -->\n"
#: What the field ``result`` of a network says.
RESULTS = ("verified", "imported", "fails")


def table(networks: list[dict[str, Any]]) -> str:
    """The counts and one row for each network, as Markdown."""
    count = Counter(n["result"] for n in networks)
    counts = ", ".join(f"{count[r]} {r}" for r in RESULTS)
    head = (
        "| repository | network | binary layers: found / expected | kernels | mismatches | result"
        " | compiler |\n|---|---|---:|---:|---:|---|---|\n"
    )
    rows = sorted(networks, key=lambda n: (n["repository"].lower(), n["network"].lower()))
    return f"{len(networks)} networks: {counts}.\n\n{head}{''.join(map(_row, rows))}"


def _row(network: dict[str, Any]) -> str:
    n = network
    assert n["result"] in RESULTS, n
    result = f"{n['result']}: {n['reason']}" if n.get("reason") else n["result"]
    cells = (
        n["repository"],
        n["network"],
        f"{_or_dash(n['found'])} / {n['expected']}",
        _or_dash(n["kernels"]),
        _or_dash(n["mismatches"]),
        result.replace("|", "\\|"),
        f"`{n['compiler']}`",
    )
    return f"| {' | '.join(cells)} |\n"


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


def with_table(text: str) -> str:
    """The text of networks.md with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    networks = json.loads((HERE / "networks.json").read_text())
    return f"{before}{BEGIN}{table(networks)}{END}{after}"


if __name__ == "__main__":
    page = HERE / "networks.md"
    page.write_text(with_table(page.read_text()))
