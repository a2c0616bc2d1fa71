"""
The facts about a model that its file states.

The contract travels as JSON in the ONNX metadata under `METADATA_KEY` (and next to an engine).
Nothing in it has a default: a fact that is missing from the file is an error, not a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from dataclasses import dataclass
import json
import math
from typing import Any

from mbv2ssd_ros.core.errors import ContractError
from mbv2ssd_ros.core.image import RESIZE_MODES
from mbv2ssd_ros.core.strict_json import exact_keys, expect, integers, strings

METADATA_KEY = 'mbv2ssd.contract'
SATURATION_FREE_KEY = 'mbv2ssd.saturation_free'  # '1': no sum of two products leaves int16
SCHEMA_VERSION = 1
BACKGROUND = 'background'
PRECISIONS = ('fp32', 'fp16', 'int8')
NOT_MEASURED = 'not measured'  # as the metric of a model without a figure


@dataclass(frozen=True)
class Provenance:
    """Origin of a model and its measured quality."""

    package_version: str
    config: str  # the training configuration, as YAML
    datasets: tuple[str, ...]  # names of the training sets
    metric: str  # name and split of the selection metric, e.g. 'map_50 on voc07_trainval:val'
    metric_value: float | None  # None: not measured

    def __post_init__(self) -> None:
        if self.metric_value is not None and not math.isfinite(self.metric_value):
            raise ContractError(
                f'metric_value is {self.metric_value}, expected a finite number; was the model '
                'evaluated on images that have objects?')

    @property
    def measured(self) -> str:
        """The metric and its value in one phrase."""
        return (self.metric if self.metric_value is None
                else f'{self.metric} = {self.metric_value:.4g}')

    @classmethod
    def from_dict(cls, found: Any, source: str) -> Provenance:
        """Read parsed JSON; may raise ContractError."""
        values = exact_keys(cls, found, f'{source}: provenance')
        metric = expect(values, 'metric', str, source)
        value = expect(values, 'metric_value', (int, float, type(None)), source)
        if metric == NOT_MEASURED:  # older files have 0.0 then
            value = None
        return cls(
            package_version=expect(values, 'package_version', str, source),
            config=expect(values, 'config', str, source),
            datasets=strings(values, 'datasets', source),
            metric=metric, metric_value=None if value is None else float(value))


@dataclass(frozen=True)
class ModelContract:
    """
    What the run time must know about a model and cannot read off the graph.

    `class_names` names the columns of `scores`; that of `background_index`, unless None, is
    'background' and never reported.
    """

    schema_version: int
    input_size_hw: tuple[int, int]
    channel_order: str  # 'rgb'
    resize_mode: str  # 'stretch' or 'letterbox'
    class_names: tuple[str, ...]
    background_index: int | None  # 0 for softmax models, None for sigmoid models
    priors_per_level: tuple[int, ...]
    arch_fingerprint: str
    precision: str  # 'fp32', 'fp16' or 'int8'
    provenance: Provenance

    def __post_init__(self) -> None:
        _check_version(self.schema_version)
        _one_of('channel_order', self.channel_order, ('rgb',))
        _one_of('resize_mode', self.resize_mode, RESIZE_MODES)
        _one_of('precision', self.precision, PRECISIONS)
        if min(self.input_size_hw) < 1:
            raise ContractError(f'input_size_hw {self.input_size_hw} must be positive')
        if not self.priors_per_level or min(self.priors_per_level) < 1:
            raise ContractError(f'priors_per_level {self.priors_per_level} must be positive')
        if len(set(self.class_names)) != len(self.class_names):
            raise ContractError(f'class_names has duplicates: {self.class_names}')
        if self.background_index not in (None, 0):
            raise ContractError(
                f'background_index is {self.background_index}, expected 0 or null')
        if self.background_index == 0 and self.class_names[:1] != (BACKGROUND,):
            raise ContractError(
                f'background_index is 0, so the first class must be {BACKGROUND!r}; '
                f'class_names starts with {self.class_names[:1]}')
        if self.background_index is None and BACKGROUND in self.class_names:
            raise ContractError(
                f'class_names has {BACKGROUND!r}, which would be reported as an object, because '
                'background_index is null')
        if not self.object_names:
            raise ContractError('class_names names no object class')

    @property
    def num_priors(self) -> int:
        """P, the second dimension of both outputs."""
        return sum(self.priors_per_level)

    @property
    def num_classes(self) -> int:
        """C, the columns of `scores`, background included."""
        return len(self.class_names)

    @property
    def object_names(self) -> tuple[str, ...]:
        """The class names without the background."""
        return self.class_names if self.background_index is None else self.class_names[1:]

    @property
    def label_offset(self) -> int:
        """Add this to a detection's column to get the 1-based label of a data set."""
        return 1 if self.background_index is None else 0

    def to_json(self) -> str:
        """Return the contract as stored in a model file; keys are sorted."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str, source: str) -> ModelContract:
        """Read a contract strictly, so that versions never disagree silently; or ContractError."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as err:  # RecursionError: nested too deeply
            raise ContractError(f'{source}: the contract is not JSON: {err}') from err
        if isinstance(found, dict):
            # Before the keys: a newer version has other keys, and its number explains them.
            _check_version(found.get('schema_version'), f'{source}: ')
        values = exact_keys(cls, found, f'{source}: contract')
        size = integers(values, 'input_size_hw', source)
        if len(size) != 2:
            raise ContractError(f'{source}: input_size_hw is {size}, expected [height, width]')
        try:
            return cls(
                schema_version=SCHEMA_VERSION,
                input_size_hw=(size[0], size[1]),
                channel_order=expect(values, 'channel_order', str, source),
                resize_mode=expect(values, 'resize_mode', str, source),
                class_names=strings(values, 'class_names', source),
                background_index=expect(
                    values, 'background_index', (int, type(None)), source),
                priors_per_level=integers(values, 'priors_per_level', source),
                arch_fingerprint=expect(values, 'arch_fingerprint', str, source),
                precision=expect(values, 'precision', str, source),
                provenance=Provenance.from_dict(values['provenance'], source))
        except ContractError as err:
            message = str(err)
            raise ContractError(
                message if message.startswith(source) else f'{source}: {message}') from err

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str) -> ModelContract:
        """Read the contract of a model file; ContractError without one or as from_json."""
        if METADATA_KEY not in metadata:
            raise ContractError(
                f'{source}: no {METADATA_KEY!r} in its metadata, so its classes and input are '
                'unknown; export it with `mbv2ssd_train export`')
        return cls.from_json(metadata[METADATA_KEY], source)

    def check_outputs(self, boxes_shape: tuple[Any, ...], scores_shape: tuple[Any, ...],
                      source: str) -> None:
        """Raise ContractError where output shapes disagree; a batch need not be an int."""
        described = ' + '.join(str(count) for count in self.priors_per_level)
        for name, shape, last in (
                ('boxes', boxes_shape, 4), ('scores', scores_shape, self.num_classes)):
            if len(shape) != 3:
                raise ContractError(
                    f'{source}: output {name!r} has shape {tuple(shape)}, expected '
                    f'(batch, {self.num_priors}, {last})')
            if shape[1] != self.num_priors:
                raise ContractError(
                    f'{source}: output {name!r} has {shape[1]} priors, its contract describes '
                    f'{self.num_priors} ({described}). Was it exported for another input size?')
            if shape[2] != last:
                raise ContractError(
                    f'{source}: output {name!r} has {shape[2]} columns, its contract describes '
                    f'{last}' + (f' classes: {", ".join(self.class_names)}'
                                 if name == 'scores' else ' box corners'))


def _check_version(found: Any, prefix: str = '') -> None:
    # the type too: True and 1.0 are equal to 1
    if type(found) is not int or found != SCHEMA_VERSION:
        raise ContractError(
            f'{prefix}contract has schema version {found!r}, this package reads version '
            f'{SCHEMA_VERSION}; export the model again or install the matching package')


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ContractError(f'{key} is {value!r}, expected one of {", ".join(allowed)}')
