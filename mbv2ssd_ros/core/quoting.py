"""Values from foreign files, shortened for error messages."""

from __future__ import annotations

import reprlib

_LONGEST = 200  # characters
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 120, 120


def short(value: object) -> str:
    """
    Show a value of any size in some two hundred characters at most.

    A YAML list can contain itself, or grow when it is written out.
    """
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python writes out no integer of thousands of digits
        return f'a {type(value).__name__} that is too large to show'
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'
