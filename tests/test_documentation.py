"""The examples in the documentation run, and their commands exist."""

import doctest
import re
import shlex
from pathlib import Path

import pytest

from perimetry.cli import data, evaluate, inspect, map, predict, score, train  # noqa: A004 - the command is called that
from perimetry.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def of(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(ROOT)))


@of([page for page in PAGES if blocks(page, "python")])
def test_python_examples_print_what_they_say(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks(page, "python"), start=1):
        if ">>>" not in block:
            exec(compile(block, f"{page.name}, block {number}", "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(block, names, f"{page.name}, block {number}", str(page), 0)
        told: list[str] = []
        runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
        runner.run(test, out=told.append, clear_globs=False)
        names = test.globs
        assert runner.failures == 0, "".join(told)


@of(PAGES)
def test_commands_and_options_exist(page):
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            for command in line.split("&&"):
                words = shlex.split(command, comments=True)
                if words[:1] != ["perimetry"] or any("[" in word and "|" in command for word in words):
                    continue
                assert words[1] in COMMANDS, line
                if words[1] == "score" and words[2:]:
                    score._options(words[2]).read(words[3:])
                command_of = {
                    "data": data,
                    "evaluate": evaluate,
                    "inspect": inspect,
                    "map": map,
                    "predict": predict,
                    "train": train,
                }.get(words[1])
                if command_of is not None and not any("[MODEL" in word for word in words):
                    command_of._options().read(words[2:])


@of(PAGES)
def test_links_inside_the_repository_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
