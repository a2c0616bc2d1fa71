"""Values from foreign files, shortened for error messages."""

from __future__ import annotations

import reprlib

_LONGEST = 200  # characters
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 120, 120


def short(value: object) -> str:
    """Show a value in about 200 characters at most: a YAML list can contain itself."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return f'a {type(value).__name__} that is too large to show'
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'
