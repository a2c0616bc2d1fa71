"""The doctor's probes on machines made of files, and the whole of it on this one."""

import dataclasses
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
import types

import pytest

from helpers.needs import need
from helpers.paths import DOUBLES, ROOT
from helpers.tiny_model import add_self_test, CONTRACT, write_tiny_model
from mbv2ssd_ros.ros import shared_memory as fast_dds_files
from mbv2ssd_ros.tools import doctor
from mbv2ssd_ros.tools.checkup import (
    jetson,
    model_state,
    nvidia_state,
    processor_state,
    resources,
    software,
    transport,
)
from mbv2ssd_ros.tools.checkup.finding import (
    ERROR,
    examine,
    Finding,
    OK,
    SKIPPED,
    WARNING,
    worst,
)
from mbv2ssd_ros.tools.checkup.machine import Machine, run_program
from mbv2ssd_ros.tools.checkup.nvidia_state import NvidiaFacts
from mbv2ssd_ros.tools.checkup.shared_memory import shared_memory
from mbv2ssd_ros.tools.checkup.transport import profile, segment_bytes

CONFIG = ROOT / 'config'
ORIN = NvidiaFacts('10.3.0', '2026.1', 'driver for CUDA 12.6', 'Orin (SM 8.7, 8, 7 GiB)')
MEMINFO = 'MemTotal:        7802000 kB\nMemFree: 100 kB\nMemAvailable:    {} kB\n'
SEGMENT = 'fastrtps_2dc404f2fefdd75e'
MODES = ('< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n'
         '< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n')


def machine(root, environment=(), programs=None, **files):
    """Make a machine of files; __ stands for a slash, output of programs goes by their name."""
    for name, text in files.items():
        path = root / name.replace('__', '/')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(root, lambda command: (programs or {}).get(command[0]), dict(environment))


def only(findings):
    """Return the only finding."""
    found = list(findings)
    assert len(found) == 1, found
    return found[0]


# Findings ----------------------------------------------------------------------------------------

def test_a_probe_that_fails_is_a_line_after_what_it_found():
    def probe():
        yield Finding('a', OK, 'well')
        raise KeyError('two\nlines')
    found = examine('a', probe)
    assert [finding.level for finding in found] == [OK, WARNING]
    assert found[1].line().startswith("warning  a: could not be checked: KeyError: 'two")
    assert '\n' not in found[1].line()


@pytest.mark.parametrize(('end', 'text'), [
    (lambda: os._exit(102), 'ended with 102: exiting with 102'),
    (lambda: os.kill(os.getpid(), signal.SIGKILL), 'ended with -9: exiting with 102'),
    (lambda: sys.exit('no'), 'SystemExit: no'),
    (lambda: time.sleep(60), 'did not end within 0.5 s')])
def test_a_probe_that_ends_its_process_or_hangs_is_a_line(end, text):
    def probe():
        yield Finding('a', OK, 'well')
        os.write(2, b'first\nexiting with 102\n')
        end()
    found = examine('a', probe, timeout_s=0.5)
    assert [finding.level for finding in found] == [OK, WARNING]
    assert text in found[1].text


@pytest.mark.parametrize(('levels', 'expected'), [
    ([], OK), ([OK, SKIPPED], OK), ([OK, WARNING, SKIPPED], WARNING),
    ([ERROR, WARNING, OK], ERROR)])
def test_the_verdict_is_the_worst_level_and_what_was_left_out_is_no_fault(levels, expected):
    assert worst(Finding('x', level, '', 'step') for level in levels) == expected


# Software ----------------------------------------------------------------------------------------

@pytest.mark.parametrize(('version', 'level'), [
    ((3, 8, 10), ERROR), ((3, 10, 12), OK), ((3, 12, 3), OK)])
def test_python_from_3_10_on(version, level):
    found = only(software.python(version, '/usr/bin/python3'))
    assert found.level == level
    assert '.'.join(map(str, version)) in found.text and '/usr/bin/python3' in found.text


