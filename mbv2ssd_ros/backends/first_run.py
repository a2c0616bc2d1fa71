"""
The first run of a model, before use.

It is slow, and it checks the results on this machine: by the self-test in the file, else only that
a black image gives finite numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import BackendError
from mbv2ssd_ros.core.output_summary import Difference, Infer, LIMITS, NAMES, Outputs
from mbv2ssd_ros.core.processor import describe_processor
from mbv2ssd_ros.core.self_test import SELF_TEST_KEY, SelfTest


def read_self_test(metadata: Mapping[str, str], contract: ModelContract, source: str
                   ) -> SelfTest | None:
    """Read the self-test of a model file; None where it has none."""
    text = metadata.get(SELF_TEST_KEY)
    return None if text is None else SelfTest.from_json(text, contract, source)


def without_self_test(source: str) -> str:
    """Return the message for a file without self-test."""
    return (f'{source} has no self-test, so its results on this machine are not verified; '
            f'`mbv2ssd_train self-test --model {source}` adds one')


def describe_margin(found: Difference, precision: str) -> str:
    """Describe the figure of a passed self-test that is nearest to its limit."""
    limit = LIMITS[precision]
    share, name = max((share, name) for name, share in found.shares(limit).items())
    return (f'{100 * share:.2g} % of what {precision} allows ({NAMES[name]}: '
            f'{getattr(found, name):.2g} of {getattr(limit, name):g})')


def first_run(infer: Infer, contract: ModelContract, self_test: SelfTest | None, source: str,
              engine: str, batch_sizes: Sequence[int] = (1,)) -> Difference | None:
    """
    Run a model for the first time, in every batch size, and check the outputs.

    Returns the differences from the self-test's outputs, None without a self-test. Raises
    BackendError where a run fails, an output is not finite or a difference exceeds its limit.
    """
    def finite(images: NDArray[np.uint8]) -> Outputs:
        outputs = infer(images)
        if fault := _not_finite(*outputs):
            del outputs  # an error would keep them, with memory of the GPU
            raise BackendError(f'{source}: {fault}; export the model again, or in another '
                               'precision')
        return outputs

    if self_test is None:
        for size in batch_sizes:
            finite(np.zeros((size, *contract.input_size_hw, 3), np.uint8))
        return None
    found, limit = self_test.measure(finite, contract, batch_sizes), LIMITS[contract.precision]
    if found.within(limit):
        return found
    beyond = '; '.join(
        f'{NAMES[name]} {getattr(found, name):.2g} ({contract.precision} allows '
        f'{getattr(limit, name):g})'
        for name, share in found.shares(limit).items() if not share <= 1)
    raise BackendError(
        f'{source}: fails its self-test with {engine} on {describe_processor()}. Differences from '
        f'the reference outputs: {beyond}. Either the file was changed after export, or this '
        'library computes it wrong on this processor: download or export it again, else use '
        'another precision or another version of the library (docs/training.md, "The '
        'self-test")')


def _not_finite(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> str:
    for name, output in (('boxes', boxes), ('scores', scores)):
        if count := np.count_nonzero(~np.isfinite(output)):
            return f'{count} of {output.size} values of output {name!r} are not finite'
    return ''
