"""Values that strangers wrote, as messages show them."""

from __future__ import annotations

import reprlib

_LONGEST = 200  # characters
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 120, 120


def short(value: object) -> str:
    """
    Show a value in a message.

    Args:
        value: of any size; YAML can name a list in itself, or grow when it is written out.

    Returns:
        What it looks like, in some two hundred characters at most.
    """
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python writes out no integer of thousands of digits
        return f'a {type(value).__name__} that is too large to show'
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'
