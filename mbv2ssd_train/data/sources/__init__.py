"""Formats of annotations and images that can be trained on."""
