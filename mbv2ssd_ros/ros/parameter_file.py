"""Sections of a parameter file, and the nodes that they are for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
import re
from typing import Any

from mbv2ssd_ros.core.errors import ConfigError, one_line

PARAMETERS = 'ros__parameters'


def read_sections(path: Path) -> dict[str, Mapping[str, Any]]:
    """Read the values of each section, by node name or pattern; ConfigError if not YAML."""
    import yaml  # takes 20 ms
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise ConfigError(f'{path}: cannot be read as YAML: {one_line(err)}') from err
    return dict(_sections(content, ''))


def is_for_node(section: str, node: str) -> bool:
    """Match as rcl does: * stands for one part of a name, ** for any number of them."""
    parts = ['(/[^/]+)*' if part == '**' else '/' + re.escape(part).replace(r'\*', '[^/]+')
             for part in section.strip('/').split('/')]
    return re.fullmatch(''.join(parts), node) is not None


def no_section(path: Path, sections: Mapping[str, Any], node: str) -> str:
    """Describe a file without a section for a node."""
    found = ', '.join(sections) or f'none with {PARAMETERS}'
    return f'{path}: no section is for the node {node}; its sections: {found}'


def _sections(content: Any, pattern: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if key == PARAMETERS:
            if isinstance(value, Mapping):
                yield pattern, value
        else:
            yield from _sections(value, f'{pattern.rstrip("/")}/{str(key).strip("/")}')
