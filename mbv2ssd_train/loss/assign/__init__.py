"""Assigning objects to priors: by IoU, ATSS, task alignment."""
