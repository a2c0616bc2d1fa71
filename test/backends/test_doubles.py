"""The doubles see what they are there to see; a double that sees nothing proves nothing."""

from importlib import import_module

import numpy as np
import pytest

from helpers.tiny_model import CONTRACT, PRIORS, write_tiny_model

HEIGHT, WIDTH = CONTRACT.input_size_hw
SHAPES = {'images': (1, HEIGHT, WIDTH, 3), 'boxes': (1, PRIORS, 4), 'scores': (1, PRIORS, 3)}


class Gpu:
    """The doubles with a context, a stream and an engine of the tiny model."""

    def __init__(self, state, model):
        self.state = state
        self.cuda, self.trt = import_module('pycuda.driver'), import_module('tensorrt')
        self.cuda.init()
        self.retained = self.cuda.Device(0).retain_primary_context()
        self.retained.push()
        from mbv2ssd_ros.backends.trt.build import build_engine, BuildRequest
        from mbv2ssd_ros.backends.trt.nvidia import load_nvidia
        nvidia = load_nvidia()
        self.plan = build_engine(nvidia, model, BuildRequest(
            'tiny', 'fp32', (HEIGHT, WIDTH), (1,)), b'', lambda phase: None).plan
        self.runtime = self.trt.Runtime(nvidia.logger)
        self.logger = nvidia.logger
        self.stream = self.cuda.Stream(1)

    def context(self, arrays):
        """Make a context that is ready to run on these arrays."""
        context = self.runtime.deserialize_cuda_engine(self.plan).create_execution_context()
        assert context.set_input_shape('images', SHAPES['images'])
        for name, array in arrays.items():
            assert context.set_tensor_address(name, array.base.get_device_pointer())
        return context

    def arrays(self):
        """Allocate inputs and outputs."""
        return {name: self.cuda.pagelocked_empty(
            shape, np.uint8 if name == 'images' else np.float32)
            for name, shape in SHAPES.items()}

    def leave(self):
        """Free everything in order."""
        del self.runtime, self.stream
        self.cuda.Context.pop()
        del self.retained


@pytest.fixture
def gpu(double, tmp_path):
    """Return the doubles at work; the rules that a test breaks on purpose are forgotten."""
    made = Gpu(double(graphs=True), write_tiny_model(tmp_path / 'tiny.onnx').read_bytes())
    yield made
    made.leave()
    made.state.broken_rules.clear()


def test_results_are_there_after_the_synchronisation_and_not_before(gpu):
    arrays = gpu.arrays()
    context = gpu.context(arrays)
    arrays['images'][...] = 0
    assert context.execute_async_v3(gpu.stream.handle)
    assert not np.isclose(arrays['scores'][0, 0, 0], 1)
    gpu.stream.synchronize()
    assert arrays['scores'][0, 0, 0] == 1  # black: background


def test_an_input_that_is_reused_too_early_is_seen_by_the_network(gpu):
    arrays = gpu.arrays()
    context = gpu.context(arrays)
    arrays['images'][...] = 0
    context.execute_async_v3(gpu.stream.handle)
    arrays['images'][..., 0] = 255
    gpu.stream.synchronize()
    assert arrays['scores'][0, 0, 1] == 1  # red, which was not meant


def test_memory_that_is_freed_while_it_is_used_is_noticed(gpu):
    arrays = gpu.arrays()
    context = gpu.context(arrays)
    context.execute_async_v3(gpu.stream.handle)
    del arrays
    assert 'host memory was freed while a stream uses it' in gpu.state.broken_rules
    gpu.stream.synchronize()


def test_what_is_freed_without_a_context_is_noticed(gpu):
    arrays = gpu.arrays()
    gpu.retained.pop()
    del arrays
    gpu.retained.push()
    assert any('out-of-thread context' in rule for rule in gpu.state.broken_rules)


def test_nothing_works_without_a_context(gpu):
    gpu.retained.pop()
    for call in (lambda: gpu.cuda.mem_alloc(1), gpu.cuda.mem_get_info, gpu.cuda.Stream,
                 lambda: gpu.cuda.pagelocked_empty((1,), np.uint8), gpu.stream.synchronize,
                 lambda: gpu.runtime.deserialize_cuda_engine(gpu.plan)):
        with pytest.raises(gpu.cuda.LogicError, match='no currently active context'):
            call()
    gpu.retained.push()


