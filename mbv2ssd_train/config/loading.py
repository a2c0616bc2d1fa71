"""From YAML to a checked configuration."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.quoting import short
from mbv2ssd_train.config.compose import compose, merge, parse_override
from mbv2ssd_train.config.data import DataConfig
from mbv2ssd_train.config.dataset_yaml import FILE_NAME, read_description
from mbv2ssd_train.config.experiment import TrainConfig
from mbv2ssd_train.config.model import ModelConfig
from mbv2ssd_train.strict_yaml import parse_yaml

# replaces messages of pydantic that name Python types
_EXPECTED = {'tuple_type': 'expected a list, such as [a, b]',
             'model_type': 'expected a section of keys and values'}


def load_config(path: str | Path, overrides: tuple[str, ...] = ()) -> TrainConfig:
    """
    Read a YAML file, composed as compose.py describes; overrides are 'key.path=value'.

    A ConfigError names file, key, the value found and the nearest known key.
    """
    found = compose(Path(path), overrides)
    _take_classes_of_the_data(found)
    return _validated(found, str(path))


def parse_config(text: str, source: str, overrides: tuple[str, ...] = ()) -> TrainConfig:
    """Read a complete configuration from YAML text, such as to_yaml writes; see load_config."""
    found = parse_yaml(text, source)
    for override in overrides:
        found = merge(found, parse_override(override))
    return _validated(found, source)


def parse_data_section(text: str, source: str) -> DataConfig:
    """
    Read the data section of to_yaml's text; other sections may be of another version.

    Unknown keys are ignored. Raises ConfigError where the section or a key is missing.
    """
    found = parse_yaml(text, source).get('data')
    if not isinstance(found, dict):
        raise ConfigError(f'{source}: its configuration has no section data')
    known = {key: value for key, value in found.items() if key in DataConfig.model_fields}
    try:
        return DataConfig.model_validate(known)
    except ValidationError as err:
        raise ConfigError(f'{source}: data: {err.errors()[0]["msg"]}') from err


def parse_model_section(text: str, source: str) -> ModelConfig:
    """
    Read the model section of to_yaml's text; other sections may be of another version.

    Raises ConfigError where the section is missing or has unknown keys.
    """
    found = parse_yaml(text, source).get('model')
    try:
        return ModelConfig.model_validate(found)
    except ValidationError as err:
        lines = [_describe({**error, 'loc': ('model', *error['loc'])}) for error in err.errors()]
        raise ConfigError(f'{source}: ' + '; '.join(lines)) from err


def _take_classes_of_the_data(found: dict[str, Any]) -> None:
    """Fill in data.classes from a dataset.yaml, so that they are written once."""
    data = found.get('data')
    if isinstance(data, dict) and 'classes' not in data and isinstance(data.get('root'), str):
        folder = Path(data['root'])
        if (folder / FILE_NAME).is_file():
            data['classes'] = list(read_description(folder).classes)


def _validated(found: dict[str, Any], source: str) -> TrainConfig:
    try:
        return TrainConfig.model_validate(found)
    except ValidationError as err:
        lines = [_describe(error) for error in err.errors()]
        raise ConfigError(f'{source}: ' + '; '.join(lines)) from err


def _describe(error: Any) -> str:
    path = '.'.join(str(part) for part in error['loc']) or 'configuration'
    if error['type'] != 'extra_forbidden':
        known = error['type'] == 'missing' or isinstance(error['input'], dict)
        found = '' if known else f' (found {short(error["input"])})'
        message = _EXPECTED.get(error['type'], error['msg'].removeprefix('Value error, '))
        return f'{path}: {message}{found}'
    known = _known_keys(error['loc'][:-1])
    nearest = (difflib.get_close_matches(str(error['loc'][-1]), known, n=1)
               or _keys_of_sections(str(error['loc'][-1])))
    hint = f'did you mean {nearest[0]!r}?' if nearest else f'known keys are {", ".join(known)}'
    return f'{path}: unknown key; {hint}'


def _keys_of_sections(key: str) -> list[str]:
    """Return each section.key of that name, as training.epochs for `epochs`."""
    return [f'{name}.{key}' for name, field in TrainConfig.model_fields.items()
            if key in getattr(field.annotation, 'model_fields', ())]


def _known_keys(path: tuple[Any, ...]) -> list[str]:
    section: Any = TrainConfig
    for part in path:
        section = section.model_fields[part].annotation
    return sorted(section.model_fields)
