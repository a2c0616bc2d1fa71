"""The detector. `core`, `backends`, `detector` and `evaluation` need no ROS."""

import os

# Newer versions of ONNX Runtime report each start to their maker. They read this when imported.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
