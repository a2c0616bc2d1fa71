"""Batches: which images, in which order, made where."""
