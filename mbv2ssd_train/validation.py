"""Compare two model files: contract, outputs, detections, mAP, rules of a target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
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
# other programs depend on these; precision and provenance may differ
_SHARED_FACTS = ('input_size_hw', 'channel_order', 'resize_mode', 'class_names',
                 'background_index', 'priors_per_level', 'arch_fingerprint')
_SHAPES = ('input_size_hw', 'class_names', 'background_index', 'priors_per_level')
_MADE_FOR_CPU = '# INT8 for cpu'


@dataclass(frozen=True)
class Validation:
    """What was compared, and the results."""

    first: str
    second: str
    compared_on: str  # split of the images, or 'synthetic'
    checks: tuple[Check, ...]
    agreement: Agreement | None  # None where outputs of different shapes cannot be compared
    violations: dict[str, list[Violation]]  # of the rules for integers, by file

    @property
    def passed(self) -> bool:
        """Whether the second model can replace the first."""
        return all(check.fine for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return what `validate --json` writes."""
        return {**asdict(self), 'passed': self.passed}


def open_artefact(name: str) -> Backend:
    """
    Open a checkpoint (.pt), an .onnx file, or 'tensorrt:FILE.onnx' (its engine, built if needed).

    Raises ConfigError for an engine file, DataError for other files, BackendError where the file
    or TensorRT cannot run, ContractError where the contract is missing or wrong.
    """
    if name.startswith(TENSORRT):
        return open_backend('tensorrt', name.removeprefix(TENSORRT), BackendOptions())
    if Path(name).suffix == '.engine':
        raise ConfigError(f'{name}: an engine is named by its model: give '
                          f'{TENSORRT}MODEL.onnx')
    return open_model(name)


def lower_precision(first: Backend, second: Backend) -> str:
    """Return the precision that decides how far two models may differ."""
    return max(first.contract.precision, second.contract.precision, key=PRECISIONS.index)


def check_contracts(first: Backend, second: Backend) -> list[Check]:
    """Compare each fact that both contracts must share."""
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
    """Compare output shapes and types on a (H, W, 3) uint8 RGB image of the input size."""
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
    """Measure both on images that neither learnt from; max_drop is in points of 100."""
    settings = DetectionSettings(score_threshold=0.02, max_detections=200)
    found = [100 * evaluate(model, dataset, settings, progress).map_50
             for model in (first, second)]
    drop = found[0] - found[1]
    return Check('mAP@0.5', f'{found[0]:.2f} and {found[1]:.2f} on {dataset.name}, '
                 f'{len(dataset)} images', f'a drop of {max_drop:g}', drop <= max_drop)


def find_violations(names: tuple[str, str], models: tuple[Backend, Backend]
                    ) -> Iterator[tuple[str, str, list[Violation]]]:
    """
    Yield file, rules and violations of each file that computes in integers.

    Rules are those of TensorRT, or no saturation in a file for a CPU.
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
    Run all checks; outputs are compared where their shapes allow it.

    images are (H, W, 3) uint8 RGB of the first model's input size, compared_on is their source,
    map_check is from check_map.
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
