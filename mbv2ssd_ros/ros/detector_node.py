"""The detector node: a lifecycle around the pipeline."""

from __future__ import annotations

import atexit
from collections.abc import Callable
import time
import traceback
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from mbv2ssd_ros.core.errors import ConfigError, Mbv2SsdError
from mbv2ssd_ros.latency import Recorder
from mbv2ssd_ros.ros.camera_monitor import CameraReport
from mbv2ssd_ros.ros.diagnostics import diagnostics, NodeReport
from mbv2ssd_ros.ros.events import NO_EVENTS
from mbv2ssd_ros.ros.memory import freeze_loaded, give_back_unused
from mbv2ssd_ros.ros.parameter_table import ParameterTable
from mbv2ssd_ros.ros.parameters import is_live
from mbv2ssd_ros.ros.pipeline import describe, Pipeline
from mbv2ssd_ros.ros.shared_memory import remove_unused
from mbv2ssd_ros.ros.start import check_arguments, intention, unused_files
from mbv2ssd_ros.ros.throttle import ThrottledLog
from mbv2ssd_ros.ros.typed_status import detector_status, status_messages

UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED = 'unconfigured', 'inactive', 'active', 'finalized'
HOW_TO_ACTIVATE = ('To activate it: ros2 lifecycle set {name} configure, then activate; or a '
                   'lifecycle manager; or start it with autostart:=true')
_UNCONFIGURED_S = 5.0  # for longer is a warning
_REPORT_PERIOD_S = 1.0
_ERROR_PAUSE_S = 0.01  # a repeating error must not take a whole core


class DetectorNode(LifecycleNode):
    """
    Detects objects in the images of one or more cameras.

    A failed transition returns FAILURE and logs one line; the node keeps its state and can be
    configured again.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        """Declare the parameters; nothing is loaded before configure."""
        super().__init__('detector')
        self._recorder = recorder
        self._state = UNCONFIGURED
        self._failure = ''
        self._pipeline: Pipeline | None = None
        self._unconfigured_since = time.monotonic()
        self._table = ParameterTable(self)
        if hasattr(self, 'add_pre_set_parameters_callback'):  # not in Humble
            self.add_pre_set_parameters_callback(self._before_set_parameters)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        _reject_impossible_transitions(self)
        self._diagnostics = self.create_publisher(
            DiagnosticArray, '/diagnostics', 10, event_callbacks=NO_EVENTS)
        self._messages: Any = status_messages()
        self._status: Any = None
        if self._messages is None:
            self.get_logger().info(
                'mbv2ssd_msgs is not installed: no ~/status, /diagnostics has the same figures')
        else:
            self._status = self.create_publisher(
                self._messages.DetectorStatus, '~/status', 10, event_callbacks=NO_EVENTS)
        # steady: paused simulated time must not stop the reports
        self.create_timer(_REPORT_PERIOD_S, self._report,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    def autostart(self) -> bool:
        """Configure and activate if the parameter is set; False (logged) on failure."""
        if problem := self._table.problem('autostart'):
            self.get_logger().error(f'autostart failed: {problem}')
            return False
        if self.get_parameter('autostart').value:
            for trigger in (self.trigger_configure, self.trigger_activate):
                if trigger() != TransitionCallbackReturn.SUCCESS:
                    self.get_logger().error(f'autostart failed; the node stays {self._state}')
                    return False
        self._announce()
        return True

    def _announce(self) -> None:
        """Log the state, what the node runs, and what activates it."""
        name = self.get_fully_qualified_name()
        try:
            plan = intention(self, self._table.read())
        except (ConfigError, ValueError, RuntimeError) as err:  # configure says more
            plan = f'cannot be configured: {err}'
        how = '' if self._state == ACTIVE else f'. {HOW_TO_ACTIVATE.format(name=name)}'
        self.get_logger().info(f'{name} is {self._state}; {plan}{how}')

    def close(self) -> None:
        """Stop and free everything, in any state."""
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            pipeline.close()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters and load the model."""
        return self._transition('configure', self._configure, INACTIVE)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the images."""
        def activate() -> None:
            super(DetectorNode, self).on_activate(state)
            try:
                self._configured().start()
            except Exception:
                super(DetectorNode, self).on_deactivate(state)
                raise
        return self._transition('activate', activate, ACTIVE)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the model stays loaded."""
        def deactivate() -> None:
            self._configured().stop()
            super(DetectorNode, self).on_deactivate(state)
        return self._transition('deactivate', deactivate, INACTIVE)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        return self._transition('cleanup', self.close, UNCONFIGURED)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from any state."""
        return self._transition('shutdown', self.close, FINALIZED)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, so that the node can be configured again."""
        return self._transition('error processing', self.close, UNCONFIGURED)

    def _configure(self) -> None:
        self._table.declare_cameras()
        for warning in self._table.check():
            self.get_logger().warning(warning)
        self._pipeline = Pipeline(self, self._table.read(), self._recorder)
        freeze_loaded()
        give_back_unused()
        self.get_logger().info(describe(self._pipeline.backend, self._pipeline.model_path))

    def _configured(self) -> Pipeline:
        assert self._pipeline is not None, 'the state machine lets no unconfigured node get here'
        return self._pipeline

    def _transition(self, name: str, step: Callable[[], None], reached: str
                    ) -> TransitionCallbackReturn:
        """Run a step; rclpy would swallow its exceptions without a log line."""
        try:
            step()
        except Mbv2SsdError as err:
            self._failure = f'{name} failed: {err}'
        except Exception:  # an unexpected error must be logged, too
            if not self.context.ok():  # a signal shut ROS down meanwhile
                return TransitionCallbackReturn.FAILURE
            self._failure = f'{name} failed, unexpected error:\n{traceback.format_exc()}'
        else:
            self._state, self._failure = reached, ''
            self._unconfigured_since = time.monotonic()
            return TransitionCallbackReturn.SUCCESS
        self.get_logger().error(self._failure)
        return TransitionCallbackReturn.FAILURE

    def _before_set_parameters(self, changes: list[Parameter]) -> list[Parameter]:
        if self._pipeline is None:
            self._table.declare_new_cameras(changes)
        return self._table.converted(changes)

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            self._check_changes(changes)
        except ConfigError as err:
            return SetParametersResult(successful=False, reason=str(err))
        self._table.accepted(changes)
        if self._pipeline is None:
            self._table.declare_new_cameras(changes)
        return SetParametersResult(successful=True)

    def _check_changes(self, changes: list[Parameter]) -> None:
        """Check all changes together, then apply all or none."""
        if self._pipeline is not None:
            for change in changes:
                if not is_live(change.name) and change.value != self.get_parameter(
                        change.name).value:
                    raise ConfigError(
                        f'{change.name} is read when the node is configured, and it is '
                        f'{self._state}: clean it up first')
        try:
            params = self._table.read(changes)
        except ConfigError:
            if self._table.is_sound():
                raise
            return  # several bad values can be corrected one by one; configure checks again
        if self._pipeline is not None:
            self._pipeline.check(params.live)
            self._pipeline.apply(params.live)

    def _report(self) -> None:
        cameras = () if self._pipeline is None else self._pipeline.report()
        wanted = [publisher for publisher in (self._diagnostics, self._status)
                  if publisher is not None and publisher.get_subscription_count()]
        if not wanted:  # saves a millisecond, in which an image could wait
            return
        report = self._node_report(cameras)
        header = Header(stamp=self.get_clock().now().to_msg())
        if self._diagnostics in wanted:
            self._diagnostics.publish(diagnostics(report, header))
        if self._status in wanted:
            self._status.publish(detector_status(self._messages, report, header))

    def _node_report(self, cameras: tuple[CameraReport, ...]) -> NodeReport:
        name = self.get_fully_qualified_name()
        if self._pipeline is None:
            waited_s = time.monotonic() - self._unconfigured_since
            warning = '' if self._state != UNCONFIGURED or waited_s < _UNCONFIGURED_S else (
                f'unconfigured for {waited_s:.0f} s. {HOW_TO_ACTIVATE.format(name=name)}')
            return NodeReport(name, self._state, self._failure, warning)
        backend = self._pipeline.backend
        return NodeReport(
            name, self._state, self._failure, model=str(self._pipeline.model_path),
            model_fingerprint=backend.contract.arch_fingerprint,
            precision=backend.contract.precision, backend=backend.name,
            backend_detail=backend.detail, cameras=cameras)


