"""The help of each command fits a screen, has an example, and says each thing in one place."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest

from pos3.cli.arguments import build_parser, parse
from tests.support.program import run_program

# A laptop's terminal in full height; its usual width.
MOST_LINES = 50
MOST_COLUMNS = 80


def command_names(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield parser.prog
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from command_names(command)


NAMES = list(command_names(build_parser()))
EXAMPLE = re.compile(r"^  (?:.*\(|[a-z]+=\$\()?(pos3 .*?)(?:\)\"?)?(?: > \S+)?(?:   +\(.*)?$", re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_a_command_fits_a_screen(name: str) -> None:
    ran = run_program(*name.split()[1:], "--help", COLUMNS=str(MOST_COLUMNS))
    assert ran.status == 0
    assert len(ran.lines) <= MOST_LINES
    assert max(map(len, ran.lines)) <= MOST_COLUMNS


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("pos3 cache", "pos3 profile", "pos3 runs")])
def test_the_help_of_a_command_has_examples_that_the_command_takes(name: str) -> None:
    told = run_program(*name.split()[1:], "--help").stdout
    examples = EXAMPLE.findall(re.split(r"^examples?:$", told, flags=re.MULTILINE)[1])
    words = [shlex.split(example.replace("$(sed -n 3p parts.txt)", "part")) for example in examples]
    names = [parse(build_parser(), arguments).name for _, *arguments in words]
    assert names
    assert name == "pos3" or name in names


def test_the_exit_statuses_are_in_the_help_of_pos3_and_not_in_that_of_each_command() -> None:
    for name in NAMES:
        told = run_program(*name.split()[1:], "--help").stdout
        listed = [status for status in ("0", "1", "2", "130", "141", "143") if re.search(rf"^  {status} ", told, re.M)]
        assert len(listed) == (6 if name == "pos3" else 0)