def test_a_library_that_breaks_while_it_is_imported_is_an_error_with_the_reason(monkeypatch):
    (old := types.ModuleType('numpy')).__version__ = '1.19.5'
    monkeypatch.setitem(sys.modules, 'numpy', old)
    assert '1.19.5, expected 1.21' in software.library('numpy', 'NumPy', 'x').text
    monkeypatch.setitem(sys.modules, 'cv2', None)
    found = software.library('cv2', 'OpenCV', 'apt install python3-opencv')
    assert found.level == ERROR and 'cv2' in found.text
    assert found.next_step == 'apt install python3-opencv'


def test_a_machine_without_ros_says_what_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    found = only(software.ros(machine(tmp_path)))
    assert found.level == SKIPPED and 'cameras and nodes are left out' in found.text


def test_ros_that_this_python_cannot_import_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    found = only(software.ros(machine(tmp_path, {'ROS_DISTRO': 'humble'})))
    assert found.level == ERROR
    assert 'humble is sourced, but rclpy cannot be imported by ' + sys.executable in found.text


@pytest.mark.parametrize(('number', 'level'), [
    ('', OK), ('101', OK), ('102', WARNING), ('214', WARNING), ('215', OK), ('233', ERROR),
    ('seven', ERROR)])
def test_a_domain_has_ports_of_its_own_or_is_told(tmp_path, number, level):
    found = only(software.domain(machine(tmp_path, {'ROS_DOMAIN_ID': number})))
    assert found.subject == 'ROS domain' and found.level == level
    assert f'ROS_DOMAIN_ID is {number or 0}' in found.text


@pytest.mark.parametrize(('variable', 'value', 'level', 'text'), [
    ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF', WARNING, 'no other node is heard'),
    ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST', OK, 'only this machine'),
    ('ROS_LOCALHOST_ONLY', '1', OK, 'only this machine')])
def test_how_far_discovery_reaches_is_told(tmp_path, variable, value, level, text):
    found = only(software.domain(machine(tmp_path, {variable: value})))
    assert found.level == level and text in found.text


# Jetson ------------------------------------------------------------------------------------------

def orin(root, **more):
    """Make an Orin Nano with JetPack 6.2."""
    files = {'etc__nv_tegra_release': '# R36 (release), REVISION: 4.7, GCID: 1, BOARD: generic\n',
             'proc__device-tree__model': 'NVIDIA Jetson Orin Nano Developer Kit\0',
             'etc__nvpmodel.conf': MODES, **more.pop('files', {})}
    return machine(root, programs=more.pop('programs', {}), **files)


def test_a_jetson_names_its_board_and_versions(tmp_path):
    found = list(jetson.board(orin(tmp_path, programs={'dpkg-query': '6.2.1+b38\n'})))
    assert found[0].text == 'NVIDIA Jetson Orin Nano Developer Kit, Jetson Linux 36.4.7'
    assert (found[1].subject, found[1].text) == ('JetPack', '6.2.1+b38')


def test_the_package_tells_jetson_linux_where_the_file_is_missing(tmp_path):
    found = list(jetson.board(machine(
        tmp_path, programs={'dpkg-query': '36.4.4-2025'},
        **{'proc__device-tree__model': 'NVIDIA Jetson AGX Orin'})))
    assert found[0].text == 'NVIDIA Jetson AGX Orin, Jetson Linux 36.4.4-2025'


def test_another_machine_is_no_jetson_and_has_neither_mode_nor_clock(tmp_path):
    pc = machine(tmp_path)
    assert only(jetson.board(pc)).level == SKIPPED
    assert list(jetson.power(pc)) == list(jetson.clocks(pc)) == []


@pytest.mark.parametrize(('said', 'level', 'step'), [
    ('NV Power Mode: MAXN_SUPER\n2\n', OK, ''),
    ('NV Power Mode: 15W\n0\n', WARNING, 'sudo nvpmodel -m 2'),
    ('NVPM ERROR: no permission\n', SKIPPED, ''), (None, SKIPPED, '')])
