"""Augmentation: geometry, colours, and the pixels they lead to."""
