"""Weights of torchvision's detectors."""
