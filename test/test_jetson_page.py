"""docs/jetson.md quotes what is there."""

import re

from helpers.paths import ROOT
from mbv2ssd_ros.tools import build_engine
from mbv2ssd_ros.tools.cli.settings import argument_parser

PAGE = (ROOT / 'docs' / 'jetson.md').read_text(encoding='utf-8')


def test_what_a_failed_build_says_is_quoted_from_the_code():
    code = ''.join(path.read_text() for path in (ROOT / 'mbv2ssd_ros' / 'backends').rglob('*.py'))
    code = re.sub(r"'\s*f?'", '', code)  # strings that go on in the next line
    start = PAGE.index('## When an engine cannot be built')
    cells = re.findall(r'^\| (`.+?) \|', PAGE[start:], re.MULTILINE)
    said = [text for cell in cells for text in re.findall('`([^`]+)`', cell)]
    assert len(said) > 10
    # put together of a library's name and the rest
    whole = {'tensorrt cannot be imported', 'pycuda cannot be imported',
             'was killed by signal 9', 'could not read the model'}
    assert [text for text in said if text not in code and text not in whole] == []
    for text in ('cannot be imported', 'was killed by signal', 'could not {what}',
                 "'read the model'"):
        assert text in code


def test_options_of_build_engine_exist():
    known = argument_parser(build_engine.Settings, 'build_engine').format_help()
    used = re.findall(r'build_engine((?: --[^`\n]*)+)', PAGE)
    options = {option for text in used for option in re.findall(r'--[\w-]+', text)}
    assert len(options) >= 4
    assert [option for option in options if option not in known] == []


def test_the_log_that_it_quotes_is_that_of_auto():
    assert 'backend auto takes tensorrt: TensorRT 10.3.0 and a GPU (Orin) are available' in PAGE


def test_nothing_is_claimed_that_was_not_measured():
    rows = re.findall(r'^\| (?:inference|build).*$', PAGE, re.MULTILINE)
    assert len(rows) == 2
    assert all(row.count('not yet measured') == 3 for row in rows)


def test_the_make_target_exists():
    assert 'make test-jetson' in PAGE
    assert re.search(r'^test-jetson:', (ROOT / 'Makefile').read_text(), re.MULTILINE)
