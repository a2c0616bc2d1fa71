"""A test double of pycuda: no GPU, see pycuda.driver."""