def test_a_slow_power_mode_is_told_with_the_number_of_the_fast_one_on_this_board(
        tmp_path, said, level, step):
    found = only(jetson.power(orin(tmp_path, programs={'nvpmodel': said})))
    assert (found.level, found.next_step) == (level, step)


@pytest.mark.parametrize(('low', 'expected'), [
    ('306000000', '306 to 625 MHz, 306 now'), ('624750000', 'locked at 625 MHz')])
def test_the_gpu_clock_is_locked_when_its_limits_are_equal(tmp_path, low, expected):
    gpu = 'sys__class__devfreq__17000000.gpu__'
    found = only(jetson.clocks(orin(tmp_path, files={
        f'{gpu}min_freq': low, f'{gpu}cur_freq': low, f'{gpu}max_freq': '624750000\n'})))
    assert found.level == OK and expected in found.text


# Resources ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(('free_mib', 'level'), [
    (250, ERROR), (600, WARNING), (4000, OK)])
def test_memory_must_be_there_for_the_node_and_for_a_build(tmp_path, free_mib, level):
    found = only(resources.memory(machine(
        tmp_path, proc__meminfo=MEMINFO.format(1024 * free_mib))))
    assert found.level == level and found.text.startswith(f'{free_mib} MiB of 7619 MiB')


def test_memory_is_left_out_where_the_kernel_does_not_tell(tmp_path):
    assert only(resources.memory(machine(tmp_path))).level == SKIPPED


@pytest.mark.parametrize(('free_mib', 'level'), [(20, ERROR), (100, WARNING), (900, OK)])
def test_a_folder_that_does_not_exist_yet_is_on_the_disk_of_its_parent(
        tmp_path, monkeypatch, free_mib, level):
    asked = []
    monkeypatch.setattr(resources.shutil, 'disk_usage', lambda path: asked.append(path) or (
        types.SimpleNamespace(free=free_mib * 2 ** 20)))
    found = only(resources.disk('engines', tmp_path / 'not' / 'there'))
    assert found.level == level and asked == [tmp_path]
    assert f'{free_mib} MiB' in found.text


def test_a_receive_buffer_smaller_than_an_image_is_told_with_a_size_that_fits(tmp_path):
    pc = machine(tmp_path, **{'proc__sys__net__core__rmem_max': '212992\n'})
    assert only(resources.receive_buffer(pc)).level == OK
    found = only(resources.receive_buffer(pc, 640 * 480 * 3))
    assert found.level == WARNING and '212992 bytes are less than' in found.text
    assert found.next_step == 'sudo sysctl -w net.core.rmem_max=2097152'  # 2 x 921600, rounded


# Shared memory -----------------------------------------------------------------------------------

@pytest.fixture
def shm(tmp_path, monkeypatch):
    """Take a folder for /dev/shm; returns what writes files into it."""
    monkeypatch.setattr(fast_dds_files, 'FOLDER', tmp_path)

    def write(*names):
        for name in names:
            (tmp_path / name).write_bytes(b'x' * 2 ** 21 if name == SEGMENT else b'x')
        return tmp_path
    return write


def test_files_that_no_process_has_are_left_over_and_named(shm):
    shm(SEGMENT, f'{SEGMENT}_el', 'fastdds_port7', 'fastdds_12ab', 'somebody_elses')
    found = only(shared_memory())
    assert found.level == WARNING and '4 files in /dev/shm with 2 MB'.replace(
        '/dev/shm', str(fast_dds_files.FOLDER)) in found.text
    assert found.details == ('fastdds_12ab', 'fastdds_port7', SEGMENT, f'{SEGMENT}_el')
    assert 'and 1 more' in found.text and 'clean_shared_memory' in found.next_step


def test_ports_and_locks_alone_are_named_but_no_fault(shm):
    shm('fastrtps_port7411', 'fastrtps_port7411_el')
    found = only(shared_memory())
    assert found.level == OK and found.details == ('fastrtps_port7411', 'fastrtps_port7411_el')


