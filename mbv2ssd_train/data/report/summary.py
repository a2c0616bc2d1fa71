"""Many messages in few lines: those of one kind together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
import re

_SHOWN, _MANY = 3, 6
# what differs between messages of one kind: paths, quoted values, numbers
_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\S*/\S*|-?\d[\d.e+-]*|nan|inf")


def summed_up(messages: Sequence[str], title: str, of: int = 0) -> list[str]:
    """
    Return a line for each message, or three and a count where many are of one kind.

    of: the number of images, where it says how systematic a kind is.
    """
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for message in messages:
        kinds[_VARIES.sub('*', message)].append(message)
    lines = []
    for found in kinds.values():
        shown = found if len(found) < _MANY else found[:_SHOWN]
        lines += [f'{title}: {message}' for message in shown]
        if len(found) > len(shown):
            share = f', {len(found)} in {of} images' if of else ''
            lines.append(f'{title}: ... and {len(found) - len(shown)} more of this kind{share}')
    return lines
