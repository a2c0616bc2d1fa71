"""YAML with plain values only and without duplicate keys."""

from __future__ import annotations

from typing import Any

import yaml

from mbv2ssd_ros.core.errors import ConfigError, one_line

_MOST_VALUES = 10 ** 6


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Read a mapping without executing anything; a ConfigError names the source."""
    try:
        found = yaml.load(text, _UniqueKeyLoader)
    # ValueError: a thirteenth month, an integer of thousands of digits; RecursionError: nesting
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        raise ConfigError(f'{source}: not YAML: {one_line(err)}') from err
    _refuse_growth(found, source)
    if not isinstance(found, dict):
        raise ConfigError(f'{source}: expected keys and values, found {type(found).__name__}')
    return found


def _refuse_growth(value: Any, source: str) -> None:
    """Refuse values that become huge when each of their aliases is followed."""
    sizes: dict[int, int] = {}

    def size_of(part: Any) -> int:
        if not isinstance(part, (list, dict)):
            return 1
        if id(part) not in sizes:
            sizes[id(part)] = _MOST_VALUES  # a value that contains itself is too large
            items = part.values() if isinstance(part, dict) else part
            sizes[id(part)] = 1 + sum(map(size_of, items))
        return sizes[id(part)]

    if size_of(value) >= _MOST_VALUES:
        raise ConfigError(f'{source}: its aliases expand to {_MOST_VALUES} values or more, or a '
                          'value contains itself; write it without aliases')


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuse equal keys, of which PyYAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value
                if key.tag != 'tag:yaml.org,2002:merge']
        twice = [key for index, key in enumerate(keys) if key in keys[:index]]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f'the key {twice[0]!r} is duplicated', node.start_mark)
        return dict(super().construct_mapping(node, deep))
