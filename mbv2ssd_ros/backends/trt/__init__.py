"""TensorRT: engines are built in a child process, cached and run."""
