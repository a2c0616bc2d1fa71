"""The package installs with pip, and says the same about itself everywhere."""

import ast
from importlib import metadata
from pathlib import Path
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from helpers.paths import ROOT

PROGRAMS = {'mbv2ssd_train', 'detector_node', 'play_images', 'view_detections',
            'mbv2ssd_benchmark', 'build_engine', 'mbv2ssd_doctor', 'evaluate_bag',
            'evaluate_live', 'label_bag', 'play_bag', 'compare_models'}

# What a ROS machine takes from rosdep, and other machines from the Python package index.
ROSDEP_KEYS = {
    'python3-numpy': 'numpy',
    'python3-onnxruntime-pip': 'onnxruntime',
    'python3-opencv': 'opencv-python-headless',
    'python3-yaml': 'pyyaml',
}


def missing_build_tools():
    """Return what is not there of what pip needs to install from a folder, '' if nothing."""
    there = {found.metadata['Name']: found.version for found in metadata.distributions()}
    if missing := {'pip', 'setuptools'} - there.keys():
        return ' and '.join(missing)
    version = tuple(map(int, there['setuptools'].split('.')[:2]))
    return '' if version >= (70, 1) or 'wheel' in there else 'wheel, or setuptools 70.1'


@pytest.fixture(scope='session')
def installed(tmp_path_factory):
    """Return the folder of a `pip install --target` without dependencies."""
    if missing := missing_build_tools():
        pytest.skip(f'to install the package needs {missing}')
    source = tmp_path_factory.mktemp('source') / 'mbv2ssd'  # pip would build inside our tree
    anywhere = shutil.ignore_patterns('.*', '__pycache__', '*.egg-info')
    at_root = shutil.ignore_patterns(
        'build', 'install', 'log', 'runs', 'demo_out', 'test', 'docs')

    def ignored(folder, names):
        return anywhere(folder, names) | (
            at_root(folder, names) if Path(folder) == ROOT else set())
    shutil.copytree(ROOT, source, ignore=ignored)
    target = tmp_path_factory.mktemp('installed')
    result = subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check',
         '--no-deps', '--no-build-isolation', '--target', target, source],
        stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return target


@pytest.fixture(scope='session')
def distribution(installed):
    """Return the metadata of what was installed."""
    found = list(metadata.distributions(name='mbv2ssd_ros', path=[str(installed)]))
    assert len(found) == 1
    return found[0]


def package_xml(path=ROOT / 'package.xml'):
    return ElementTree.parse(path).getroot()


def requirements(distribution, extra=None):
    """Return the lower-case names that a distribution requires, for an extra or without one."""
    names = set()
    for line in distribution.requires or []:
        requirement, _, marker = line.partition(';')
        found = re.search(r'extra == .(\w+)', marker)
        if (found[1] if found else None) == extra:
            names.add(re.match(r'[\w.-]+', requirement)[0].lower())
    return names


def test_versions_agree(distribution):
    version = package_xml().findtext('version')
    assert distribution.version == version
    assert package_xml(ROOT / 'msg' / 'package.xml').findtext('version') == version
    assert version in (ROOT / 'CHANGELOG.rst').read_text(encoding='utf-8')


def test_descriptions_agree(distribution):
    assert distribution.metadata['Summary'] == package_xml().findtext('description')
    assert package_xml().findtext('license') == 'Apache-2.0'
    assert distribution.metadata['License'] == 'Apache-2.0'


def test_run_time_dependencies_agree(distribution):
    keys = {element.text for element in package_xml().iter('exec_depend')}
    from_rosdep = {key for key in keys if key.startswith('python3-')}
    assert {ROSDEP_KEYS[key] for key in from_rosdep} == requirements(distribution) - {'simplejpeg'}


