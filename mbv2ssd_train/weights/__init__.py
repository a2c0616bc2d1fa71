"""Weights from other sources than training here."""