@pytest.mark.parametrize('missing', SHAPES)
def test_an_address_that_was_not_set_is_a_refused_run(gpu, missing):
    arrays = gpu.arrays()
    del arrays[missing]
    assert not gpu.context(arrays).execute_async_v3(gpu.stream.handle)
    assert missing in gpu.logger.errors[-1]


def test_a_shape_that_was_not_set_is_a_refused_run(gpu):
    context = gpu.runtime.deserialize_cuda_engine(gpu.plan).create_execution_context()
    assert not context.execute_async_v3(gpu.stream.handle)


def test_a_shape_outside_the_profile_is_refused(gpu):
    context = gpu.context(gpu.arrays())
    assert not context.set_input_shape('images', (2, HEIGHT, WIDTH, 3))
    assert not context.set_input_shape('images', (1, WIDTH, HEIGHT, 3))


@pytest.mark.parametrize(('address', 'rule'), [
    (lambda arrays: arrays['boxes'].base.get_device_pointer() + 4, 'not aligned'),
    (lambda arrays: 512, 'is not that of an allocation')])
def test_a_wrong_address_is_noticed(gpu, address, rule):
    arrays = gpu.arrays()
    context = gpu.context(arrays)
    with pytest.raises(AssertionError, match=rule):
        context.set_tensor_address('boxes', address(arrays))
        context.execute_async_v3(gpu.stream.handle)


def test_a_buffer_that_is_too_small_is_noticed(gpu):
    arrays = {**gpu.arrays(), 'scores': gpu.cuda.pagelocked_empty((1, 1, 3), np.float32)}
    with pytest.raises(AssertionError, match='288 bytes are used of 12'):
        gpu.context(arrays).execute_async_v3(gpu.stream.handle)


def test_pageable_memory_is_not_asynchronous(gpu):
    memory = gpu.cuda.mem_alloc(4)
    with pytest.raises(AssertionError, match='not page-locked'):
        gpu.cuda.memcpy_htod_async(memory, np.zeros(4, np.uint8), gpu.stream)


def test_the_default_stream_is_noticed(gpu):
    memory = gpu.cuda.mem_alloc(4)
    with pytest.raises(AssertionError, match='without a stream of its own'):
        gpu.cuda.memcpy_htod_async(memory, gpu.cuda.pagelocked_empty((4,), np.uint8))


# graphs

@pytest.fixture
def recording(gpu):
    """Return a function that begins to record; what was recorded is freed at the end."""
    driver = import_module('cuda.bindings.driver')
    stream = driver.CUstream(gpu.stream.handle)

    def begin(mode='THREAD_LOCAL'):
        return driver.cuStreamBeginCapture(stream, getattr(
            driver.CUstreamCaptureMode, f'CU_STREAM_CAPTURE_MODE_{mode}'))

    yield driver, stream, begin
    gpu.stream._recorded, gpu.stream._pending = None, []
    gpu.cuda.GPU.graphs.clear()


def test_the_first_run_cannot_be_recorded_and_the_second_is_not_done_yet(gpu, recording):
    driver, stream, begin = recording
    arrays = gpu.arrays()
    context = gpu.context(arrays)
    arrays['images'][...] = 0
    begin()
    assert not context.execute_async_v3(gpu.stream.handle)
    driver.cuStreamEndCapture(stream)
    context.execute_async_v3(gpu.stream.handle)
    gpu.stream.synchronize()
    arrays['scores'][...] = -1
    begin()
    assert context.execute_async_v3(gpu.stream.handle)
    _, graph = driver.cuStreamEndCapture(stream)
    gpu.stream.synchronize()
    assert arrays['scores'][0, 0, 0] == -1
    driver.cuGraphLaunch(driver.cuGraphInstantiate(graph, 0)[1], stream)
    gpu.stream.synchronize()
    assert arrays['scores'][0, 0, 0] == 1  # black: background


