"""Imports point downwards, and nothing imports more than it needs (DESIGN, section 3)."""

import ast
import json
import subprocess
import sys

import pytest

from helpers.needs import need
from helpers.paths import ROOT

# What each part of mbv2ssd_ros may import of the others; nothing of mbv2ssd_train.
BOOKKEEPING = {'frames', 'latency', 'rate_limit'}
BELOW = {
    'core': set(),
    'frames': set(),
    'latency': set(),
    'rate_limit': set(),
    'shipped': {'core'},
    'backends': {'core'},
    'detector': {'core', 'backends'},
    'tracking': {'core'},
    'scheduler': {'core', 'backends', *BOOKKEEPING},
    'evaluation': {'core', 'backends', 'detector', 'scheduler', *BOOKKEEPING},
    'ros': {'core', 'backends', 'detector', 'scheduler', 'shipped', 'tracking', *BOOKKEEPING},
    'tools': {'core', 'backends', 'detector', 'scheduler', 'shipped', 'tracking', *BOOKKEEPING,
              'evaluation', 'ros'},
}
# The detector and its evaluation too: training reports the mAP of the code that is deployed.
TRAIN_MAY_IMPORT = {'core', 'backends', 'detector', 'evaluation', 'shipped'}
MAY_IMPORT_ROS = {'ros', 'tools'}
# Imported by launch files only: needs ROS's launch packages, which are on no package registry.
FOR_LAUNCH_FILES = {'mbv2ssd_ros.ros.launching'}