def test_what_has_an_owner_is_of_a_running_node(shm):
    folder = shm(SEGMENT, f'{SEGMENT}_el')
    with (folder / f'{SEGMENT}_el').open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = only(shared_memory())
    assert found.level == OK and 'has 2 files of running nodes and none' in found.text


# Transport ---------------------------------------------------------------------------------------

def test_the_shipped_profile_takes_64_mib_and_is_not_for_the_detector():
    path = CONFIG / 'fastdds_large_images.xml'
    assert segment_bytes(path) == 2 ** 26
    pc = Machine(environment={'FASTRTPS_DEFAULT_PROFILES_FILE': str(path)})
    found = only(profile(pc, 'rmw_fastrtps_cpp'))
    assert found.level == OK and '67 MB' in found.text and 'not for the detector' in found.text


def test_a_profile_that_does_not_fit_into_dockers_shared_memory_is_an_error(monkeypatch):
    monkeypatch.setattr(transport, 'room_bytes', lambda: 2 ** 26)  # docker's default
    path = CONFIG / 'fastdds_large_images.xml'
    found = only(profile(Machine(environment={'FASTRTPS_DEFAULT_PROFILES_FILE': str(path)}), ''))
    assert found.level == ERROR and 'asks for 67 MB of shared memory, /dev/shm has 67 MB' in (
        found.text)
    assert '--shm-size' in found.next_step


@pytest.mark.parametrize(('content', 'level', 'text'), [
    (None, WARNING, 'cannot be read (No such file or directory)'),
    ('<dds><profiles>', ERROR, 'is not a profile'),
    ('<dds><segment_size>many</segment_size></dds>', ERROR, 'is not a profile'),
    ('<dds/>', OK, 'without a large segment')])
def test_a_profile_that_fast_dds_would_silently_not_use_is_told(tmp_path, content, level, text):
    path = tmp_path / 'mine.xml'
    if content is not None:
        path.write_text(content)
    environment = {'FASTDDS_DEFAULT_PROFILES_FILE': str(path)}
    found = only(profile(Machine(environment=environment), ''))
    assert found.level == level and text in found.text and str(path) in found.text


def test_the_variable_that_fast_dds_2_does_not_read_is_told(tmp_path):
    (tmp_path / 'libfastrtps.so.2.14').touch()
    found = only(profile(Machine(environment={
        'LD_LIBRARY_PATH': str(tmp_path), 'FASTDDS_DEFAULT_PROFILES_FILE': 'mine.xml'}), ''))
    assert found.level == WARNING
    assert 'FASTDDS_DEFAULT_PROFILES_FILE=mine.xml is not read by Fast DDS 2' in found.text
    assert 'FASTRTPS_DEFAULT_PROFILES_FILE' in found.next_step


def test_another_middleware_has_no_profile():
    found = only(profile(Machine(environment={}), 'rmw_cyclonedds_cpp'))
    assert found.level == SKIPPED and 'rmw_cyclonedds_cpp' in found.text


# Processor ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(('name', 'saturates', 'expected'), [
    ('EPYC, x86-64 with AVX512-VNNI', False, ['VNNI, 2 threads', 'do not saturate here']),
    ('Celeron, x86-64 with AVX2, without VNNI', True,
     ['without VNNI, 2 threads; INT8 gains less without it', 'saturate here. Files of this']),
    ('aarch64 without dot products', False,
     ['aarch64 without dot products, 2 threads; INT8 gains less', 'do not saturate here'])])
def test_a_processor_is_told_with_what_it_lacks_and_what_that_means(
        monkeypatch, name, saturates, expected):
    monkeypatch.setattr('mbv2ssd_ros.core.processor.describe_processor', lambda: name)
    monkeypatch.setattr('mbv2ssd_ros.backends.saturation.kernels_saturate', lambda: saturates)
    monkeypatch.setattr(processor_state.os, 'cpu_count', lambda: 2)
    found = list(processor_state.processor())
    assert [finding.level for finding in found] == [OK, OK]
    for finding, text in zip(found, expected, strict=True):
        assert text in finding.text


