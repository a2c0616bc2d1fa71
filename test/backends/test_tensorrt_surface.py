"""
What we use of TensorRT, and our double, against the names of NVIDIA's own bindings.

tensorrt_surface.json is the snapshot; MBV2SSD_TENSORRT_WHEELS=<folder with the wheels> takes it
again and compares. Wheels of cuda-bindings in that folder are compared, too.
"""

import ast
import inspect
import json
import os
from pathlib import Path
import re
import subprocess
import sys
import zipfile

import pytest

from helpers import tensorrt_surface
from helpers.paths import ROOT

SNAPSHOT = json.loads(tensorrt_surface.SNAPSHOT.read_text(encoding='utf-8'))
BACKENDS = ROOT / 'mbv2ssd_ros' / 'backends'
# What the code asks for before it uses it, by version where it is absent.
GUARDED = {
    '8.6': {'IProgressMonitor'},
    '10.3': set(), '10.16': set(),
    '11.4': {'BuilderFlag.FP16', 'BuilderFlag.INT8', 'BuilderFlag.OBEY_PRECISION_CONSTRAINTS'},
}
NOT_IN_THE_DOUBLE = {  # what has a default and is never given
    'ICudaEngine.create_execution_context': {
        version: ['strategy'] for version in ('10.3', '10.16', '11.4')},
}

GRAPH_CALLS = {  # what we use of cuda.bindings.driver
    'cuGraphDestroy': ['hGraph'], 'cuGraphExecDestroy': ['hGraphExec'],
    'cuGraphInstantiate': ['hGraph', 'flags'], 'cuGraphLaunch': ['hGraphExec', 'hStream'],
    'cuStreamBeginCapture': ['hStream', 'mode'], 'cuStreamEndCapture': ['hStream']}
GRAPH_DUMP = '''
import inspect, json, sys
sys.path.insert(0, sys.argv[1])
import cuda.bindings.driver as driver
driver.CUstream(1)
driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, driver.CUresult.CUDA_SUCCESS
print(json.dumps({name: list(inspect.signature(getattr(driver, name)).parameters)
                  for name in sys.argv[2:]}))
'''


def used_names():
    """Return what the backend's source reads of `trt`: 'Builder', 'BuilderFlag.TF32', ..."""
    found = set()
    for path in BACKENDS.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Attribute):
                text = ast.unparse(node)
                if match := re.search(r'\btrt\.([A-Z]\w*(?:\.[A-Z]\w*)?)$', text):
                    found.add(match[1])
    return found


def has(version, name):
    """Tell whether a version has a class, or a member of one."""
    kind, _, member = name.partition('.')
    surface = SNAPSHOT[version]
    return kind in surface['module'] and (not member or member in surface.get(kind, {}))


def test_the_backend_uses_something():
    assert len(used_names()) > 20 and 'BuilderFlag.TF32' in used_names()


@pytest.mark.parametrize('version', SNAPSHOT)
def test_every_version_has_what_we_use_but_for_what_we_guard(version):
    assert {name for name in used_names() if not has(version, name)} == GUARDED[version]


@pytest.mark.parametrize(('name', 'versions'), [
    ('EXPLICIT_BATCH', {'8.6', '10.3', '10.16'}), ('STRONGLY_TYPED', {'10.3', '10.16', '11.4'})])
def test_the_kinds_of_network_differ_as_we_believe(name, versions):
    assert {version for version, surface in SNAPSHOT.items()
            if name in surface['NetworkDefinitionCreationFlag']} == versions


def test_only_8_6_has_no_progress():
    assert [version for version, surface in SNAPSHOT.items()
            if 'progress_monitor' not in surface['IBuilderConfig']] == ['8.6']


@pytest.mark.parametrize('version', SNAPSHOT)
def test_the_double_takes_the_parameters_of_the_real_binding(double, version):
    double(version=version)
    import tensorrt
    compared = 0
    for name, members in SNAPSHOT[version].items():
        kind = getattr(tensorrt, name, None)
        for member, function in vars(kind or object).items():
            if member.startswith('_') or not inspect.isfunction(function):
                continue
            if member not in members:
                continue  # hidden by the double, as the next test shows
            found = [parameter for parameter in inspect.signature(function).parameters
                     if parameter != 'self']
            found += NOT_IN_THE_DOUBLE.get(f'{name}.{member}', {}).get(version, [])
            assert found in members[member], f'{name}.{member}'
            compared += 1
    assert compared > 30


@pytest.mark.parametrize(('version', 'kind', 'name'), [
    ('8.6', 'IBuilderConfig', 'progress_monitor'), ('11.4', 'ILayer', 'precision'),
    ('11.4', 'ILayer', 'set_output_type')])
def test_the_double_hides_what_the_version_lacks(double, version, kind, name):
    double(version=version)
    import tensorrt
    thing = object.__new__(getattr(tensorrt, kind))
    assert not hasattr(thing, name)
    with pytest.raises(AttributeError, match=name):
        setattr(thing, name, None)


def test_the_double_has_no_class_that_the_version_lacks(double):
    double(version='8.6')
    import tensorrt
    assert not hasattr(tensorrt, 'IProgressMonitor') and hasattr(tensorrt, 'Builder')


def test_the_double_of_cuda_python_takes_the_parameters_that_we_use(double):
    double(graphs=True)
    import cuda.bindings.driver as driver
    assert {name: list(inspect.signature(getattr(driver, name)).parameters)
            for name in dir(driver) if name.startswith(('cuGraph', 'cuStream'))} == GRAPH_CALLS


@pytest.fixture
def wheels():
    """Return the folder of NVIDIA's wheels."""
    folder = os.environ.get('MBV2SSD_TENSORRT_WHEELS')
    if folder is None:
        pytest.skip('needs the wheels of tensorrt_surface.VERSIONS in MBV2SSD_TENSORRT_WHEELS')
    return Path(folder)


def test_every_cuda_python_takes_the_parameters_that_we_use(wheels, tmp_path):
    found = list(wheels.rglob('cuda_bindings-*.whl'))
    if not found:
        pytest.skip('needs wheels of cuda-bindings in MBV2SSD_TENSORRT_WHEELS')
    for wheel in found:
        zipfile.ZipFile(wheel).extractall(tmp_path / wheel.stem)
        printed = subprocess.run(
            [sys.executable, '-c', GRAPH_DUMP, str(tmp_path / wheel.stem), *GRAPH_CALLS],
            check=True, capture_output=True, text=True).stdout
        assert json.loads(printed) == GRAPH_CALLS, wheel.name


def test_the_snapshot_is_that_of_the_wheels(wheels):
    text = tensorrt_surface.as_text(tensorrt_surface.take_snapshot(wheels))
    assert json.loads(text) == SNAPSHOT
