"""Training: from annotated images to an ONNX file that mbv2ssd_ros runs."""

import os

os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')  # see mbv2ssd_ros