def test_the_shipped_models_are_ranked_by_their_time_here_without_those_for_tensorrt():
    found = only(processor_state.fastest(budget_s=0.2))
    times = [float(line.split()[1]) for line in found.details]
    assert times == sorted(times) and times[0] > 0
    assert {line.split()[0] for line in found.details} == {
        'mbv2_ssdlite_voc', 'mbv2_ssdlite_voc_int8_cpu', 'mbv2_ssdlite_320_voc',
        'mbv2_ssdlite_320_voc_int8_cpu', 'ssdlite_mobilenet_v2_coco',
        'ssdlite_mobilenet_v2_coco_int8_cpu'}
    assert f'fastest here is {found.details[0]}, {found.details[1]}' in found.text


def test_models_that_are_not_installed_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr('mbv2ssd_ros.shipped.share_folders', lambda: [tmp_path])
    found = only(processor_state.fastest())
    assert found.level == SKIPPED and 'models of the package is not installed' in found.text


# Model and engines -------------------------------------------------------------------------------

def test_a_model_is_described_by_its_contract_and_told_to_get_a_self_test(tmp_path):
    path = write_tiny_model(tmp_path / 'tiny.onnx')
    described, proof = model_state.model(str(path))
    assert described.level == OK and 'fp32, 48x32, 2 classes, none = 0' in described.text
    assert (proof.subject, proof.level, proof.text) == ('self-test', SKIPPED, 'the model has none')
    assert f'mbv2ssd_train self-test --model {path}' in proof.next_step


def test_the_margin_of_the_self_test_is_told(tmp_path):
    path = add_self_test(write_tiny_model(tmp_path / 'tiny.onnx'))
    _, found = model_state.model(str(path))
    assert (found.subject, found.level) == ('self-test', OK)
    assert re.match(r'passed here with [\d.e-]+ % of what fp32 allows \(.* of 0.0', found.text)


def test_integers_that_are_computed_exactly_but_slowly_are_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr('mbv2ssd_ros.backends.ort.kernels_saturate', lambda: True)
    path = write_tiny_model(tmp_path / 'tiny.onnx', dataclasses.replace(
        CONTRACT, precision='int8'))
    levels = {finding.level: finding for finding in model_state.model(str(path))}
    assert list(levels) == [OK, WARNING, SKIPPED]
    assert 'x64quantprecision' in levels[WARNING].text


@pytest.mark.parametrize('content', [None, b'words'])
def test_a_model_that_cannot_be_used_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / 'mine.onnx'
    if content:
        path.write_bytes(content)
    found = only(model_state.model(str(path)))
    assert found.level == ERROR and str(path) in found.text


