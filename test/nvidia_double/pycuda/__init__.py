"""A test double of pycuda: no GPU, see pycuda.driver."""
VERSION_TEXT = '2026.1'
