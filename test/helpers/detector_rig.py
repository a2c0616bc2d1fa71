"""A detector node in a process of its own and a peer in this one that talks to it over DDS."""

from contextlib import contextmanager
import itertools
import signal
import time

import numpy as np

from helpers.crowding import crowding
from helpers.tiny_model import CELL_PX, INPUT_SIZE_HW

TIMEOUT_S = 20.0
RETRY_S = 0.1  # after which a question that changes nothing is asked again


def picture(red=(), green=(), scale=1, size_hw=INPUT_SIZE_HW):
    """
    Paint cells of the tiny model's grid; the rest is black.

    Args:
        red: (row, column, value) of red cells.
        green: the same for green ones.
        scale: how many times larger than the network input.
        size_hw: of the network input.

    Returns:
        (H, W, 3) uint8 rgb.
    """
    pixels = np.zeros((size_hw[0] * scale, size_hw[1] * scale, 3), np.uint8)
    cell = CELL_PX * scale
    for channel, cells in enumerate((red, green)):
        for row, column, value in cells:
            pixels[row * cell:(row + 1) * cell, column * cell:(column + 1) * cell, channel] = value
    return pixels


def image_msg(pixels, stamp_ns=0, frame_id='lens'):
    """Make an rgb8 Image of an array."""
    from sensor_msgs.msg import Image
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, step=3 * width, encoding='rgb8')
    message.data.frombytes(pixels.tobytes())
    return stamped(message, stamp_ns, frame_id)


def compressed_msg(pixels, extension='.png', stamp_ns=0, frame_id='lens'):
    """Make a CompressedImage of an rgb array."""
    import cv2
    from sensor_msgs.msg import CompressedImage
    message = CompressedImage(format=extension[1:])
    message.data.frombytes(cv2.imencode(extension, pixels[..., ::-1])[1].tobytes())
    return stamped(message, stamp_ns, frame_id)


def stamped(message, stamp_ns, frame_id='lens'):
    """Set the header of a message."""
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    return message


