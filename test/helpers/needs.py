"""Tests of what is not installed are skipped, counted by folder, and say what they need."""

from importlib import import_module
import os

import pytest

_ROS = 'ROS 2'
_LAUNCH = 'ROS 2, on no package registry'

# What a robot, or a trainer, may do without, and where it comes from. numpy, OpenCV and PyYAML
# they may not.
COMES_WITH = {
    **dict.fromkeys(('onnxruntime', 'simplejpeg'), 'what the package requires'),
    **dict.fromkeys(('torch', 'fsspec', 'onnx', 'onnxscript', 'pydantic', 'rich', 'safetensors',
                     'tensorboard'), 'the extra `train`'),
    'faster_coco_eval': 'the extra `eval`',
    **dict.fromkeys(('matplotlib', 'PIL'), 'the extra `plot`'),
    **dict.fromkeys(('mcap', 'rosbags'), 'the extra `bags`'),
    'distributed': 'the extra `cluster`',
    **dict.fromkeys(('hypothesis', 'pycocotools', 'rosbags.image'), 'the extra `dev`'),
    **dict.fromkeys(('ament_index_python', 'diagnostic_msgs', 'lifecycle_msgs', 'rcl_interfaces',
                     'rclpy', 'rosgraph_msgs', 'sensor_msgs', 'std_msgs', 'vision_msgs'), _ROS),
    'mbv2ssd_msgs': 'the folder msg',
    **dict.fromkeys(('launch', 'launch_pytest', 'launch_ros'), _LAUNCH),
}


class Missing(pytest.skip.Exception):
    """Something is not installed."""


def need(name):
    """Import a module; skip the test where it, or what it imports, is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as err:
        raise_missing(err)


def raise_missing(err):
    """Skip for an import that failed, unless of something that everybody has."""
    top = (err.name or '').partition('.')[0]
    name = err.name if err.name in COMES_WITH else top
    if name not in COMES_WITH:
        raise err
    raise Missing(f'needs {name} ({COMES_WITH[name]})')


class TestFile(pytest.Module):
    """A file of tests; one skipped test stands for all where an import of it is not there."""

    __test__ = False

    def collect(self):
        """List the tests."""
        try:
            return super().collect()
        except self.CollectError as err:
            # without a path: only a folder of that name, as launch/ is not ROS's launch
            cause = err.__cause__
            if not isinstance(cause, ImportError) or cause.path is not None:
                raise
            try:
                raise_missing(err.__cause__)
            except Missing as missing:
                return [Skipped.from_parent(self, name='not_imported', missing=missing)]


class Skipped(pytest.Item):
    """Stands for the tests of a file that cannot be imported."""

    def __init__(self, *, missing, **kwargs):
        """Note what is missing."""
        super().__init__(**kwargs)
        self._missing = missing

    def runtest(self):
        """Say so."""
        raise self._missing


def skip_without_needs(item):
    """Skip a test that is marked as in need of something that is not there."""
    for marker in item.iter_markers('needs'):
        for name in marker.args:
            need(name)


def count_by_folder(item, call, report):
    """Give all tests of a folder that lack the same one line of pytest's summary."""
    if call.excinfo is not None and isinstance(call.excinfo.value, Missing):
        folder = os.path.dirname(item.fspath)
        report.longrepr = (folder, None, f'Skipped: {call.excinfo.value.msg}')
