"""The README says what is there."""

import re

from helpers.needs import need
from helpers.paths import ROOT

README = (ROOT / 'README.md').read_text(encoding='utf-8')


def parameter_rows():
    """Return name -> (default, live) of the README's table of parameters."""
    section = README[README.index('### Parameters'):README.index('## Train on your own boxes')]
    rows = re.findall(r'^\| `(.+?)` \| `(.+?)` \| (yes)? ?\|', section, re.MULTILINE)
    return {name: (default, bool(live)) for name, default, live in rows}


def as_yaml(value):
    """Write a default as the README and the parameter file do."""
    if isinstance(value, list):
        return '[' + ', '.join(item or "''" for item in value) + ']'
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or "''"


def test_the_parameter_table_has_every_parameter_with_its_default_and_liveness():
    need('rcl_interfaces')
    from mbv2ssd_ros.ros.parameters import camera_parameters, NODE_PARAMETERS
    specs = {**NODE_PARAMETERS, **camera_parameters('<name>', 'raw')}
    assert parameter_rows() == {
        name: (as_yaml(spec.default), spec.live) for name, spec in specs.items()}


def test_files_that_the_readme_names_exist():
    named = re.findall(r'\b(?:config|models|docs|msg)/[\w./]+\w', README)
    named += re.findall(r'\]\(([^)#:]+)\)', README)
    assert len(set(named)) >= 6
    assert [name for name in sorted(set(named)) if not (ROOT / name).exists()] == []