def stamp_ns(header):
    """Return the stamp of a header as one number."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


class Peer:
    """A node in the test's process."""

    def __init__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node('peer', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._clients = {}

    def wait_for(self, condition, what, timeout_s=TIMEOUT_S):
        """Serve this node until the condition is true; return its value."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f'no {what() if callable(what) else what}'
            self._executor.spin_once(timeout_sec=0.05)
        return value

    def spin_for(self, seconds):
        """Serve this node for a while: to see that something does not happen."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def call(self, service_type, name, request, log=''):
        """
        Call a service and return the response.

        A response is lost for good when the server has not yet found this client, which finds
        the server on its own. So a client is kept, and a new one first sees to it that it is
        known.
        """
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.node.create_client(service_type, name)
            self._wait_until_known(name.rpartition('/')[0], log)
        self.wait_for(client.service_is_ready, lambda: f'service {name}; {log}')
        future = client.call_async(request)
        self.wait_for(future.done, lambda: f'response of {name}; {log}')
        return future.result()

    def _wait_until_known(self, node_name, log):
        """
        Wait until a node knows every client made here so far.

        DDS tells a participant's endpoints in the order of their making: who answers the newest
        client knows the older ones. The question changes nothing and is repeated, because its
        own response may be lost.
        """
        from rcl_interfaces.srv import GetParameterTypes
        name = f'{node_name}/get_parameter_types'
        newest = self.node.create_client(GetParameterTypes, name)
        self.wait_for(newest.service_is_ready, lambda: f'service {name}; {log}')
        futures = []

        def answered():
            if time.monotonic() >= answered.again:
                futures.append(newest.call_async(GetParameterTypes.Request()))
                answered.again = time.monotonic() + RETRY_S
            return any(future.done() for future in futures)
        answered.again = time.monotonic()
        self.wait_for(answered, lambda: f'response of {name}; {log}')
        self.node.destroy_client(newest)

    def collect(self, message_type, topic, qos=10):
        """Subscribe; return the list that gets the messages."""
        messages = []
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def close(self):
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


class Detector:
    """A detector node in a process of its own, in a namespace of its own."""

    def __init__(self, peer, program, namespace):
        self.peer, self.program, self.namespace = peer, program, namespace
        self.name = f'{namespace}/detector'

    def topic(self, relative):
        """Return the full name of a topic of this node's namespace."""
        return f'{self.namespace}/{relative}'

    def log(self):
        """Return what the node has written so far."""
        return self.program.log_file.read_text()

    def change_state(self, label):
        """Ask for a transition by its label; return whether it worked."""
        from lifecycle_msgs.srv import ChangeState
        request = ChangeState.Request()
        request.transition.label = label
        return self._call(ChangeState, 'change_state', request).success

    def change_state_by_id(self, number):
        """Ask for a transition by its number; return whether it worked."""
        from lifecycle_msgs.srv import ChangeState
        request = ChangeState.Request()
        request.transition.id = number
        return self._call(ChangeState, 'change_state', request).success

    def state(self):
        """Return the label of the lifecycle state."""
        return self._state().label

    def state_id(self):
        """Return the number of the lifecycle state."""
        return self._state().id

    def _state(self):
        from lifecycle_msgs.srv import GetState
        return self._call(GetState, 'get_state', GetState.Request()).current_state

    def activate(self):
        """Configure and activate."""
        assert self.change_state('configure'), self.log()
        assert self.change_state('activate'), self.log()

    def set(self, atomically=False, **values):
        """Set parameters; __ stands for the dot. Return '' or the reasons why not."""
        from rcl_interfaces.srv import SetParameters, SetParametersAtomically
        from rclpy.parameter import Parameter
        parameters = [Parameter(name.replace('__', '.'), value=value).to_parameter_msg()
                      for name, value in values.items()]
        if atomically:
            results = [self._call(SetParametersAtomically, 'set_parameters_atomically',
                                  SetParametersAtomically.Request(parameters=parameters)).result]
        else:
            results = self._call(SetParameters, 'set_parameters',
                                 SetParameters.Request(parameters=parameters)).results
        return '; '.join(result.reason for result in results if not result.successful)

    def get(self, name):
        """Return the value of a parameter."""
        from rcl_interfaces.srv import GetParameters
        from rclpy.parameter import parameter_value_to_python
        response = self._call(
            GetParameters, 'get_parameters', GetParameters.Request(names=[name]))
        return parameter_value_to_python(response.values[0])

    def diagnosis(self, name, condition, what):
        """Wait until the newest diagnostic status of that name meets a condition."""
        from diagnostic_msgs.msg import DiagnosticArray
        arrays = self.peer.collect(DiagnosticArray, '/diagnostics')

        def found():
            for array in arrays:
                for status in array.status:
                    values = {entry.key: entry.value for entry in status.values}
                    if status.name == f'{self.name}: {name}' and condition(status, values):
                        return status, values
            arrays.clear()
            return None
        return self.peer.wait_for(found, lambda: f'{what} in /diagnostics; {self.log()}')

    def stop(self, number=signal.SIGINT):
        """Send a signal; return exit code and seconds until the end, had it a core for itself."""
        started = time.monotonic()
        self.program.process.send_signal(number)
        code, seconds = self.program.wait(60.0), time.monotonic() - started
        return code, seconds / crowding()

    def _call(self, service_type, name, request):
        return self.peer.call(service_type, f'{self.name}/{name}', request, self.log())


class CameraPeer:
    """The test's side of one camera: publishes images, collects detections."""

    def __init__(self, detector, name='camera', message_type=None, reliable=True,
                 wait_for_subscriber=True):
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CompressedImage, Image
        from vision_msgs.msg import Detection2DArray
        self.peer, self.detector = detector.peer, detector
        message_type = message_type or Image
        suffix = '/compressed' if message_type is CompressedImage else ''
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self.publisher = self.peer.node.create_publisher(
            message_type, detector.topic(f'{name}/image_raw{suffix}'),
            QoSProfile(depth=10, reliability=reliability))
        self.received = self.peer.collect(Detection2DArray, detector.topic(f'{name}/detections'))
        self._stamps = itertools.count(1)
        if wait_for_subscriber:
            self.peer.wait_for(self.publisher.get_subscription_count, 'subscription to the images')
            self.peer.wait_for(
                lambda: self.peer.node.count_publishers(detector.topic(f'{name}/detections')),
                'publisher of detections')
            self.wait_until_answered()

    def wait_until_answered(self):
        """Send black images until one is answered: discovery has two sides."""
        while not self.received:
            self.publisher.publish(self._probe())
            self.peer.spin_for(0.05)
        self.peer.spin_for(0.1)
        self.received.clear()

    def _probe(self):
        from sensor_msgs.msg import Image
        black = picture()
        if self.publisher.msg_type is Image:
            return image_msg(black, time.time_ns(), 'probe')
        return compressed_msg(black, stamp_ns=time.time_ns(), frame_id='probe')

    def send(self, message):
        """Publish an image."""
        self.publisher.publish(message)

    @contextmanager
    def streaming(self, message, period_s=0.05):
        """Publish an image again and again while the test waits for something."""
        timer = self.peer.node.create_timer(
            period_s, lambda: self.send(stamped(message, time.time_ns(), 'stream')))
        yield
        self.peer.node.destroy_timer(timer)

    def ask(self, message):
        """Publish an image with a stamp of its own and return its answer."""
        wanted = time.time_ns()
        self.send(stamped(message, wanted, message.header.frame_id))
        return self.peer.wait_for(
            lambda: next((m for m in self.received if stamp_ns(m.header) == wanted), None),
            lambda: f'answer; {self.detector.log()}')
