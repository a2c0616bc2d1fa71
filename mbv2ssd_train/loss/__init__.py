"""What a prediction should have been, and what its mistakes cost."""
