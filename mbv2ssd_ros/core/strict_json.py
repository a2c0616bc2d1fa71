"""Reading parsed JSON without guessing: no unknown key, none missing, no value of another type."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

from mbv2ssd_ros.core.errors import ContractError


def exact_keys(cls: type, found: Any, where: str) -> Mapping[str, Any]:
    """Return an object with exactly the fields of a dataclass as keys; or ContractError."""
    if not isinstance(found, dict):
        raise ContractError(f'{where} is {type(found).__name__}, expected a JSON object')
    expected = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(found.keys() - expected):
        raise ContractError(f'{where} has unknown keys {unknown}; known are {sorted(expected)}')
    if missing := sorted(expected - found.keys()):
        raise ContractError(f'{where} lacks the keys {missing}')
    return found


def expect(values: Mapping[str, Any], key: str, kind: type | tuple[type, ...], source: str) -> Any:
    """Return a value of a type; ContractError for another one."""
    value = values[key]
    # bool is an int to Python, never to a contract
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise ContractError(f'{source}: {key} is {value!r}, expected '
                            f'{" or ".join(one.__name__ for one in kinds)}')
    return value


def strings(values: Mapping[str, Any], key: str, source: str) -> tuple[str, ...]:
    """Take a list of strings; see expect."""
    return _list_of(values, key, str, source, 'strings')


def integers(values: Mapping[str, Any], key: str, source: str) -> tuple[int, ...]:
    """Take a list of integers; see expect."""
    return _list_of(values, key, int, source, 'integers')


def _list_of(values: Mapping[str, Any], key: str, kind: type, source: str, kinds: str
             ) -> tuple[Any, ...]:
    found = expect(values, key, list, source)
    if not all(isinstance(item, kind) and not isinstance(item, bool) for item in found):
        raise ContractError(f'{source}: {key} is {found!r}, expected a list of {kinds}')
    return tuple(found)