def test_no_engine_is_needed_without_a_gpu_and_one_should_be_built_with_it(tmp_path):
    model = write_tiny_model(tmp_path / 'tiny.onnx')
    cache = tmp_path / 'engines'
    assert only(model_state.engine_cache(str(cache), str(model), NvidiaFacts())).level == SKIPPED
    found = only(model_state.engine_cache(str(cache), str(model), ORIN))
    assert found.level == WARNING and 'build_engine' in found.next_step
    assert not cache.exists()


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Build an engine on the doubles; return the model and the cache folder."""
    model = write_tiny_model(tmp_path / 'tiny.onnx')
    cache = tmp_path / 'engines'
    subprocess.run(
        [sys.executable, '-m', 'mbv2ssd_ros.tools.build_engine', '--model', str(model),
         '--engine-cache-dir', str(cache), '--build-only', '--batch', '2'], check=True,
        cwd=CONFIG.parent, env={**os.environ, 'PYTHONPATH': f'{DOUBLES}:{CONFIG.parent}'},
        capture_output=True)
    return model, cache


def test_an_engine_of_this_model_and_tensorrt_is_found_and_one_of_another_is_not(built):
    model, cache = built
    found = only(model_state.engine_cache(str(cache), str(model), ORIN))
    assert found.level == OK and re.match(r'tiny\.\w{16}\.engine in .*2 cameras', found.text)
    newer = NvidiaFacts('10.13.3', gpu='Orin')
    found = only(model_state.engine_cache(str(cache), str(model), newer))
    assert found.level == WARNING and 'has 1 engines, none of this model' in found.text


def test_a_truncated_engine_and_one_put_aside_are_told(built):
    model, cache = built
    engine = next(cache.glob('*.engine'))
    engine.write_bytes(engine.read_bytes()[:10])
    (cache / 'old.engine.quarantined').touch()
    found = list(model_state.engine_cache(str(cache), str(model), ORIN))
    assert [finding.level for finding in found] == [WARNING, WARNING]
    assert f'{engine.name} is damaged' in found[0].text and '1 files' in found[1].text


def test_engines_of_a_model_that_is_missing_are_not_looked_for(tmp_path):
    (tmp_path / 'engines').mkdir(mode=0o700)
    found = only(model_state.engine_cache(
        str(tmp_path / 'engines'), str(tmp_path / 'no.onnx'), ORIN))
    assert found.level == SKIPPED and 'the model cannot be read' in found.text


def test_a_cache_that_others_can_write_to_is_an_error(built):
    model, cache = built
    cache.chmod(0o777)
    found = only(model_state.engine_cache(str(cache), str(model), ORIN))
    assert found.level == ERROR and 'can be written by others (mode 0777)' in found.text


# GPU ---------------------------------------------------------------------------------------------

@pytest.fixture
def double(monkeypatch):
    """Put NVIDIA's libraries in reach as doubles; returns a function that sets their state."""
    need('onnx')
    monkeypatch.setattr(nvidia_state, 'FACTS_TIMEOUT_S', 60)  # a busy machine takes its time
    monkeypatch.syspath_prepend(str(DOUBLES))
    return lambda **state: monkeypatch.setenv('MBV2SSD_DOUBLE', json.dumps(state))


def test_tensorrt_and_gpu_are_described_by_another_process(double):
    facts = nvidia_state.nvidia_facts()
    assert (facts.tensorrt, facts.problem) == ('10.3.0', '')
    assert re.fullmatch(r'Orin \(SM 8.7, 8 multiprocessors, [78] GiB\)', facts.gpu)
    assert facts.cuda.startswith('driver for CUDA 12.6')
    assert 'tensorrt' not in sys.modules
    assert {finding.level for finding in nvidia_state.libraries(facts)} == {OK}


def test_a_gpu_that_cannot_be_used_is_an_error_with_the_reason(double):
    double(devices=0)
    found = list(nvidia_state.libraries(nvidia_state.nvidia_facts()))
    assert [(finding.subject, finding.level) for finding in found] == [
        ('TensorRT', OK), ('pycuda', OK), ('GPU', ERROR)]
    assert 'CUDA sees no GPU' in found[-1].text


def test_a_library_that_crashes_is_a_line_and_not_our_end(tmp_path, monkeypatch):
    (tmp_path / 'tensorrt.py').write_text('import os; os.kill(os.getpid(), 11)')
    monkeypatch.syspath_prepend(str(tmp_path))
    found = list(nvidia_state.libraries(nvidia_state.nvidia_facts()))
    assert found[-1].level == ERROR and 'was killed by signal 11' in found[-1].text


def test_a_library_that_hangs_is_a_line(tmp_path, monkeypatch):
    (tmp_path / 'tensorrt.py').write_text('import time; time.sleep(60)')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(nvidia_state, 'FACTS_TIMEOUT_S', 0.5)
    assert 'did not answer within 0.5 s' in nvidia_state.nvidia_facts().problem


def test_that_tensorrt_supports_the_gpu_is_tried(double):
    found = only(nvidia_state.support(ORIN, timeout_s=60))
    assert (found.level, found.text) == (
        OK, 'TensorRT 10.3.0 and Orin: a network was built')


