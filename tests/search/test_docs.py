"""docs/search.md: its Python runs, its commands and options are ones that there are."""

import re
import shlex
from pathlib import Path

from bnn_compiler.cli import _parser

PAGE = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (source,) = (b for language, b in BLOCKS if language == "python" and "found.winner" in b)
    exec(source, {})
    assert capsys.readouterr().out.startswith("{'a': 64, 'b': 1")
    assert (tmp_path / "python-search" / "search.json").is_file()


def test_the_commands_are_ones_that_there_are():
    bodies = [body for language, body in BLOCKS if language == "bash"]
    lines = "".join(bodies).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines if line != "python3 pictures.py imagenet 224"]
    assert len(commands) == 7
    for program, *arguments in commands:
        assert program == "bnnc"
        assert _parser().parse_args(arguments).command == arguments[0]


def test_every_option_of_a_search_is_one_that_there_is():
    (search,) = (
        a.choices["search"] for a in _parser()._actions if hasattr(a, "choices") and a.choices
    )
    known = {option for action in search._actions for option in action.option_strings}
    known |= {"--head", "--port", "--address"}  # of `ray start`
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE)) <= known