def _reject_impossible_transitions(node: LifecycleNode) -> None:
    """Reject transitions that the state does not allow; rclpy would end the process."""
    for service in node.services:
        if service.srv_type is ChangeState:
            service.callback = _rejecting(service.callback, node)


def _rejecting(change_state: Callable[..., Any], node: LifecycleNode) -> Callable[..., Any]:
    def callback(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RuntimeError as err:  # the base of rclpy's RCLError
            node.get_logger().warning(
                f'transition {request.transition.label or request.transition.id} rejected: {err}')
            response.success = False
            return response
    return callback


def run(args: list[str], interrupted: Callable[[], bool],
        recorder: Recorder | None = None) -> int:
    """
    Serve a node until SIGINT or SIGTERM and return the exit code.

    Args:
        args: the command line without the name of the program.
        interrupted: whether a signal came before rclpy installed its handlers.
        recorder: gets the latency of each published frame.

    Raises:
        SystemExit: ROS rejects the command line, a parameter file or a parameter of its own.
    """
    cv2.setNumThreads(1)  # linear resizing gains nothing from more, and they disturb the engine
    try:
        rclpy.init(args=args)  # installs handlers that end the spinning
        check_arguments(args)
    except (RuntimeError, ConfigError) as err:  # the base of rclpy's RCLError
        rclpy.try_shutdown()
        raise _cannot_start(err) from err
    try:
        return 0 if interrupted() else _serve(args, recorder)
    except ParameterException as err:  # of a parameter of rclpy itself
        raise _cannot_start(err) from err
    except Exception:
        if rclpy.ok():
            raise
        return 0  # the context was shut down during a call: a signal, not an error
    finally:
        rclpy.try_shutdown()
        freeze_loaded()  # frees the node and its files now; the process also ends faster


def _cannot_start(err: Exception) -> SystemExit:
    return SystemExit(f'detector_node cannot start: {type(err).__name__}: {err}')


def _serve(args: list[str], recorder: Recorder | None) -> int:
    node = DetectorNode(recorder)
    for problem in unused_files(args, node):
        node.get_logger().warning(problem)
    if node.get_parameter('clean_shared_memory').value:
        remove_unused()
        atexit.register(remove_unused)
    try:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        started = node.autostart()
        if not started and node.get_parameter('exit_on_failed_autostart').value and rclpy.ok():
            return 1
        spin(executor, ThrottledLog(node.get_logger().error))
        return 0
    finally:
        node.close()
        node.destroy_node()


def spin(executor: Executor, log_error: ThrottledLog) -> None:
    """Serve callbacks until the context is shut down; an error costs its callback only."""
    while True:
        try:
            executor.spin()
            return
        except ExternalShutdownException:
            return
        except Exception as err:  # of any kind: the detector of a robot continues
            if not executor.context.ok():
                return
            log_error(type(err).__name__, f'unexpected error:\n{traceback.format_exc()}')
            time.sleep(_ERROR_PAUSE_S)
