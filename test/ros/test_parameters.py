"""Parameter values are checked together; the shipped file has them all."""


import pytest
import yaml

from helpers.paths import ROOT
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.ros.parameters import (
    camera_parameters,
    DetectorParams,
    is_live,
    NODE_PARAMETERS,
)

YAML_FILE = ROOT / 'config' / 'detector.yaml'


def values(cameras=('camera',), **changes):
    """Return the defaults with some values changed; __ stands for the dot."""
    found = {name: spec.default for name, spec in NODE_PARAMETERS.items()}
    found['cameras'] = list(cameras)
    for camera in cameras:
        found.update({n: s.default for n, s in camera_parameters(camera, 'raw').items()})
    found.update({name.replace('__', '.'): value for name, value in changes.items()})
    return found


def flat(tree, prefix=''):
    """Return nested parameters by their full names."""
    found = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found.update(flat(value, f'{prefix}{name}.'))
        else:
            found[prefix + name] = value
    return found


def test_the_parameter_file_has_every_parameter_with_its_default():
    tree = yaml.safe_load(YAML_FILE.read_text())
    assert flat(tree['/**']['ros__parameters']) == values()


@pytest.mark.parametrize('name', values())
def test_every_parameter_has_a_description(name):
    spec = {**NODE_PARAMETERS, **camera_parameters('camera', 'raw')}[name]
    assert spec.description.endswith('.')
    assert spec.descriptor().description == spec.description


def test_numbers_have_ranges():
    for name, spec in {**NODE_PARAMETERS, **camera_parameters('camera', 'raw')}.items():
        if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
            low, high = spec.allowed
            assert low <= spec.default <= high, name


def test_cameras_keep_their_order():
    params = DetectorParams.from_values(values(
        ['rear', 'front'], rear__max_rate_hz=5.0, front__max_rate_hz=10.0))
    assert [camera.name for camera in params.cameras] == ['rear', 'front']
    assert params.live.max_rates_hz == (5.0, 10.0)


def test_topics_follow_the_name_and_the_transport():
    specs = camera_parameters('front', 'compressed')
    assert specs['front.image_topic'].default == 'front/image_raw/compressed'
    assert specs['front.detections_topic'].default == 'front/detections'
    assert camera_parameters('front', 'raw')['front.image_topic'].default == 'front/image_raw'


def test_class_thresholds_are_pairs():
    params = DetectorParams.from_values(values(class_thresholds=['person:0.5', 'a:b:0.25']))
    assert params.live.detection.class_thresholds == (('person', 0.5), ('a:b', 0.25))


def test_the_engine_takes_as_many_images_together_as_there_are_cameras():
    assert DetectorParams.from_values(values(['front', 'rear'])).options.max_batch == 2


def test_options_of_the_engine_are_those_of_the_parameters():
    options = DetectorParams.from_values(values(
        precision='fp16', engine_cache_dir='/data/engines', ort_threads=3,
        providers=['CUDAExecutionProvider', 'CPUExecutionProvider'])).options
    assert (options.precision, options.trt.engine_cache_dir, options.ort.threads) == (
        'fp16', '/data/engines', 3)
    assert options.ort.providers == ('CUDAExecutionProvider', 'CPUExecutionProvider')


def test_no_names_allow_every_class():
    detection = DetectorParams.from_values(values(class_allow=[''])).live.detection
    assert (detection.class_allow, detection.class_thresholds) == (None, ())


@pytest.mark.parametrize(('changes', 'expected'), [
    ({'backend': 'abacus'}, "backend is 'abacus', expected one of auto"),
    ({'class_id': 'number'}, "class_id is 'number', expected one of name, index"),
    ({'precision': 'fp8'}, "precision is 'fp8', expected one of auto, fp32, fp16, int8"),
    ({'providers': ['']}, r'providers is \[\], expected at least one'),
    ({'providers': ['CPUExecutionProvider'] * 2}, 'expected at least one and none twice'),
    ({'camera__transport': 'pigeon'}, "camera.transport is 'pigeon', expected one of raw"),
    ({'camera__qos_reliability': 'most'}, "camera.qos_reliability is 'most', expected one of"),
    ({'score_threshold': 1.5}, 'score_threshold is 1.5, expected a number from 0 to 1'),
    ({'class_thresholds': ['person']}, "has 'person', expected 'class:threshold'"),
    ({'class_thresholds': ['0.5']}, "has '0.5', expected 'class:threshold'"),
    ({'class_thresholds': ['person:high']}, "has 'person:high', expected 'class:threshold'"),
    ({'class_thresholds': ['person:2']}, r'class_thresholds\[person\] is 2.0'),
    ({'class_thresholds': ['person:nan']}, r'class_thresholds\[person\] is nan'),
    ({'cameras': []}, 'cameras is empty'),
    ({'cameras': ['']}, 'cameras is empty'),
    ({'cameras': ['a', 'b', 'a']}, 'cameras names one twice: a, b, a'),
    ({'cameras': [f'c{k}' for k in range(9)]}, 'cameras has 9 names, one node serves at most 8'),
    ({'cameras': ['1st']}, "cameras has '1st'; a name is made of letters"),
    ({'cameras': ['a.b']}, "cameras has 'a.b'; a name is made of letters"),
])
def test_impossible_values_are_named(changes, expected):
    with pytest.raises(ConfigError, match=expected):
        DetectorParams.from_values(values(**changes))


@pytest.mark.parametrize(('name', 'live'), [
    ('score_threshold', True), ('front.max_rate_hz', True), ('use_sim_time', True),
    ('model_path', False), ('cameras', False), ('front.image_topic', False)])
def test_what_may_change_while_configured(name, live):
    assert is_live(name) == live
