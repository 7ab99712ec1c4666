"""Imports run one way: from a room to those that stand before it in ARCHITECTURE.md's order."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bnn_compiler"


def modules(package):
    """Dotted name -> file. The package's own ``__init__`` stands above everything."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    del found[package.name]
    return found


def imports(path, known, package="bnn_compiler"):
    """The modules that a file imports, in functions and for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for a in node.names:
                name = f"{node.module}.{a.name}"
                found.add(name if name in known else node.module)
    return {f for f in found if f in known or f == package}


def room(name, order):
    """The room of a module: the longest entry of the order that its path begins with."""
    path = "/".join(name.split(".")[1:])
    fitting = [r for r in order if path == r or path.startswith(r + "/")]
    assert fitting, f"{name} is in no room of ARCHITECTURE.md's order"
    return max(fitting, key=len)


def upward(graph, order):
    """A line for each import of a room that stands further up."""
    place = {name: i for i, name in enumerate(order)}
    return [
        f"{a} ({room(a, order)}) imports {b} ({room(b, order)}), which stands above it"
        for a, targets in sorted(graph.items())
        for b in sorted(targets)
        if place[room(b, order)] > place[room(a, order)]
    ]


def circles(graph):
    """Files that import each other, directly or by way of others."""
    done, path, found = set(), [], []

    def visit(name):
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            path.append(name)
            for target in sorted(graph[name]):
                visit(target)
            done.add(path.pop())

    for name in sorted(graph):
        visit(name)
    return found


def order():
    """The rooms of ARCHITECTURE.md, lowest first."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    listed = re.search(r"Rooms, lowest first:\n\n((?:    .*\n)+)", text)
    assert listed, "ARCHITECTURE.md has no list of rooms"
    return re.findall(r"[\w/]+", listed[1])


@pytest.fixture(scope="module")
def graph():
    known = modules(PACKAGE)
    return {name: imports(path, known) - {name} for name, path in known.items()}


def test_no_room_imports_one_above_it(graph):
    assert not upward({a: b - {"bnn_compiler"} for a, b in graph.items()}, order())


def test_nothing_imports_the_package_itself(graph):
    assert not [a for a, b in graph.items() if "bnn_compiler" in b and a != "bnn_compiler.cli"]


def test_no_files_import_each_other(graph):
    assert not circles({a: b - {"bnn_compiler"} for a, b in graph.items()})


def test_a_search_asks_for_latency_only(graph):
    """Of what compiles, tunes and prices it knows nothing."""
    below = {"errors", "closing", "files", "version", "runtime"}
    allowed = below | {"report", "nn", "zoo", "latency", "search"}
    found = {
        f"{a} imports {b}"
        for a, targets in graph.items()
        for b in targets
        if a.startswith("bnn_compiler.search") and b.split(".")[1] not in allowed
    }
    assert not found


def test_the_rules_name_offenders():
    rooms = ["low", "low/part", "high"]
    graph = {"b.low.x": {"b.high"}, "b.low.part.y": {"b.low.x"}, "b.high": {"b.low.part.y"}}
    assert upward(graph, rooms) == ["b.low.x (low) imports b.high (high), which stands above it"]
    assert circles(graph) == ["b.high -> b.low.part.y -> b.low.x -> b.high"]
    assert not circles({**graph, "b.low.x": set()})
