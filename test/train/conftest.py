"""One thread for each test: small tensors gain nothing from more, and threads that wait spin."""

import os

os.environ['OMP_NUM_THREADS'] = '1'  # of this process, before it loads OpenMP, and of programs

import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    """Compute with one thread and from a fixed state of randomness."""
    try:
        import torch
    except ModuleNotFoundError:  # what can do without it runs
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
