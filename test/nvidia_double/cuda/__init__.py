"""A test double of cuda-python, see cuda.bindings.driver."""
