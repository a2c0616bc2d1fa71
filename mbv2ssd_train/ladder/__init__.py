"""Experiments that are run one after the other and compared."""
