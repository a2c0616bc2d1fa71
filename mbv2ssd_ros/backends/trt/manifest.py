"""The manifest of a kept engine: what it fits, and its hash."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
import hashlib
import json

from mbv2ssd_ros.core.errors import BackendError

MANIFEST_VERSION = 1
_DIGEST = hashlib.sha256


class UnusableEngineError(BackendError):
    """A kept engine, or its manifest, is not what was written."""


@dataclass(frozen=True)
class EngineKey:
    """What an engine fits; input size and precision are part of the model's hash."""

    model_sha256: str
    tensorrt: str  # all four numbers
    gpu: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    gpu_memory_gib: int
    machine: str  # 'aarch64'
    batch_sizes: tuple[int, ...]
    optimization_level: int
    workspace_mib: int
    recipe: int  # of this package's way to build

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits, part of the file names."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return _DIGEST(text.encode()).hexdigest()[:16]

    @property
    def tuning(self) -> str:
        """16 hexadecimal digits for measured kernel times, valid for any model on this GPU."""
        about = (self.tensorrt, self.gpu, self.compute_capability, self.multiprocessors,
                 self.gpu_memory_gib, self.machine)
        return _DIGEST(json.dumps(about).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Manifest:
    """The facts about an engine file."""

    key: EngineKey
    contract: str  # JSON, as in the model
    agreement: str  # how far it was from ONNX Runtime when it was built
    build_s: float
    engine_bytes: int
    engine_sha256: str

    def to_json(self) -> str:
        """Return the manifest as JSON."""
        return json.dumps({'version': MANIFEST_VERSION, **dataclasses.asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what to_json wrote; UnusableEngineError for anything else."""
        try:
            values = json.loads(text)
            if values.pop('version') != MANIFEST_VERSION:
                raise UnusableEngineError('its manifest was written by another version')
            key = values.pop('key')
            key['compute_capability'] = tuple(key['compute_capability'])
            key['batch_sizes'] = tuple(key['batch_sizes'])
            return cls(key=EngineKey(**key), **values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
            raise UnusableEngineError(f'its manifest cannot be read ({err})') from err


def manifest_for(key: EngineKey, plan: bytes, contract: str, agreement: str, build_s: float
                 ) -> Manifest:
    """Describe a new engine; `contract` is the model's as JSON, `build_s` the build time."""
    return Manifest(key, contract, agreement, round(build_s, 1), len(plan),
                    _DIGEST(plan).hexdigest())
