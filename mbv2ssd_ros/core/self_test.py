"""
The self-test of a model file: small pictures with the model's correct outputs.

It travels as JSON in the ONNX metadata under `SELF_TEST_KEY`. It runs once after loading, with
the preprocessing of camera images: another resize, another order of channels, damaged weights
and wrong kernels all change the outputs.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import ContractError
from mbv2ssd_ros.core.image import resize_into, SourceImage
from mbv2ssd_ros.core.output_summary import (
    Difference,
    difference,
    Infer,
    largest,
    summarise,
    Summary,
)
from mbv2ssd_ros.core.strict_json import exact_keys, expect, integers

SELF_TEST_KEY = 'mbv2ssd.self_test'
SELF_TEST_VERSION = 1
_STORED = np.dtype('<f4')  # of the numbers of a summary


@dataclass(frozen=True, eq=False)
class Case:
    """A picture and the summary of the correct outputs."""

    picture: NDArray[np.uint8]  # (H, W, 3) BGR; not of the size of the network's input
    answer: Summary  # the name is part of the format


@dataclass(frozen=True, eq=False)
class SelfTest:
    """All cases of a model file."""

    schema_version: int
    cases: tuple[Case, ...]

    @classmethod
    def of(cls, pictures: Sequence[NDArray[np.uint8]], reference: Infer, contract: ModelContract
           ) -> SelfTest:
        """Make the self-test from (H, W, 3) BGR pictures and a correct implementation."""
        cases = []
        for picture in pictures:
            boxes, scores = reference(_network_input(picture, contract)[None])
            cases.append(Case(picture, summarise(boxes[0], scores[0], contract)))
        return cls(SELF_TEST_VERSION, tuple(cases))

    def measure(self, infer: Infer, contract: ModelContract, batch_sizes: Sequence[int] = (1,)
                ) -> Difference:
        """Run every case in batches of every size; return the largest difference."""
        images = np.stack([_network_input(case.picture, contract) for case in self.cases])
        count, found = len(images), []
        for size in batch_sizes:
            for start in range(0, count, size):
                batch = [index % count for index in range(start, start + size)]
                for index, boxes, scores in zip(batch, *infer(images[batch]), strict=True):
                    expected = self.cases[index].answer
                    summary = summarise(boxes, scores, contract, expected.strongest)
                    found.append(difference(summary, expected, contract))
        return largest(found)

    def to_json(self) -> str:
        """Return JSON: pictures as PNG, numbers as little-endian float32, both in base64."""
        cases = [{'picture': _base64(_png(case.picture)),
                  'answer': {name: _plain(value) for name, value in vars(case.answer).items()}}
                 for case in self.cases]
        return json.dumps({'schema_version': self.schema_version, 'cases': cases})

    @classmethod
    def from_json(cls, text: str, contract: ModelContract, source: str) -> SelfTest:
        """Read a self-test strictly, as a contract; may raise ContractError."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as err:
            raise ContractError(f'{source}: the self-test is not JSON: {err}') from err
        if isinstance(found, dict):
            _check_version(found.get('schema_version'), source)
        cases = expect(exact_keys(cls, found, f'{source}: self-test'), 'cases', list, source)
        if not cases:
            raise ContractError(f'{source}: the self-test has no case, expected at least one')
        return cls(SELF_TEST_VERSION, tuple(
            _case(case, contract, f'{source}: case {number} of the self-test')
            for number, case in enumerate(cases)))


def _check_version(found: Any, source: str) -> None:
    if type(found) is not int or found != SELF_TEST_VERSION:
        raise ContractError(
            f'{source}: self-test has schema version {found!r}, this package reads version '
            f'{SELF_TEST_VERSION}; renew it with `mbv2ssd_train self-test`, or install the '
            'matching package')


def _case(found: Any, contract: ModelContract, where: str) -> Case:
    values = exact_keys(Case, found, where)
    picture = cv2.imdecode(
        np.frombuffer(_bytes(values, 'picture', where) or b'\0', np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ContractError(f'{where}: picture cannot be read as an image')
    return Case(picture.astype(np.uint8), _summary(values['answer'], contract, where))


def _summary(found: Any, contract: ModelContract, where: str) -> Summary:
    values = exact_keys(Summary, found, f'{where}: answer')
    strongest = integers(values, 'strongest', where)
    distinct = set(strongest) & set(range(contract.num_priors))
    if not strongest or len(distinct) < len(strongest):
        raise ContractError(f'{where}: strongest is {list(strongest)}, expected different priors '
                            f'of 0 to {contract.num_priors - 1}')
    kept, levels = len(strongest), len(contract.priors_per_level)
    classes = len(contract.object_names)
    shapes = {'boxes': (kept, 4), 'scores': (kept, classes), 'highest': (classes,),
              'log_scores': (levels, classes), 'level_boxes': (levels, 4)}
    return Summary(np.array(strongest, np.int32), **{
        name: _numbers(values, name, shape, where) for name, shape in shapes.items()})


def _numbers(values: Mapping[str, Any], key: str, shape: tuple[int, ...], where: str
             ) -> NDArray[np.float32]:
    content, expected = _bytes(values, key, where), math.prod(shape) * _STORED.itemsize
    if len(content) != expected:
        raise ContractError(f'{where}: {key} has {len(content)} bytes, expected {expected} for '
                            f'{" x ".join(map(str, shape))} numbers')
    found = np.frombuffer(content, _STORED).reshape(shape).astype(np.float32)
    if not np.isfinite(found).all():
        raise ContractError(f'{where}: {key} has a number that is not finite')
    return found


def _bytes(values: Mapping[str, Any], key: str, where: str) -> bytes:
    try:
        return base64.b64decode(expect(values, key, str, where), validate=True)
    except (binascii.Error, ValueError) as err:
        raise ContractError(f'{where}: {key} is not base64 ({err})') from err


def _plain(values: NDArray[Any]) -> list[int] | str:
    return _base64(values.astype(_STORED).tobytes()) if values.dtype == np.float32 \
        else values.tolist()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _png(picture: NDArray[np.uint8]) -> bytes:
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 9,
                cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED]
    return cv2.imencode('.png', picture, settings)[1].tobytes()


def _network_input(picture: NDArray[np.uint8], contract: ModelContract) -> NDArray[np.uint8]:
    """Resize a picture as an image of a camera; (H, W, 3) RGB."""
    image = np.empty((*contract.input_size_hw, 3), np.uint8)
    resize_into(SourceImage(picture, 'bgr'), contract.resize_mode, image)
    return image
