"""Parts of `evaluate_live`."""
