"""
One configuration from several YAML files.

A file may have `defaults`, which names a file for each section, relative to the file itself:

    defaults:
      augment: base/augment/light.yaml
      optimizer: base/optimizer/adamw.yaml
    name: my_experiment
    ...                   # the body: merged over the defaults, key by key
    overrides: {...}      # merged last, e.g. the changes of a variant

`based_on: baseline.yaml` extends another file, so that a variant of an experiment contains only
its changes.

Later values win: based_on, defaults, body, overrides, then key.path=value of the command line.
Mappings are merged; everything else, lists too, is replaced. `${VAR}` and `${VAR:-default}` are
replaced by environment variables last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import re
from typing import Any

import yaml

from mbv2ssd_ros.core.errors import ConfigError, one_line
from mbv2ssd_train.strict_yaml import parse_yaml

BASE = 'based_on'  # key that names the file to extend
_VARIABLE = re.compile(r'\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}')


def compose(path: Path, overrides: Sequence[str] = (),
            environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """
    Read a file and the files it names; overrides are 'key.path=value', value as YAML.

    Raises ConfigError where a file is missing or not a mapping, an override is malformed, or a
    variable without default is not set.
    """
    merged = _load(path, ())
    for override in overrides:
        merged = merge(merged, parse_override(override))
    return {key: _substitute(value, environment, f'{path}: {key}')
            for key, value in merged.items()}


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `over` merged over `under`, section by section."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = (merge(below, value) if isinstance(below, Mapping)
                       and isinstance(value, Mapping) else value)
    return merged


def parse_override(text: str) -> dict[str, Any]:
    """
    Parse `training.epochs=5`, the value as YAML, to {'training': {'epochs': 5}}.

    Raises ConfigError where it is malformed.
    """
    keys, equals, value = text.partition('=')
    if not equals or not all(keys.split('.')):
        raise ConfigError(f'override {text!r} is not of the form key.path=value')
    try:
        found: Any = yaml.safe_load(value)
    except yaml.YAMLError as err:
        raise ConfigError(f'override {text!r}: its value is not YAML: {one_line(err)}') from err
    for key in reversed(keys.split('.')):
        found = {key: found}
    return dict(found)


def _load(path: Path, parents: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in parents:
        chain = ' -> '.join(str(parent) for parent in (*parents, path.resolve()))
        raise ConfigError(f'{path}: names itself in defaults or based_on: {chain}')
    body = _read(path)
    defaults, last = (_section(body, key, path) for key in ('defaults', 'overrides'))
    merged = _base(body.pop(BASE, None), path, parents)
    for component, name in defaults.items():
        if not isinstance(name, str):
            raise ConfigError(f'{path}: defaults.{component} is {name!r}, expected a file name')
        if not (path.parent / name).is_file():
            raise ConfigError(f'{path}: defaults.{component}: {path.parent / name}: no such file')
        below = _load(path.parent / name, (*parents, path.resolve()))
        merged = merge(merged, {component: below})
    return merge(merge(merged, body), last)


def _base(name: Any, path: Path, parents: tuple[Path, ...]) -> dict[str, Any]:
    if name is None:
        return {}
    if not isinstance(name, str):
        raise ConfigError(f'{path}: {BASE} is {name!r}, expected a file name')
    if not (path.parent / name).is_file():
        raise ConfigError(f'{path}: {BASE}: {path.parent / name}: no such file')
    return _load(path.parent / name, (*parents, path.resolve()))


def _read(path: Path) -> dict[str, Any]:
    try:
        return parse_yaml(path.read_text(encoding='utf-8'), str(path))
    except FileNotFoundError as err:
        raise ConfigError(f'{path}: no such configuration file') from err
    except UnicodeDecodeError as err:
        raise ConfigError(f'{path}: not YAML: {one_line(err)}') from err


def _section(body: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    found = body.pop(key, None) or {}
    if not isinstance(found, dict):
        raise ConfigError(f'{path}: {key} is {found!r}, expected keys and values')
    return found


def _substitute(value: Any, environment: Mapping[str, str], where: str) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(item, environment, f'{where}.{key}')
                for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, environment, where) for item in value]
    if not isinstance(value, str) or not _VARIABLE.search(value):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = environment.get(name, default)
        if found is None:
            raise ConfigError(f'{where}: the environment variable {name} is not set; set it, or '
                              f'write ${{{name}:-default}}')
        return found

    text = _VARIABLE.sub(replace, value)
    # a value of one variable alone may be a number or a list
    return yaml.safe_load(text) if _VARIABLE.fullmatch(value) else text
