"""The page around the sections: head, class filter, style and script, all in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from mbv2ssd_ros.evaluation.report.markup import element, joined, Markup

# no network access, even where the data contain markup
_POLICY = ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
           "script-src 'unsafe-inline'")


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading."""

    anchor: str  # id of the element
    title: str
    note: str | Markup  # how to read it, and which data it shows
    body: Markup


def page(title: str, heading: Markup, sections: Sequence[Section],
         class_names: Sequence[str]) -> str:
    """
    Return a page that needs no other file and no network; class_names are for the filter.

    What a section shows for class k only has the attributes `data-scope="k"` and `hidden`; what
    it shows for all classes together, `data-scope="0"`. Table rows, curves, boxes and pictures
    of classes have `data-label`, or `data-labels` for several.
    """
    head = element(
        'head', element('meta', charset='utf-8'),
        element('meta', name='viewport', content='width=device-width, initial-scale=1'),
        element('meta', http_equiv='Content-Security-Policy', content=_POLICY),
        element('meta', name='color-scheme', content='light dark'),
        element('title', title), element('style', _file('page.css')))
    body = element(
        'body', element('header', heading), _filter_bar(class_names, sections),
        element('main', [_section(section) for section in sections]),
        element('script', _file('page.js')))
    return '<!DOCTYPE html>\n' + element('html', head, body, lang='en') + '\n'


def _filter_bar(class_names: Sequence[str], sections: Sequence[Section]) -> Markup:
    options = [element('option', 'all classes', value='0'),
               *(element('option', name, value=label)
                 for label, name in enumerate(class_names, start=1))]
    chooser = element('label', element('span', 'Show '),
                      element('select', options, id='class-filter'), id='chooser', hidden=True)
    links = [element('a', section.title, href=f'#{section.anchor}') for section in sections]
    return element('nav', chooser, element('div', links, class_='links'))


def _section(section: Section) -> Markup:
    return element('section', element('h2', section.title),
                   element('p', section.note, class_='note') if section.note else None,
                   section.body, id=section.anchor)


def _file(name: str) -> Markup:
    return Markup(resources.files(__package__).joinpath(name).read_text(encoding='utf-8'))


def scoped(label: int, *children: Markup) -> Markup:
    """Wrap what is shown only while the class is selected, 0 being all together."""
    return element('div', joined(children), data_scope=label, hidden=label != 0)
