"""docs/bags.md teaches commands that are understood, and names files that are written."""

import re
import shlex

import pytest

from helpers.needs import need
from helpers.paths import ROOT
from mbv2ssd_ros.evaluation.bags import frame_names, writer
from mbv2ssd_ros.evaluation.runs import journal, labelled_frames, outputs
from mbv2ssd_ros.tools import evaluate_bag, label_bag, play_bag
from mbv2ssd_ros.tools.cli.settings import argument_parser

PAGE = (ROOT / 'docs' / 'bags.md').read_text(encoding='utf-8')
PARSERS = {module.PROGRAM: argument_parser(module.Settings, module.PROGRAM)
           for module in (evaluate_bag, label_bag)}


def commands():
    """Return the words of every command that a reader may type."""
    blocks = re.findall(r'^ *```bash\n(.*?)^ *```', PAGE, re.MULTILINE | re.DOTALL)
    lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
    lines += [code for code in re.findall(r'`([^`\n]+)`', PAGE)
              if code.startswith(tuple(f'{name} BAG' for name in PARSERS))]
    return [shlex.split(line) for line in lines if line.strip()]


OURS = [words for words in commands() if words[0] in PARSERS]
OF_TRAINING = [words for words in commands() if words[0] == 'mbv2ssd_train']


@pytest.mark.parametrize('words', OURS, ids=' '.join)
def test_a_command_is_understood(words):
    PARSERS[words[0]].parse_args(words[1:])


@pytest.mark.parametrize('words', OF_TRAINING, ids=' '.join)
def test_a_command_of_training_is_understood(words):
    need('pydantic')
    program = need('mbv2ssd_train.cli.program')
    program._parse(words[1:])


def test_the_commands_are_found():
    assert len(OURS) >= 12 and len(OF_TRAINING) == 4
    assert {words[0] for words in OURS} == set(PARSERS)


def test_every_option_in_the_text_is_there():
    player = argument_parser(play_bag.Settings, play_bag.PROGRAM)
    options = {option for parser in (*PARSERS.values(), player) for action in parser._actions
               for option in action.option_strings}
    named = set(re.findall(r'`(--[a-z-]+)', PAGE))
    assert len(named) >= 12 and named <= options


def test_every_file_that_is_written_is_explained():
    for name in (outputs.METRICS, outputs.FRAMES, outputs.LATENCY, outputs.REPORT,
                 writer.FILE_NAME, journal.FILE_NAME, evaluate_bag.COMPARISON,
                 labelled_frames.DESCRIPTION):
        assert f'`{name}`' in PAGE


def test_the_names_of_frames_mean_what_the_page_says():
    rows = re.findall(r'^\| (`.*?) \| (with this stamp|number 42)', PAGE, re.MULTILINE)
    assert len(rows) == 3
    for names, meaning in rows:
        for name in re.findall(r'`([^`]+)`', names):
            key = frame_names.parse_name(name, ['/front/image_raw'])
            assert (key.index == 42) if meaning == 'number 42' else (
                key.stamp_ns == 1_700_000_000_123_456_789)
            assert (key.topic == '/front/image_raw') == name.startswith('front')
