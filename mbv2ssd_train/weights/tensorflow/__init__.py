"""Weights of TensorFlow's SSDLite MobileNetV2."""
