"""Inference engines: open_backend chooses one by name."""

from mbv2ssd_ros.backends.base import Backend, BackendOptions
from mbv2ssd_ros.backends.opening import open_backend

__all__ = ['Backend', 'BackendOptions', 'open_backend']
