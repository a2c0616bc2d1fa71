"""Warnings that repeat."""

from mbv2ssd_ros.ros.throttle import ThrottledLog


def test_one_of_a_kind_in_a_period():
    said = []
    warn = ThrottledLog(said.append, period_s=60)
    for kind, message in (('a', 'first'), ('a', 'second'), ('b', 'third')):
        warn(kind, message)
    assert said == ['first', 'third']


def test_what_was_left_out_is_counted():
    said = []
    warn = ThrottledLog(said.append, period_s=60)
    for message in ('first', 'second', 'third'):
        warn('a', message)
    warn._silent_until['a'] = 0.0  # the period is over
    warn('a', 'fourth')
    warn._silent_until['a'] = 0.0
    warn('a', 'fifth')
    assert said == ['first', 'fourth (2 more like this since)', 'fifth']
