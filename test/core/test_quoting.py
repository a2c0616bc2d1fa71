"""Values in messages."""

import pytest

from mbv2ssd_ros.core.quoting import short

ENDLESS = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(('value', 'expected'), [
    (1, '1'), ('a', "'a'"), ([1, 'b'], "[1, 'b']"), (None, 'None'), (0.5, '0.5')])
def test_plain_values_are_shown_as_they_are(value, expected):
    assert short(value) == expected


HUGE = {
    'text': 'x' * 10_000, 'list': list(range(10_000)), 'integer': 10 ** 9999, 'endless': ENDLESS,
    'deep': {'a': {'b': {'c': {'d': {'e': 1}}}}}, 'wide': [[['y' * 100] * 9] * 9] * 9}


@pytest.mark.parametrize('name', HUGE)
def test_whatever_its_size_a_value_stays_short(name):
    assert 0 < len(short(HUGE[name])) <= 203
