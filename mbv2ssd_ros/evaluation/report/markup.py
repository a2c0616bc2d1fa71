"""HTML built from elements: all other text is escaped, so that no name can become markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_VOID = frozenset(('img', 'meta', 'wbr'))  # elements without content, of those used here


class Markup(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


Child = str | int | float | None | Iterable['Child']
Attribute = str | int | float | bool | None


def element(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """
    Build an element; all text but Markup is escaped, lists are flattened.

    A child of None is left out. An attribute of True has no value, None and False give none; in
    names _ becomes -, and a trailing _ avoids Python's keywords: class_.
    """
    parts = [f'<{name}']
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip('_').replace('_', '-')
        parts.append(f' {key}' if value is True else f' {key}="{escape(str(value))}"')
    parts.append('>')
    if name not in _VOID:
        parts += [joined(children), f'</{name}>']
    return Markup(''.join(parts))


def joined(children: Iterable[Child]) -> Markup:
    """Concatenate children, as `element` takes them."""
    return Markup(''.join(_text(child) for child in children))


def _text(child: Child) -> str:
    if child is None:
        return ''
    if isinstance(child, Markup):
        return child
    if isinstance(child, (str, int, float)):
        return escape(str(child))
    return joined(child)