@pytest.mark.parametrize(('build', 'timeout_s', 'level', 'text'), [
    ('refuse', 30, ERROR, 'no engine was built'),
    ('crash', 30, ERROR, 'killed by signal'),
    ('hang', 1.5, WARNING, 'not built within 1.5 s')])
def test_a_tensorrt_that_does_not_build_for_the_gpu_is_told(double, build, timeout_s, level, text):
    double(build=build)
    found = only(nvidia_state.support(ORIN, timeout_s=timeout_s))
    assert found.level == level and text in found.text


def test_nothing_is_tried_without_a_gpu():
    assert list(nvidia_state.support(NvidiaFacts(tensorrt='10.3.0'))) == []


# The program -------------------------------------------------------------------------------------

def test_without_ros_it_looks_at_the_rest_and_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    code = doctor.main(['--quick', '--json', str(tmp_path / 'out.json')])
    report = json.loads((tmp_path / 'out.json').read_text())
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == len(report['findings']) + 1
    subjects = [finding['subject'] for finding in report['findings']]
    assert {'Python', 'NumPy', 'ONNX Runtime', 'processor', 'INT8 kernels', 'ROS 2', 'memory',
            'model', 'self-test', 'receive buffer'} <= set(subjects)
    assert sum(report['counts'].values()) == len(subjects)
    assert code == (1 if report['verdict'] == 'error' else 0)


def test_json_alone_is_all_that_is_printed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    doctor.main(['--quick', '--json'])
    assert json.loads(capsys.readouterr().out)['verdict'] in (OK, WARNING, ERROR)


@pytest.mark.parametrize(('level', 'options', 'code'), [
    (OK, [], 0), (SKIPPED, ['--strict'], 0), (WARNING, [], 0), (WARNING, ['--strict'], 1),
    (ERROR, [], 1)])
def test_the_exit_code_tells_errors_and_warnings_when_strict(monkeypatch, level, options, code):
    monkeypatch.setattr(doctor, 'examination',
                        lambda args, machine: [Finding('x', level, 'y', 'z')])
    assert doctor.main(options) == code


def test_a_probe_that_breaks_does_not_end_the_others(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'rclpy', None)

    def broken(machine):
        raise OSError('no such luck')
    monkeypatch.setattr(resources, 'memory', broken)
    doctor.main(['--quick'])
    shown = capsys.readouterr().out
    assert 'warning  memory: could not be checked: OSError: no such luck' in shown
    assert 'shared memory:' in shown


def test_a_parameter_file_that_cannot_be_read_is_an_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    assert doctor.main(['--quick', '--params-file', str(tmp_path / 'none.yaml')]) == 1
    assert f'error    parameter file: {tmp_path}/none.yaml: cannot be read' in (
        capsys.readouterr().out)


def test_the_model_of_the_parameter_file_is_looked_at(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    model = write_tiny_model(tmp_path / 'mine.onnx')
    (tmp_path / 'p.yaml').write_text(
        f'/**:\n  ros__parameters:\n    model_path: {model}\n')
    doctor.main(['--quick', '--params-file', str(tmp_path / 'p.yaml')])
    assert f'ok       model: {model}' in capsys.readouterr().out


def test_a_program_that_is_missing_fails_or_hangs_says_nothing(monkeypatch):
    monkeypatch.setattr('mbv2ssd_ros.tools.checkup.machine.PROGRAM_TIMEOUT_S', 0.2)
    assert run_program(['/no/such/program']) is None
    assert run_program([sys.executable, '-c', 'raise SystemExit(3)']) is None
    assert run_program([sys.executable, '-c', 'import time; time.sleep(9)']) is None


def test_nothing_of_ros_or_numpy_is_imported_before_it_runs():
    found = subprocess.run(
        [sys.executable, '-c', 'import sys, mbv2ssd_ros.tools.doctor\n'
         'print(*{"numpy", "cv2", "onnxruntime", "rclpy", "yaml"} & set(sys.modules))'],
        capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ''
