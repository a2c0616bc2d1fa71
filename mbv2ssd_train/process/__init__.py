"""Signals, progress and the processes of a distributed run."""
