"""Messages of foreign errors."""

import pytest

from mbv2ssd_ros.core.errors import one_line


@pytest.mark.parametrize(('err', 'expected'), [
    (ValueError('a\n  b\tc '), 'a b c'), (KeyError(), 'KeyError'), ('text\n', 'text')])
def test_a_message_in_one_line(err, expected):
    assert one_line(err) == expected
