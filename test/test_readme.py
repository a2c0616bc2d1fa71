"""The README says what is there."""

import re

from helpers.needs import need
from helpers.paths import ROOT

README = (ROOT / 'README.md').read_text(encoding='utf-8')


def test_the_parameters_that_the_readme_names_exist():
    need('rcl_interfaces')
    from mbv2ssd_ros.ros.parameters import camera_parameters, NODE_PARAMETERS
    section = README[README.index('### Parameters'):README.index('Large images are lost')]
    heads = re.findall(r'^- (.+?)[:(]', section, re.MULTILINE)
    names = re.findall(r'`(.+?)`', ' '.join(heads))
    assert len(names) == 7
    assert set(names) <= {*NODE_PARAMETERS, *camera_parameters('<name>', 'raw')}


def test_files_that_the_readme_names_exist():
    named = re.findall(r'\b(?:config|models|docs|msg)/[\w./]+\w', README)
    named += re.findall(r'\]\(([^)#:]+)\)', README)
    assert len(set(named)) >= 6
    assert [name for name in sorted(set(named)) if not (ROOT / name).exists()] == []
