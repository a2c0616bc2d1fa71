"""
A folder with a `dataset.yaml`, for layouts other than VOC.

    classes: [bolt, nut]
    splits:
      train: {images: photos, annotations: train.json}   # COCO JSON
      val: {images: photos_val, annotations: xml_val}    # a folder of VOC XML files

Paths are relative to the folder and stay inside it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.strict_yaml import parse_yaml

FILE_NAME = 'dataset.yaml'


class _Split(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True)

    images: str
    annotations: str


class DatasetDescription(BaseModel):
    """The content of a dataset.yaml."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    classes: tuple[str, ...] = Field(min_length=1)
    splits: dict[str, _Split] = Field(min_length=1)


def read_description(folder: Path) -> DatasetDescription:
    """Read dataset.yaml without executing anything in it; raises DataError where it is invalid."""
    path = folder / FILE_NAME
    try:
        found = parse_yaml(path.read_text(encoding='utf-8'), str(path))
        return DatasetDescription.model_validate(found)
    except FileNotFoundError as err:
        raise DataError(f'{path}: no such file') from err
    except ConfigError as err:
        raise DataError(str(err)) from err
    except UnicodeDecodeError as err:
        raise DataError(f'{path}: not YAML: {err}') from err
    except ValidationError as err:
        faults = '; '.join(f'{".".join(map(str, fault["loc"])) or "file"}: {fault["msg"]}'
                           for fault in err.errors())
        raise DataError(f'{path}: {faults}; expected classes and splits, each split with images '
                        'and annotations') from err
