"""From a checkpoint or a file to a model that detects."""
