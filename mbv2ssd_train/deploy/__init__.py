"""From a checkpoint or a file to a detector."""
