"""Run experiments one after the other and compare them."""