def modules_of(package, root=ROOT):
    """Return {dotted name: path} of the modules below root/package; not __main__, it runs."""
    modules = {}
    for path in sorted((root / package).rglob('*.py')):
        if path.stem == '__main__':
            continue
        parts = path.relative_to(root).with_suffix('').parts
        modules['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return modules


def part_of(module):
    """Return 'train', or the part of mbv2ssd_ros that a module belongs to ('' for its root)."""
    package, _, rest = module.partition('.')
    return 'train' if package == 'mbv2ssd_train' else rest.partition('.')[0]


def imported_names(name, path):
    """Return every dotted name that a module's source imports, at any depth of its code."""
    package = name.split('.') if path.name == '__init__.py' else name.split('.')[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[:len(package) - node.level + 1] if node.level else []
            source = '.'.join([*above, *filter(None, [node.module])])
            # `from mbv2ssd_ros import detector` imports a module, not a name of one
            names.update(f'{source}.{alias.name}' for alias in node.names)
    return names


def violations(root=ROOT):
    """Return 'module imports name' for each import that points upwards or out of bounds."""
    found = []
    for name, path in {**modules_of('mbv2ssd_ros', root),
                       **modules_of('mbv2ssd_train', root)}.items():
        part = part_of(name)
        for target in sorted(imported_names(name, path)):
            if not allowed(part, target):
                found.append(f'{name} imports {target}')
    return found


def allowed(part, target):
    """Return whether code of a part may import a dotted name."""
    top = target.partition('.')[0]
    if top == 'rclpy' or top.endswith('_msgs'):
        return part in MAY_IMPORT_ROS
    if top == 'torch':
        return part == 'train'
    if top == 'mbv2ssd_train':
        return part == 'train'
    if top != 'mbv2ssd_ros':
        return True
    if part == 'train':
        return part_of(target) in TRAIN_MAY_IMPORT
    return part_of(target) in BELOW.get(part, set()) | {part}


def test_imports_point_downwards():
    assert violations() == []


@pytest.mark.parametrize(('path', 'source', 'expected'), [
    ('mbv2ssd_ros/core/nms.py', 'from mbv2ssd_ros.detector import Detector',
     'mbv2ssd_ros.core.nms imports mbv2ssd_ros.detector.Detector'),
    ('mbv2ssd_ros/core/nms.py', 'from mbv2ssd_ros import detector',
     'mbv2ssd_ros.core.nms imports mbv2ssd_ros.detector'),
    ('mbv2ssd_ros/backends/ort.py', 'from ..scheduler import Mailbox',
     'mbv2ssd_ros.backends.ort imports mbv2ssd_ros.scheduler.Mailbox'),
    ('mbv2ssd_ros/ros/__init__.py', 'from ..tools import benchmark',
     'mbv2ssd_ros.ros imports mbv2ssd_ros.tools.benchmark'),
    ('mbv2ssd_ros/detector.py', 'def later():\n    import rclpy.node',
     'mbv2ssd_ros.detector imports rclpy.node'),
    ('mbv2ssd_ros/core/image.py', 'from sensor_msgs.msg import Image',
     'mbv2ssd_ros.core.image imports sensor_msgs.msg.Image'),
    ('mbv2ssd_ros/helpers.py', 'from mbv2ssd_ros.core import nms',
     'mbv2ssd_ros.helpers imports mbv2ssd_ros.core.nms'),  # BELOW does not know this part
    ('mbv2ssd_ros/ros/node.py', 'import torch', 'mbv2ssd_ros.ros.node imports torch'),
    ('mbv2ssd_train/cli.py', 'import mbv2ssd_ros.ros.node',
     'mbv2ssd_train.cli imports mbv2ssd_ros.ros.node'),
    ('mbv2ssd_ros/core/contract.py', 'from mbv2ssd_train.config import Config',
     'mbv2ssd_ros.core.contract imports mbv2ssd_train.config.Config'),
])
def test_planted_violation_is_found(tmp_path, path, source, expected):
    planted = tmp_path / path
    planted.parent.mkdir(parents=True)
    planted.write_text(source, encoding='utf-8')
    assert violations(tmp_path) == [expected]


@pytest.mark.parametrize(('path', 'source'), [
    ('mbv2ssd_ros/core/nms.py', 'import numpy\nfrom . import boxes\nfrom .boxes import iou'),
    ('mbv2ssd_ros/tools/benchmark.py', 'import rclpy\nfrom ..ros import node'),
    ('mbv2ssd_train/export/parity.py', 'import torch\nfrom mbv2ssd_ros.backends import ort'),
])
def test_downward_import_is_allowed(tmp_path, path, source):
    planted = tmp_path / path
    planted.parent.mkdir(parents=True)
    planted.write_text(source, encoding='utf-8')
    assert violations(tmp_path) == []


# Imports the modules one after the other; prints which of them brought a forbidden package in.
IMPORT_AND_REPORT = '''
import importlib, json, sys
modules, forbidden = json.loads(sys.argv[1])
brought = {}
for module in modules:
    before = set(sys.modules)
    importlib.import_module(module)
    new = sorted((set(sys.modules) - before) & set(forbidden))
    if new:
        brought[module] = new
print(json.dumps(brought))
'''


def brought_in(modules, forbidden):
    """Import modules in one fresh interpreter; return {module: forbidden packages it loads}."""
    result = subprocess.run(
        [sys.executable, '-c', IMPORT_AND_REPORT, json.dumps([modules, forbidden])],
        cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_report_names_the_module_that_brings_a_package_in():
    assert brought_in(['json', 'xml.dom', 'wave'], ['xml', 'rclpy']) == {'xml.dom': ['xml']}


def test_detector_needs_neither_torch_nor_ros():
    assert brought_in(['mbv2ssd_ros.detector'], ['torch', 'rclpy']) == {}


def test_run_time_without_ros_imports_neither_torch_nor_rclpy():
    modules = [name for name in modules_of('mbv2ssd_ros')
               if part_of(name) not in MAY_IMPORT_ROS]
    assert brought_in(modules, ['torch', 'rclpy']) == {}


def test_node_and_tools_import_no_torch():
    for package in ('rclpy', 'vision_msgs'):
        need(package)
    modules = [name for name in modules_of('mbv2ssd_ros')
               if part_of(name) in MAY_IMPORT_ROS and name not in FOR_LAUNCH_FILES]
    assert brought_in(modules, ['torch']) == {}


@pytest.mark.parametrize('package', ['mbv2ssd_ros', 'mbv2ssd_train'])
def test_package_root_imports_os_only(package):
    assert imported_names(package, ROOT / package / '__init__.py') == {'os'}


def test_training_imports_no_rclpy():
    need('torch')
    assert brought_in(list(modules_of('mbv2ssd_train')), ['rclpy']) == {}
