"""Evaluating bags: the run, its figures and its files."""
