"""The command line of the package, one file for each verb."""

from mbv2ssd_train.cli.program import main

__all__ = ['main']
