"""Annotated images: where they come from, how they are changed, in which order they come."""
