"""docs/node.md says what is there: reasons, keys, parameters, files."""

import re
from runpy import run_path

from helpers.needs import need
from helpers.paths import ROOT
from mbv2ssd_ros.frames import DROP_REASONS, FrameCounters
from mbv2ssd_ros.latency import Percentiles

PAGE = (ROOT / 'docs' / 'node.md').read_text(encoding='utf-8')


def section(title):
    """Return the text below a heading, up to the next one of its kind or above."""
    start = PAGE.index(f'## {title}\n')
    end = PAGE.find('\n## ', start)
    return PAGE[start:end if end > 0 else None]


def first_cells(text):
    """Return the backticked names in the first cells of all tables in a text."""
    cells = re.findall(r'^\| (`.+?) \|', text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r'`([^`]+)`', cell)]


def test_every_drop_reason_is_explained_and_no_other():
    assert first_cells(section('What happens to an image')) == list(DROP_REASONS)


def test_every_key_of_the_diagnostics_is_explained_and_no_other():
    need('diagnostic_msgs')
    from std_msgs.msg import Header

    from mbv2ssd_ros.ros.camera import STAGES
    from mbv2ssd_ros.ros.camera_monitor import CameraReport
    from mbv2ssd_ros.ros.diagnostics import diagnostics, NodeReport
    spread = {stage: Percentiles(1.0, 2.0, 3.0) for stage in STAGES}
    camera = CameraReport(
        'camera', 0, '', False, False, FrameCounters().counts(), 0.0, 0.0, spread, None, 0)
    array = diagnostics(NodeReport('/detector', 'active', '', cameras=(camera,)), Header())
    found = {entry.key for status in array.status for entry in status.values}
    named = first_cells(section('/diagnostics'))
    stages = [name for name in named if name in STAGES]
    assert stages == list(STAGES)
    explained = set()
    for name in named:
        if name.startswith('<stage>'):
            explained |= {name.replace('<stage>', stage) for stage in STAGES}
        elif name == 'dropped.<reason>':
            explained |= {f'dropped.{reason}' for reason in DROP_REASONS}
        elif name not in STAGES:
            explained.add(name)
    assert explained == found


def test_parameter_file_and_table_are_what_the_code_declares():
    need('rcl_interfaces')
    writer = run_path(str(ROOT / '.ci' / 'parameters'))
    outdated = 'outdated: run .venv/bin/python .ci/parameters'
    assert (ROOT / 'config' / 'detector.yaml').read_text() == writer['parameter_file'](), outdated
    assert writer['TABLE'].search(PAGE)[0] == writer['table_rows'](), outdated


def test_commands_set_parameters_that_exist():
    need('rcl_interfaces')
    from mbv2ssd_ros.ros.parameters import camera_parameters, NODE_PARAMETERS
    names = re.findall(r'^ros2 param set /detector (\S+)', PAGE, re.MULTILINE)
    assert len(names) >= 5
    assert set(names) <= {*NODE_PARAMETERS, *camera_parameters('camera', 'raw')}


def test_what_diagnostics_say_is_quoted_from_the_code():
    code = ''.join(path.read_text() for path in (ROOT / 'mbv2ssd_ros' / 'ros').glob('*.py'))
    code = re.sub(r"'\s*f?'", '', code)  # strings that continue on the next line
    said = [part.strip(' .()') for cell in first_cells(section('Why is nothing coming?'))
            for part in cell.split('...') if len(part.strip(' .()')) > 4]
    assert len(said) > 10
    put_together = {'configure failed:', 'publishes sensor_msgs/msg/CompressedImage on'}
    unknown = [part for part in said
               if part not in code and part not in {*DROP_REASONS, *put_together}]
    assert unknown == []


def test_files_and_launch_files_that_the_page_names_exist():
    files = re.findall(r'config/[\w.]+\w', PAGE)
    files += [f'launch/{name}' for name in re.findall(r'[\w]+\.launch\.py', PAGE)]
    assert len(set(files)) >= 7
    assert [name for name in sorted(set(files)) if not (ROOT / name).exists()] == []


def test_the_package_says_in_which_order_to_read_all_its_modules():
    folder = ROOT / 'mbv2ssd_ros' / 'ros'
    named = re.findall(r'\w+', (folder / '__init__.py').read_text())
    assert [path.stem for path in folder.glob('[a-z]*.py') if path.stem not in named] == []
