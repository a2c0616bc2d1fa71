"""What is asked of a GPU, and what becomes of an error of its libraries."""

import gc
from importlib import import_module
import sys
import threading
import weakref

import pytest

from mbv2ssd_ros.backends.trt.cuda_worker import CudaWorker
from mbv2ssd_ros.backends.trt.nvidia import (
    check,
    create_or_raise,
    describe_gpu,
    failure,
    forget_locals,
    GpuMemoryError,
    load_nvidia,
    primary_context,
)
from mbv2ssd_ros.core.errors import BackendError


@pytest.fixture
def nvidia(double):
    """Return the doubles."""
    double()
    return load_nvidia()


@pytest.mark.parametrize(('gib', 'rounded'), [(3.6, 4), (6.2, 8), (7.4, 8), (7.6, 8), (15.3, 16),
                                              (30.0, 32), (61.0, 64)])
def test_memory_that_the_system_keeps_makes_no_other_gpu(nvidia, monkeypatch, gib, rounded):
    monkeypatch.setattr(nvidia.cuda.Device, 'total_memory', lambda self: int(gib * 2 ** 30))
    assert describe_gpu(nvidia.cuda).memory_gib == rounded


def test_the_gpu_is_described(nvidia):
    gpu = describe_gpu(nvidia.cuda)
    assert (gpu.name, gpu.compute_capability, gpu.multiprocessors, gpu.integrated) == (
        'Orin', (8, 7), 8, True)


def test_there_is_one_logger(nvidia):
    assert load_nvidia().logger is nvidia.logger


def test_the_logger_keeps_the_last_errors_in_one_line_each(nvidia):
    logger, kinds = nvidia.logger, nvidia.trt.ILogger
    logger.log(kinds.WARNING, 'a warning')
    for number in range(6):
        logger.log(kinds.ERROR, f'error\n  {number}')
    assert list(logger.errors) == ['error 2', 'error 3', 'error 4', 'error 5']


@pytest.mark.parametrize(('logged', 'kind'), [
    ('Error Code 2: OutOfMemory (Requested size was 1)', GpuMemoryError),
    ('Cuda Runtime (out of memory)', GpuMemoryError), ('out of device memory', GpuMemoryError),
    ('Error Code 4: Internal Error', BackendError)])
def test_want_of_memory_is_an_error_of_its_own(nvidia, logged, kind):
    nvidia.logger.errors.append(logged)
    error = failure(nvidia.logger, 'do it')
    assert type(error) is kind and str(error) == f'TensorRT could not do it: {logged}'


def test_an_error_of_an_earlier_call_is_not_blamed(nvidia):
    nvidia.logger.errors.append('long ago')
    with pytest.raises(BackendError, match='could not make it: it logged no reason'):
        create_or_raise(lambda: None, logger=nvidia.logger, what='make it')


def test_false_is_a_failure(nvidia):
    check(True, nvidia.logger, 'do it')
    with pytest.raises(BackendError, match='could not do it'):
        check(False, nvidia.logger, 'do it')


def test_a_runtime_that_logs_an_error_is_none(nvidia):
    class Runtime:  # as without a driver: an object whose every use is a crash
        def __init__(self, logger):
            logger.log(nvidia.trt.ILogger.ERROR, 'CUDA initialization failure with error: 35')

    with pytest.raises(BackendError, match='make a runtime: CUDA initialization failure'):
        create_or_raise(Runtime, nvidia.logger, logger=nvidia.logger, what='make a runtime')


class Thing:
    """Something on the GPU."""


def test_an_error_keeps_nothing_of_the_frames_it_passed():
    found = []

    def deep():
        thing = Thing()
        found.append(weakref.ref(thing))
        raise ValueError('deep')

    def deeper():
        try:
            deep()
        except ValueError as err:
            raise KeyError('deeper') from err

    with pytest.raises(KeyError) as caught:
        deeper()
    assert found[0]() is not None
    forget_locals(caught.value)
    gc.collect()
    assert found[0]() is None


def test_the_context_is_given_back_also_after_an_error(nvidia):
    with pytest.raises(ValueError):
        with primary_context(nvidia.cuda):
            raise ValueError
    assert nvidia.cuda.GPU.stack() == [] and nvidia.cuda.GPU.primary_contexts == 0


@pytest.mark.parametrize('error', [ImportError, OSError, RuntimeError, AttributeError])
def test_a_library_that_does_not_fit_this_machine_is_named(nvidia, monkeypatch, error):
    def cannot(name):
        raise error('numpy.core.multiarray failed\n to import')

    monkeypatch.setattr('importlib.import_module', cannot)
    with pytest.raises(BackendError, match='tensorrt cannot be imported .numpy.core.multiarray '
                                           'failed to import.; it comes with JetPack'):
        load_nvidia()


# the worker

def test_everything_runs_in_one_thread_with_the_context(nvidia):
    worker = CudaWorker(nvidia)
    seen = {worker.call(lambda: (threading.current_thread().name, len(nvidia.cuda.GPU.stack())))
            for _ in range(3)}
    assert worker.close()
    assert seen == {('cuda', 1)}


def test_what_a_call_raises_is_raised_here_and_the_next_call_answered(nvidia):
    worker = CudaWorker(nvidia)
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 // 0)
    assert worker.call(lambda one, two: one + two, 1, 2) == 3
    worker.close()


def test_whatever_a_call_raises_its_caller_does_not_wait_for_ever(nvidia):
    worker = CudaWorker(nvidia)
    with pytest.raises(SystemExit):
        worker.call(sys.exit, 3)
    assert worker.call(lambda: 4) == 4
    worker.close()


def test_a_closed_worker_refuses_and_does_not_wait_for_ever(nvidia):
    worker = CudaWorker(nvidia)
    worker.close()
    worker.close()
    with pytest.raises(BackendError, match='closed'):
        worker.call(lambda: None)


def test_calls_from_many_threads_are_done_one_by_one(nvidia):
    worker, inside, most = CudaWorker(nvidia), [0], []

    def work():
        inside[0] += 1
        most.append(inside[0])
        inside[0] -= 1

    threads = [threading.Thread(target=lambda: [worker.call(work) for _ in range(50)])
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker.close()
    assert most == [1] * 200


def test_a_gpu_that_hangs_does_not_keep_the_node(nvidia):
    worker, go_on = CudaWorker(nvidia), threading.Event()
    caller = threading.Thread(target=lambda: worker.call(go_on.wait))
    caller.start()
    assert not worker.close(timeout_s=0.05)
    go_on.set()
    caller.join()
    assert worker.close()


def test_a_gpu_that_is_taken_is_an_error_and_not_a_wait_for_ever(nvidia):
    state = import_module('double_state').STATE
    state.failures['retain_primary_context'] = [nvidia.cuda.LogicError('exclusive')]
    with pytest.raises(BackendError, match=r'the GPU cannot be used \(exclusive\); is its memory'):
        CudaWorker(nvidia)
