"""Ground truth of bags, matched to their frames."""
