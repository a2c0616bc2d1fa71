"""Is one model file as good as another: contract, outputs, detections, mAP, rules of a target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx

from mbv2ssd_ros.backends.base import Backend, BackendOptions
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.core.contract import PRECISIONS
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.data.dataset import Dataset
from mbv2ssd_train.deploy.open_model import open_model
from mbv2ssd_train.evaluate import evaluate, Progress
from mbv2ssd_train.export.agreement import (
    Agreement,
    Check,
    check_agreement,
    Limits,
    measure_agreement,
)
from mbv2ssd_train.quantize.lint import check_qdq, has_qdq, Violation
from mbv2ssd_train.quantize.saturation import check_saturation

TENSORRT = 'tensorrt:'
MAX_DROP = {'fp32': 0.05, 'fp16': 0.5, 'int8': 1.0}  # points of mAP, of 100
# what programs around the model rely on; precision and provenance may differ
_SHARED_FACTS = ('input_size_hw', 'channel_order', 'resize_mode', 'class_names',
                 'background_index', 'priors_per_level', 'arch_fingerprint')
_SHAPES = ('input_size_hw', 'class_names', 'background_index', 'priors_per_level')
_MADE_FOR_CPU = '# INT8 for cpu'


@dataclass(frozen=True)
class Validation:
    """What was compared, and how it ended."""

    first: str
    second: str
    compared_on: str  # split of the images, or 'synthetic'
    checks: tuple[Check, ...]
    agreement: Agreement | None  # None where outputs of different shapes cannot be compared
    violations: dict[str, list[Violation]]  # of the rules for integers, by file

    @property
    def passed(self) -> bool:
        """Tell whether the second model can stand in for the first."""
        return all(check.fine for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return what `validate --json` writes."""
        return {**asdict(self), 'passed': self.passed}


def open_artefact(name: str) -> Backend:
    """
    Open what `validate` compares.

    Args:
        name: a checkpoint (.pt), an .onnx file, or 'tensorrt:FILE.onnx' for the TensorRT engine
            of that file, which is built where it is not in the cache.

    Returns:
        A backend.

    Raises:
        ConfigError: an engine file by itself.
        DataError: neither checkpoint nor model file.
        BackendError: the file cannot be run, or TensorRT is not here.
        ContractError: the file has no contract or disagrees with it.
    """
    if name.startswith(TENSORRT):
        return open_backend('tensorrt', name.removeprefix(TENSORRT), BackendOptions())
    if Path(name).suffix == '.engine':
        raise ConfigError(f'{name}: an engine is found by the model it was built from: give '
                          f'{TENSORRT}MODEL.onnx')
    return open_model(name)


def lower_precision(first: Backend, second: Backend) -> str:
    """Return the precision that decides how far two models may differ."""
    return max(first.contract.precision, second.contract.precision, key=PRECISIONS.index)


def check_contracts(first: Backend, second: Backend) -> list[Check]:
    """
    Compare what two models say about themselves.

    Args:
        first: one model.
        second: the other.

    Returns:
        One check for each fact that both must share.
    """
    facts = [(name, *(getattr(model.contract, name) for model in (first, second)))
             for name in _SHARED_FACTS]
    return [Check(f'contract: {name}', _short(one) if one == other
                  else _difference(one, other), 'equal', one == other)
            for name, one, other in facts]


def _short(value: Any) -> str:
    text = ', '.join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def _difference(one: Any, other: Any) -> str:
    """Name the first entry in which two facts differ, and both values where they are short."""
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        place, pair = next((place, pair) for place, pair in enumerate(zip(one, other, strict=True))
                           if pair[0] != pair[1])
        return f'entry {place} is {pair[0]!r} and {pair[1]!r}'
    return f'{_short(one)} and {_short(other)}'


def check_outputs(first: Backend, second: Backend, image: NDArray[np.uint8]) -> list[Check]:
    """
    Compare shapes and types of what two models return.

    Args:
        first: one model.
        second: the other.
        image: (H, W, 3) uint8 RGB of their input size.

    Returns:
        One check for each output.
    """
    columns = first.contract.num_classes
    checks = []
    for name, last, *found in zip(('boxes', 'scores'), (4, columns), first.infer(image[None]),
                                  second.infer(image[None]), strict=True):
        wanted = f'float32 {(1, first.contract.num_priors, last)}, finite'
        said = [f'{output.dtype} {output.shape}, '
                f'{"finite" if np.isfinite(output).all() else "not finite"}' for output in found]
        checks.append(Check(f'output: {name}', ' and '.join(dict.fromkeys(said)), wanted,
                            set(said) == {wanted}))
    return checks


def check_map(first: Backend, second: Backend, dataset: Dataset, max_drop: float,
              progress: Progress) -> Check:
    """
    Measure both models on the same images.

    Args:
        first: one model.
        second: the other.
        dataset: images that neither learnt from.
        max_drop: points of mAP that the second may lose.
        progress: wraps the batches of each evaluation.

    Returns:
        The check.
    """
    settings = DetectionSettings(score_threshold=0.02, max_detections=200)
    found = [100 * evaluate(model, dataset, settings, progress).map_50
             for model in (first, second)]
    drop = found[0] - found[1]
    return Check('mAP@0.5', f'{found[0]:.2f} and {found[1]:.2f} on {dataset.name}, '
                 f'{len(dataset)} images', f'a drop of {max_drop:g}', drop <= max_drop)


def find_violations(names: tuple[str, str], models: tuple[Backend, Backend]
                    ) -> Iterator[tuple[str, str, list[Violation]]]:
    """
    Look into the files that compute in integers.

    Args:
        names: as given to open_artefact.
        models: opened from them.

    Yields:
        File, which rules it was checked against, and what violates them: what TensorRT would not
        take, or what saturates in a file that is made for a CPU.
    """
    for name, model in zip(names, models, strict=True):
        path = name.removeprefix(TENSORRT)
        if not path.endswith('.onnx') or not has_qdq(path):
            continue
        if model.contract.provenance.config.startswith(_MADE_FOR_CPU):
            yield path, 'no saturation', check_saturation(onnx.load(path))
        else:
            yield path, "TensorRT's rules", check_qdq(path)


def validate(names: tuple[str, str], models: tuple[Backend, Backend],
             images: list[NDArray[np.uint8]], compared_on: str, limits: Limits,
             map_check: Check | None) -> Validation:
    """
    Put all checks together.

    Args:
        names: of the models.
        models: opened from them.
        images: to compare outputs on, (H, W, 3) uint8 RGB of the first model's input size.
        compared_on: where they come from.
        limits: of their differences.
        map_check: from check_map, where there are data.

    Returns:
        The outcome; outputs are compared where their shapes allow it.
    """
    checks, agreement = check_contracts(*models), None
    shared = all(check.fine for check in checks
                 if check.name.removeprefix('contract: ') in _SHAPES)
    if shared:
        checks += check_outputs(*models, images[0])
        agreement = measure_agreement(*models, images)
        checks += check_agreement(agreement, limits)
    if map_check:
        checks.append(map_check)
    violations = {}
    for path, rules, found in find_violations(names, models):
        violations[path] = found
        checks.append(Check(f'{rules}: {Path(path).name}', f'{len(found)} violations', 'none',
                            not found))
    return Validation(*names, compared_on, tuple(checks), agreement, violations)
