"""The parameter file for several cameras says nothing that is not so."""


import pytest
import yaml

from helpers.paths import ROOT
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.ros.parameters import (
    camera_parameters,
    DetectorParams,
    NODE_PARAMETERS,
)

CONFIG = ROOT / 'config'


def flat(tree, prefix=''):
    """Return full name -> value."""
    values = {}
    for name, value in tree.items():
        values.update(flat(value, f'{prefix}{name}.') if isinstance(value, dict)
                      else {prefix + name: value})
    return values


@pytest.fixture
def values():
    """Read the file as the node would."""
    text = (CONFIG / 'multi_camera.yaml').read_text()
    return flat(yaml.safe_load(text)['/**']['ros__parameters'])


def specs(values):
    """Return the specs of the node and of the cameras it names."""
    found = dict(NODE_PARAMETERS)
    for name in values['cameras']:
        found.update(camera_parameters(name, values[f'{name}.transport']))
    return found


def test_every_parameter_is_one_of_the_node_with_its_type(values):
    known = specs(values)
    assert [name for name in values if name not in known] == []
    assert [name for name, value in values.items()
            if type(value) is not type(known[name].default)] == []


def test_together_they_are_two_cameras_one_of_each_transport(values):
    every = {**{name: spec.default for name, spec in specs(values).items()}, **values}
    cameras = DetectorParams.from_values(every).cameras
    assert [(camera.name, camera.transport, camera.image_topic) for camera in cameras] == [
        ('front', 'raw', 'front/image_raw'), ('rear', 'compressed', 'rear/image_raw/compressed')]


def test_the_check_can_fail(values):
    every = {**{name: spec.default for name, spec in specs(values).items()}, **values}
    with pytest.raises(ConfigError, match='rear.transport'):
        DetectorParams.from_values({**every, 'rear.transport': 'smoke'})
