"""Inference engines: open_backend chooses one by name."""

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions, OrtOptions, TrtOptions

__all__ = ['Backend', 'BackendOptions', 'open_backend', 'OrtOptions', 'TrtOptions']
