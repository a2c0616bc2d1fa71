"""The self-test inside a model file: what is written is read, and nothing else is."""

import base64
import json

import cv2
import numpy as np
import pytest

from helpers.tiny_model import CONTRACT
from mbv2ssd_ros.core.errors import ContractError
from mbv2ssd_ros.core.output_summary import Difference
from mbv2ssd_ros.core.self_test import SelfTest

PRIORS, CLASSES, LEVELS = CONTRACT.num_priors, 2, 1
NOTHING = Difference(0, 0, 0, 0, 0, 0)
RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
            for height, width in ((20, 10), (9, 30))]


def model(images):
    """Say of every prior how red and how green the image is, and of one in which third of it."""
    means = images.reshape(len(images), 3, -1, 3).mean(axis=2) / 510  # (B, thirds, RGB)
    scores = np.zeros((len(images), PRIORS, 3), np.float32)
    scores[:, :, 1:] = means.mean(axis=1)[:, None, :2] + np.linspace(0, 0.1, PRIORS)[:, None]
    scores[:, :3, 1:] = means[..., :2]
    scores[..., 0] = 1 - scores[..., 1:].sum(axis=2)
    boxes = np.broadcast_to(means.reshape(len(images), 1, 9)[..., :4], (len(images), PRIORS, 4))
    return boxes.astype(np.float32), scores


MADE = SelfTest.of(PICTURES, model, CONTRACT)


def changed(case=0, answer=None, **values):
    """Return the JSON of the self-test with other values in a case and its answer."""
    found = json.loads(MADE.to_json())
    found['cases'][case].update(values)
    found['cases'][case]['answer'].update(answer or {})
    return json.dumps(found)


def without(key):
    """Return the JSON of the self-test without a key of its first answer."""
    found = json.loads(MADE.to_json())
    del found['cases'][0]['answer'][key]
    return json.dumps(found)


def read(text):
    """Read as from a file."""
    return SelfTest.from_json(text, CONTRACT, 'ssd.onnx')


def floats(*values):
    """Write numbers as a self-test has them."""
    return base64.b64encode(np.array(values, '<f4').tobytes()).decode()


# reading

def test_what_is_written_is_read():
    found = read(MADE.to_json())
    assert found.to_json() == MADE.to_json()
    for one, other in zip(found.cases, MADE.cases, strict=True):
        np.testing.assert_array_equal(one.picture, other.picture)
        for name, value in vars(other.answer).items():
            np.testing.assert_array_equal(getattr(one.answer, name), value)


UNREADABLE = [
    ('{', 'ssd.onnx: the self-test is not JSON'),
    ('[]', 'ssd.onnx: self-test is list, expected a JSON object'),
    ('{"schema_version": 2, "cases": []}',
     'ssd.onnx: self-test has schema version 2, this package reads version 1; renew it with '
     '`mbv2ssd_train self-test`'),
    ('{"schema_version": true, "cases": []}', 'schema version True'),
    ('{"schema_version": 1}', r"ssd.onnx: self-test lacks the keys \['cases'\]"),
    ('{"schema_version": 1, "cases": [], "more": 1}', r"unknown keys \['more'\]"),
    ('{"schema_version": 1, "cases": {}}', 'ssd.onnx: cases is {}, expected list'),
    ('{"schema_version": 1, "cases": []}', 'has no case, expected at least one'),
    ('{"schema_version": 1, "cases": [3]}', 'ssd.onnx: case 0 of the self-test is int'),
    (changed(more=1), r"case 0 of the self-test has unknown keys \['more'\]"),
    (changed(case=1, answer={'more': 1}),
     r"case 1 of the self-test: answer has unknown keys \['more'\]"),
    (without('highest'), r"answer lacks the keys \['highest'\]"),
    (changed(picture=1), 'case 0 of the self-test: picture is 1, expected str'),
    (changed(picture='*'), 'picture is not base64'),
    (changed(picture=''), 'picture cannot be read as an image'),
    (changed(picture='AAAA'), 'picture cannot be read as an image'),
    (changed(answer={'strongest': []}),
     r'strongest is \[\], expected different priors of 0 to 23'),
    (changed(answer={'strongest': [0, 24]}), r'strongest is \[0, 24\], expected different priors'),
    (changed(answer={'strongest': [1, 1]}), r'strongest is \[1, 1\], expected different priors'),
    (changed(answer={'strongest': [1.0]}), r'strongest is \[1.0\], expected a list of integers'),
    (changed(answer={'strongest': [1]}),
     'boxes has 384 bytes, expected 16 for 1 x 4 numbers'),
    (changed(answer={'highest': floats(0, 0, 0)}),
     'highest has 12 bytes, expected 8 for 2 numbers'),
    (changed(answer={'log_scores': floats(0)}), 'log_scores has 4 bytes, expected 8 for 1 x 2'),
    (changed(answer={'level_boxes': floats(0, 0, 0, float('nan'))}),
     'level_boxes has a number that is not finite'),
    (changed(answer={'scores': [1]}), r'scores is \[1\], expected str'),
]


@pytest.mark.parametrize(('text', 'message'), UNREADABLE, ids=[found for _, found in UNREADABLE])
def test_anything_else_is_refused_with_what_was_found_and_expected(text, message):
    with pytest.raises(ContractError, match=message) as raised:
        read(text)
    assert str(raised.value).startswith('ssd.onnx: ')


def test_nesting_without_end_is_refused():
    with pytest.raises(ContractError, match='is not JSON'):
        read('[' * 100_000)


# running

def test_the_model_it_was_made_with_differs_by_nothing():
    assert MADE.measure(model, CONTRACT) == NOTHING
    assert read(MADE.to_json()).measure(model, CONTRACT, (1, 2, 3)) == NOTHING


def test_pictures_are_resized_as_images_of_a_camera(monkeypatch):
    seen = []

    def look(images):
        seen.append(images[0].copy())
        return model(images)

    MADE.measure(look, CONTRACT)
    height, width = CONTRACT.input_size_hw
    for image, picture in zip(seen, PICTURES, strict=True):
        expected = cv2.resize(picture[..., ::-1], (width, height), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(image, expected)


def test_every_batch_size_is_run_and_each_picture_in_each():
    sizes = []

    def look(images):
        sizes.append((len(images), {image.tobytes() for image in images}))
        return model(images)

    MADE.measure(look, CONTRACT, (1, 2, 3))
    assert [size for size, _ in sizes] == [1, 1, 2, 3]
    assert len(sizes[0][1] | sizes[1][1]) == len(sizes[2][1]) == len(sizes[3][1]) == 2


@pytest.mark.parametrize('fault', [
    lambda images: model(images[..., ::-1]),
    lambda images: model(images[:, ::-1]),
    lambda images: tuple(output[::-1] for output in model(images)),
    lambda images: (model(images)[0], np.roll(model(images)[1], 1, axis=2)),
    lambda images: (model(images)[0], np.roll(model(images)[1], 1, axis=1)),
    lambda images: (model(images)[0] + np.float32(0.01), model(images)[1]),
], ids=['bgr', 'upside down', 'images of a batch', 'column', 'prior', 'boxes'])
def test_a_fault_makes_a_difference(fault):
    found = MADE.measure(fault, CONTRACT, (2,))
    assert max(found.box, found.score, found.highest) > 0.005
