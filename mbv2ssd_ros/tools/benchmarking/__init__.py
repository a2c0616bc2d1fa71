"""Parts of `benchmark` and `compare_models`."""