def test_every_ros_package_that_is_imported_is_declared():
    declared = {element.text for element in package_xml().iter('exec_depend')}
    imported = set()
    for path in [*ROOT.glob('mbv2ssd_ros/**/*.py'), *ROOT.glob('launch/*.py')]:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                imported.update(alias.name.partition('.')[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition('.')[0])
    ros = {name for name in imported if name.endswith(('_msgs', '_interfaces'))
           or name in ('rclpy', 'launch', 'launch_ros', 'cv_bridge', 'ament_index_python')}
    assert ros - {'mbv2ssd_msgs'} <= declared  # built from msg/, or done without


def test_run_time_needs_no_training_library(distribution):
    assert 'torch' not in requirements(distribution)
    assert {'torch', 'onnx', 'onnxscript', 'safetensors'} <= requirements(distribution, 'train')
    assert {'pytest', 'ruff', 'mypy'} <= requirements(distribution, 'dev')


def test_programs_lead_to_functions(distribution, installed):
    programs = {entry.name: entry for entry in distribution.entry_points
                if entry.group == 'console_scripts'}
    assert set(programs) == PROGRAMS
    for name, entry in programs.items():
        module = installed / entry.module.replace('.', '/')
        path = module / '__init__.py' if module.is_dir() else module.with_suffix('.py')
        assert path.is_file(), f'{name}: {path.name} was not installed'
        tree = ast.parse(path.read_text(encoding='utf-8'))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        names |= {alias.asname or alias.name for node in tree.body
                  if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert entry.attr in names, f'{name}: {entry.module} has no {entry.attr}()'
        assert (installed / 'bin' / name).is_file()


def test_everything_in_share_is_installed(installed):
    share = installed / 'share' / 'mbv2ssd_ros'
    assert (share / 'package.xml').is_file()
    assert (installed / 'share/ament_index/resource_index/packages/mbv2ssd_ros').is_file()
    for folder in ('launch', 'config', 'models'):
        files = {path.relative_to(ROOT) for path in (ROOT / folder).rglob('*')
                 if path.is_file() and '__pycache__' not in path.parts}
        assert files, f'{folder}/ is empty'
        missing = [str(path) for path in files if not (share / path).is_file()]
        assert missing == []


def test_every_package_is_installed(installed):
    for package in ('mbv2ssd_ros', 'mbv2ssd_train'):
        modules = {path.relative_to(ROOT) for path in (ROOT / package).rglob('*.py')}
        missing = [str(path) for path in modules if not (installed / path).is_file()]
        assert missing == []  # a folder without __init__.py, perhaps


def test_files_beside_the_modules_are_installed(installed):
    files = [path.relative_to(ROOT) for suffix in ('css', 'js')
             for path in (ROOT / 'mbv2ssd_ros').rglob(f'*.{suffix}')]
    assert len(files) >= 2
    assert [str(path) for path in files if not (installed / path).is_file()] == []


def test_installed_copy_detects_without_torch(installed):
    code = ('import sys, mbv2ssd_ros.detector as detector; '
            'print(detector.__file__, "torch" in sys.modules)')
    result = subprocess.run([sys.executable, '-c', code], cwd=installed, capture_output=True,
                            text=True, env={'PYTHONPATH': str(installed)})
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(installed / 'mbv2ssd_ros' / 'detector.py'), 'False']


def test_environment_has_no_gpu_build_of_torch():
    try:
        version = metadata.version('torch')
    except metadata.PackageNotFoundError:
        pytest.skip('torch is absent (the extra `train`)')
    names = {distribution.metadata['Name'].lower() for distribution in metadata.distributions()}
    assert 'torchvision' not in names
    if not version.endswith('+cpu'):
        pytest.skip(f'torch {version} is not the CPU build')
    assert [name for name in names if name.startswith('nvidia-')] == []


def test_every_requirement_is_pinned():
    text = (ROOT / '.ci' / 'constraints.txt').read_text(encoding='utf-8')
    lines = [line for line in text.splitlines() if line and not line.startswith('#')]
    assert [line for line in lines if not re.match(r'[\w.-]+==[\w.+]+($|;|  #)', line)] == []
    pinned = {re.match(r'[\w.-]+', line)[0] for line in lines}
    declared = (ROOT / 'setup.py').read_text(encoding='utf-8')
    names = {re.match(r'[\w.-]+', node.value)[0].lower()
             for call in ast.walk(ast.parse(declared)) if isinstance(call, ast.keyword)
             and call.arg in ('install_requires', 'extras_require')
             for lists in ast.walk(call.value) if isinstance(lists, ast.List)
             for node in lists.elts}
    assert names - pinned == set()


def test_colcon_gives_the_programs_the_names_that_ros2_run_knows():
    code = ("import sys, setuptools; sys.argv = ['setup.py', 'install']; setuptools.setup = "
            "lambda **told: print(*told['entry_points']['console_scripts'], sep='\\n'); "
            "exec(open('setup.py').read())")
    lines = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout.splitlines()
    assert {line.partition(' = ')[0] for line in lines} == {
        program.removeprefix('mbv2ssd_') if program != 'mbv2ssd_train' else program
        for program in PROGRAMS}
