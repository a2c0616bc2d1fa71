"""
What both doubles share, and what a test can set and look at.

MBV2SSD_DOUBLE, as JSON, sets the attributes of STATE by name; a child process has it too.
"""

import json
import os


class BrokenRuleError(AssertionError):
    """A rule of the real library was broken; there it would be a crash or undefined."""


class State:
    """The GPU that is not there."""

    def __init__(self):
        self.version = '10.3'  # of TensorRT: a key of tensorrt_surface.json
        self.gpu_name = 'Orin'
        self.devices = 1
        self.integrated = True
        self.free_mib = 6000
        self.graphs = False  # cuda-python is installed
        self.build = ''  # what goes wrong in a build: crash, hang, refuse, no memory
        self.load = ''  # what goes wrong when an engine is loaded: refuse, no memory
        self.wrong_by = 0.0  # what is added to the boxes that engines compute
        self.broken_rules = []
        self.failures = {}  # function name: exceptions that its next calls raise
        self.calls = []  # (what, thread name), of what matters for order
        for name, value in json.loads(os.environ.get('MBV2SSD_DOUBLE', '{}')).items():
            setattr(self, name, value)

    def break_rule(self, rule):
        """Note a broken rule, also where an exception would be swallowed, and raise it."""
        self.broken_rules.append(rule)
        raise BrokenRuleError(rule)

    def fail_if_asked(self, name):
        """Raise what a test wants this call to raise."""
        if self.failures.get(name):
            raise self.failures[name].pop(0)


STATE = State()