@pytest.mark.parametrize(('call', 'rule'), [
    (lambda gpu: gpu.stream.synchronize(), 'synchronised while a graph is recorded'),
    (lambda gpu: gpu.cuda.mem_alloc(4), 'allocated while a graph is recorded')])
def test_what_breaks_a_recording_is_noticed(gpu, recording, call, rule):
    recording[2]()
    with pytest.raises(AssertionError, match=rule):
        call(gpu)


def test_a_recording_that_others_would_feel_is_noticed(recording):
    with pytest.raises(AssertionError, match='forbids other threads'):
        recording[2]('GLOBAL')


def recorded_run(gpu, recording):
    """Record a run; return what can be launched, the context and the memory it uses."""
    driver, stream, begin = recording
    arrays = gpu.arrays()
    context = gpu.context(arrays)
    context.execute_async_v3(gpu.stream.handle)
    gpu.stream.synchronize()
    begin()
    context.execute_async_v3(gpu.stream.handle)
    return driver.cuGraphInstantiate(driver.cuStreamEndCapture(stream)[1], 0)[1], context, arrays


def test_a_graph_that_outlives_its_execution_context_is_noticed(gpu, recording):
    graph, context, arrays = recorded_run(gpu, recording)
    del context
    recording[0].cuGraphLaunch(graph, recording[1])
    with pytest.raises(AssertionError, match='execution context that was destroyed'):
        gpu.stream.synchronize()


def test_a_graph_that_outlives_its_memory_is_noticed(gpu, recording):
    graph, context, arrays = recorded_run(gpu, recording)
    del arrays
    with pytest.raises(AssertionError, match='not that of an allocation'):
        recording[0].cuGraphLaunch(graph, recording[1])


def test_a_graph_that_was_freed_is_noticed(gpu, recording):
    driver, stream, _ = recording
    graph, *_ = recorded_run(gpu, recording)
    driver.cuGraphExecDestroy(graph)
    for call in (lambda: driver.cuGraphLaunch(graph, stream),
                 lambda: driver.cuGraphExecDestroy(graph)):
        with pytest.raises(AssertionError, match='freed'):
            call()


@pytest.mark.parametrize('damage', [lambda plan: plan[:-1], lambda plan: b'', lambda plan:
                                    plan[:60] + bytes([plan[60] ^ 1]) + plan[61:]])
def test_a_damaged_engine_is_noticed(gpu, damage):
    with pytest.raises(AssertionError, match='damaged engine reached TensorRT'):
        gpu.runtime.deserialize_cuda_engine(damage(gpu.plan))


def test_two_contexts_do_not_share_a_profile(gpu):
    engine = gpu.runtime.deserialize_cuda_engine(gpu.plan)
    first, second = engine.create_execution_context(), engine.create_execution_context()
    assert first.set_optimization_profile_async(0, gpu.stream.handle)
    assert not second.set_optimization_profile_async(0, gpu.stream.handle)
    assert not second.set_input_shape('images', SHAPES['images'])
    del first, second, engine


def test_precision_flags_are_refused_where_types_count(gpu):
    builder = gpu.trt.Builder(gpu.logger)
    network = builder.create_network(1 << int(
        gpu.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    config = builder.create_builder_config()
    config.set_flag(gpu.trt.BuilderFlag.FP16)
    assert builder.build_serialized_network(network, config) is None


def test_a_transpose_before_the_cast_is_refused(gpu, tmp_path):
    import onnx
    path = write_tiny_model(tmp_path / 'tiny.onnx')
    model = onnx.load(path)
    cast, transpose = model.graph.node[0], model.graph.node[1]
    transpose.input[0], transpose.output[0] = 'images', 'float'
    cast.input[0], cast.output[0] = 'float', 'nchw'
    nodes = [transpose, cast, *model.graph.node[2:]]
    copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copied)
    onnx.checker.check_model(model)  # valid ONNX it is
    builder = gpu.trt.Builder(gpu.logger)
    parser = gpu.trt.OnnxParser(builder.create_network(1), gpu.logger)
    assert not parser.parse(model.SerializeToString())
    assert 'UINT8' in parser.get_error(0).desc()
    del parser, builder
