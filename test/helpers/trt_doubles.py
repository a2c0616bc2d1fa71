"""The doubles of NVIDIA's libraries, and engines built without a process of their own."""

import sys

_NAMES = ('tensorrt', 'pycuda', 'cuda', 'double_state')


class ListLog:
    """A log to look at."""

    def __init__(self):
        self.infos, self.warnings = [], []

    @property
    def lines(self):
        """Everything, the warnings last."""
        return self.infos + self.warnings

    def info(self, message, /):
        """Keep a line."""
        self.infos.append(message)

    def warning(self, message, /):
        """Keep a line that somebody should look at."""
        self.warnings.append(message)


def forget_doubles():
    """Let the next import make new ones."""
    for name in [name for name in sys.modules if name.partition('.')[0] in _NAMES]:
        del sys.modules[name]


def build_here(model, request, timing, loading):
    """Build as the child process does, in this one: a conformance test needs no process."""
    from mbv2ssd_ros.backends.trt.build import build_engine
    from mbv2ssd_ros.backends.trt.nvidia import load_nvidia, primary_context
    nvidia = load_nvidia()
    with primary_context(nvidia.cuda):
        return build_engine(nvidia, model, request, timing, lambda phase: None)
