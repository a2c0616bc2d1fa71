"""A test double of cuda-bindings, see cuda.bindings.driver."""
