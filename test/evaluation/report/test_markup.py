"""Nothing that comes from data can become markup."""

import pytest

from mbv2ssd_ros.evaluation.report.markup import element, joined, Markup


def test_text_and_attributes_are_escaped():
    assert element('b', '<script>&"\'', title='"><i>') == (
        '<b title="&quot;&gt;&lt;i&gt;">&lt;script&gt;&amp;&quot;&#x27;</b>')


def test_markup_is_not_escaped_again():
    assert element('p', element('b', 'a < b'), ' & ') == '<p><b>a &lt; b</b> &amp; </p>'


def test_children_in_lists_are_taken_apart_and_none_left_out():
    assert element('p', ['a', None, [Markup('<br>'), 1]], 2.5) == '<p>a<br>12.5</p>'
    assert joined(part for part in ('<', Markup('<'))) == '&lt;<'


def test_attributes_true_false_and_none():
    assert element('p', hidden=True, title=None, open=False) == '<p hidden></p>'


@pytest.mark.parametrize(('given', 'written'), [
    ('class_', 'class'), ('data_label', 'data-label'), ('viewBox', 'viewBox')])
def test_names_of_attributes(given, written):
    assert element('p', **{given: 0}) == f'<p {written}="0"></p>'


def test_elements_without_content_have_no_end():
    assert element('img', src='a') == '<img src="a">'
