"""docs/doctor.md and docs/measuring.md say what is there: options, columns, lines, levels."""

import argparse
import re

import pytest

from helpers.paths import ROOT
from mbv2ssd_ros.tools import compare_models, doctor, evaluate_live, play_bag
from mbv2ssd_ros.tools.benchmarking.compare_figures import Rounds, row, table
from mbv2ssd_ros.tools.checkup.finding import LEVELS
from mbv2ssd_ros.tools.cli.settings import argument_parser
from mbv2ssd_ros.tools.live.account import CameraOutcome, NodeCounts
from mbv2ssd_ros.tools.live.account import table as live_table

DOCTOR = (ROOT / 'docs' / 'doctor.md').read_text(encoding='utf-8')
MEASURING = (ROOT / 'docs' / 'measuring.md').read_text(encoding='utf-8')
PROGRAMS = {module.PROGRAM: module for module in (doctor, compare_models, evaluate_live, play_bag)}


def parser_of(module):
    """Return the parser of a program."""
    return argument_parser(module.Settings, module.PROGRAM)


def commands():
    """Return (program, arguments) of each line in a code block that runs one of ours."""
    found = []
    for line in re.findall(r'^(?:ros2 run mbv2ssd_ros |python -m mbv2ssd_ros\.tools\.)?(\w+ .*)$',
                           DOCTOR + MEASURING, re.MULTILINE):
        program, *arguments = re.split(r'\s+[#|]', line)[0].split()
        if program in PROGRAMS and arguments and not program.endswith(':'):
            found.append((program, arguments))
    return found


def first_cells(page, after):
    """Return the backticked names in the first cells of the table after a heading."""
    text = page[page.index(after):]
    rows = re.search(r'(?:^\|.*\n)+', text, re.MULTILINE)[0].splitlines()[2:]
    return [name for line in rows for name in re.findall(r'`([^`]+)`', line.split('|')[1])]


def test_commands_are_accepted_by_their_programs():
    assert len(commands()) >= 8
    for program, arguments in commands():
        parsed = parser_of(PROGRAMS[program]).parse_args(arguments)
        assert isinstance(parsed, argparse.Namespace)


def test_options_that_the_pages_name_exist():
    options = set(re.findall(r'`(--[a-z-]+)', DOCTOR + MEASURING))
    known = {option for module in PROGRAMS.values()
             for action in parser_of(module)._actions for option in action.option_strings}
    assert len(options) >= 10 and options - known == set()


def test_the_levels_are_explained_in_order():
    assert first_cells(DOCTOR, '| verdict |')[:1] == ['ok']
    text = DOCTOR[DOCTOR.index('| verdict |'):]
    assert tuple(re.findall(r'^\| `(\w+)` \|', text, re.MULTILINE)[:4]) == LEVELS


def test_lines_that_the_doctor_page_names_are_in_the_code():
    code = ''.join(path.read_text() for path in (
        *(ROOT / 'mbv2ssd_ros/tools/checkup').glob('*.py'), ROOT / 'mbv2ssd_ros/tools/doctor.py'))
    names = [name.split(' <')[0] for name in first_cells(DOCTOR, '| line |')]
    assert len(names) > 20
    by_argument = {'disk for engines', 'disk for logs of ROS'}  # f'disk for {what}'
    assert [name for name in names if name not in by_argument
            and f"'{name}" not in code] == []


def test_the_columns_of_models_are_explained():
    times = Rounds({stage: [[1.0]] for stage in ('infer', 'detect', 'end_to_end')}, [1.0], 1.0)
    described = {'model': 'm', 'backend': 'b', 'precision': 'fp32', 'input_size_hw': [1, 2],
                 'size_mb': 1.0, 'parameters': 1, 'map_50': 0.5}
    head = table([row(described, times, times)]).splitlines()[0]
    named = first_cells(MEASURING, '| column |')
    assert [name for name in named if name not in head] == []
    assert len(named) == 9


def test_the_columns_of_a_live_run_are_shown():
    outcome = CameraOutcome('front', '/a', '/b', 1, NodeCounts(1, 1, 0, {}), 1, None)
    head = live_table([outcome]).splitlines()[0].split()
    assert ' '.join(head) in ' '.join(MEASURING.split())


@pytest.mark.parametrize('page', ['doctor.md', 'measuring.md'])
def test_files_that_a_page_links_to_exist(page):
    text = (ROOT / 'docs' / page).read_text(encoding='utf-8')
    links = re.findall(r'\]\(([^)#:]+)', text)
    assert [link for link in links if not (ROOT / 'docs' / link).exists()] == []
