"""
The parameters of the node, in one place: type, default, range, description.

`NODE_PARAMETERS` and `camera_parameters` are the documentation that `ros2 param describe` shows;
`config/detector.yaml` has the same names in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import re
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from mbv2ssd_ros.backends.base import ANY_PRECISION, BackendOptions
from mbv2ssd_ros.backends.opening import BACKENDS
from mbv2ssd_ros.core.contract import PRECISIONS
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError

TRANSPORTS = ('raw', 'compressed')
RELIABILITIES = ('best_effort', 'reliable')
MAX_CAMERAS = 8
NO_NAMES = ['']  # how ROS writes a list of no strings: an empty list has no type
_CAMERA_NAME = re.compile(r'[A-Za-z]\w*')
_DETECTION = DetectionSettings()
_OPTIONS = BackendOptions()


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter. Its type is that of its default."""

    default: Any
    description: str
    allowed: tuple[Any, Any] | None = None  # smallest and largest value
    live: bool = False  # may change while the node is configured

    def descriptor(self) -> ParameterDescriptor:
        """Return what `ros2 param describe` shows and rclpy enforces."""
        when = 'at any time' if self.live else 'only while the node is unconfigured'
        found = ParameterDescriptor(
            description=self.description, additional_constraints=f'May be changed {when}.')
        if self.allowed is not None:
            low, high = self.allowed
            if isinstance(self.default, float):
                found.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
            else:
                found.integer_range = [IntegerRange(from_value=low, to_value=high)]
        return found


NODE_PARAMETERS: Mapping[str, ParameterSpec] = {
    'model_path': ParameterSpec(
        '', 'ONNX file made by `mbv2ssd_train export`, or the name of one of the package, '
        'such as mbv2_ssdlite_320_voc.onnx. Empty: mbv2_ssdlite_voc.onnx of the package.'),
    'backend': ParameterSpec(
        'auto', f'Inference engine: {", ".join(BACKENDS)}. auto takes tensorrt where it can be '
        'used, onnxruntime elsewhere, and logs why.'),
    'precision': ParameterSpec(
        _OPTIONS.precision, f'What the model must be: {", ".join(PRECISIONS)}, or '
        f'{ANY_PRECISION}. No backend converts a model: another one is refused.'),
    'engine_cache_dir': ParameterSpec(
        _OPTIONS.engine_cache_dir, 'tensorrt: folder of the engines that were built, which only '
        'this user may write to. Empty: ~/.cache/mbv2ssd.'),
    'cameras': ParameterSpec(
        ['camera'], 'Names of the cameras. Each has parameters of its own, <name>.image_topic '
        'and so on.'),
    'score_threshold': ParameterSpec(
        _DETECTION.score_threshold, 'A detection must score more than this to be reported.',
        (0.0, 1.0), live=True),
    'nms_iou': ParameterSpec(
        _DETECTION.nms_iou, 'A box that overlaps a better one of its class by more than this IoU '
        'is not reported.', (0.0, 1.0), live=True),
    'max_detections': ParameterSpec(
        _DETECTION.max_detections, 'Detections in one message at most, the best ones. Each costs '
        'a Python subscriber 27 us.', (1, 1000), live=True),
    'class_allow': ParameterSpec(
        NO_NAMES, "Only these classes are reported. ['']: all.", live=True),
    'class_thresholds': ParameterSpec(
        NO_NAMES, "Thresholds that replace score_threshold for a class: ['person:0.5', ...].",
        live=True),
    'class_agnostic_nms': ParameterSpec(
        _DETECTION.class_agnostic, 'Let a box suppress boxes of every class, not only of its own.',
        live=True),
    'max_age_ms': ParameterSpec(
        0.0, 'An image older than this is dropped, before inference and before publishing. 0: '
        'off. Images without a stamp have no age.', (0.0, 60000.0), live=True),
    'max_batch_wait_ms': ParameterSpec(
        5.0, 'How long an image may wait for other cameras to fill a batch. Backends that take '
        'single images, as onnxruntime, never wait.', (0.0, 1000.0)),
    'publish_debug_image': ParameterSpec(
        True, 'Offer <detections_topic>/debug_image: the image with boxes, made only while '
        'somebody subscribes.', live=True),
    'debug_image_rate_hz': ParameterSpec(
        10.0, 'Debug images a second and camera at most.', (0.1, 60.0), live=True),
    'silence_timeout_s': ParameterSpec(
        2.0, 'A camera without an image for this long, or an image without an answer, is an error '
        'in /diagnostics.', (0.1, 3600.0), live=True),
    'autostart': ParameterSpec(
        False, 'Configure and activate at start, without a lifecycle manager.'),
    'exit_on_failed_autostart': ParameterSpec(
        False, 'End with exit code 1 when autostart fails, for a supervisor that starts the node '
        'again. false: stay, say why, and wait to be configured.'),
    'providers': ParameterSpec(
        list(_OPTIONS.providers), 'onnxruntime: execution providers, the preferred one first. '
        'One that cannot be had is an error.'),
    'ort_threads': ParameterSpec(
        _OPTIONS.threads, 'onnxruntime: threads of one inference. At camera pace 2 are no faster '
        'than 1, unless they spin.', (1, 64)),
    'ort_spin': ParameterSpec(
        _OPTIONS.spin, 'onnxruntime: let waiting threads spin. 1.4 to 1.8 times faster with 2 '
        'threads, but burns a core also between images.'),
    'ort_workers': ParameterSpec(
        _OPTIONS.workers, 'onnxruntime: images of different cameras inferred at the same time.',
        (1, 16)),
}


def camera_parameters(name: str, transport: str) -> dict[str, ParameterSpec]:
    """Return the specs of one camera by full name; the transport decides the default topic."""
    suffix = '/compressed' if transport == 'compressed' else ''
    return {
        f'{name}.transport': ParameterSpec(
            'raw', 'raw: sensor_msgs/Image; compressed: sensor_msgs/CompressedImage.'),
        f'{name}.image_topic': ParameterSpec(
            f'{name}/image_raw{suffix}', 'Topic of the images, exactly as it is published.'),
        f'{name}.detections_topic': ParameterSpec(
            f'{name}/detections', 'Topic of the detections of this camera.'),
        f'{name}.max_rate_hz': ParameterSpec(
            0.0, 'Images a second that are processed at most, evenly spread. 0: all.',
            (0.0, 1000.0), live=True),
        f'{name}.qos_reliability': ParameterSpec(
            'best_effort', 'best_effort takes images of every publisher, reliable only of '
            'reliable ones, but loses none to the network.'),
    }


CAMERA_SUFFIXES = frozenset(
    name.partition('.')[2] for name in camera_parameters('camera', 'raw'))


def is_live(name: str) -> bool:
    """Whether a parameter may change while configured; foreign ones (use_sim_time) may."""
    if name in NODE_PARAMETERS:
        return NODE_PARAMETERS[name].live
    suffix = name.partition('.')[2]
    spec = camera_parameters('camera', 'raw').get(f'camera.{suffix}')
    return spec is None or spec.live


@dataclass(frozen=True)
class CameraParams:
    """The settings of one camera, fixed while the node is configured."""

    name: str
    image_topic: str
    detections_topic: str
    transport: str
    qos_reliability: str

    @property
    def output_topics(self) -> tuple[str, str, str]:
        """Topics of the detections, of the debug images, and of these compressed."""
        debug_image = f'{self.detections_topic}/debug_image'
        return self.detections_topic, debug_image, f'{debug_image}/compressed'


@dataclass(frozen=True)
class LiveParams:
    """What may change between two frames; replaced as a whole."""

    detection: DetectionSettings
    max_rates_hz: tuple[float, ...]  # in the order of the cameras
    max_age_ms: float
    publish_debug_image: bool
    debug_image_rate_hz: float
    silence_timeout_s: float


@dataclass(frozen=True)
class DetectorParams:
    """All parameters of the node, checked."""

    model_path: str  # empty: the shipped model
    backend: str
    cameras: tuple[CameraParams, ...]
    max_batch_wait_ms: float
    options: BackendOptions
    live: LiveParams

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> DetectorParams:
        """Check the values of all parameters, by full name, together; may raise ConfigError."""
        _one_of('backend', values['backend'], BACKENDS)
        cameras = tuple(_camera(name, values) for name in check_camera_names(values['cameras']))
        return cls(
            model_path=values['model_path'],
            backend=values['backend'],
            cameras=cameras,
            max_batch_wait_ms=values['max_batch_wait_ms'],
            options=BackendOptions(
                threads=values['ort_threads'], spin=values['ort_spin'],
                workers=values['ort_workers'],
                providers=tuple(name for name in values['providers'] if name),
                precision=values['precision'], engine_cache_dir=values['engine_cache_dir'],
                max_batch=len(cameras)),
            live=LiveParams(
                detection=_detection(values),
                max_rates_hz=tuple(values[f'{camera.name}.max_rate_hz'] for camera in cameras),
                max_age_ms=values['max_age_ms'],
                publish_debug_image=values['publish_debug_image'],
                debug_image_rate_hz=values['debug_image_rate_hz'],
                silence_timeout_s=values['silence_timeout_s']))


def check_camera_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names; ConfigError for none, too many, one twice or one unfit for a topic."""
    if not any(names):
        raise ConfigError("cameras is empty, expected at least one name, as in ['camera']")
    if len(names) > MAX_CAMERAS:
        raise ConfigError(f'cameras has {len(names)} names, one node serves at most '
                          f'{MAX_CAMERAS}; start another one for the rest')
    for name in names:
        if not _CAMERA_NAME.fullmatch(name):
            raise ConfigError(
                f'cameras has {name!r}; a name is made of letters, digits and underscores and '
                'starts with a letter')
    if len(set(names)) != len(names):
        raise ConfigError(f'cameras names one twice: {", ".join(names)}')
    return tuple(names)


def _camera(name: str, values: Mapping[str, Any]) -> CameraParams:
    _one_of(f'{name}.transport', values[f'{name}.transport'], TRANSPORTS)
    _one_of(f'{name}.qos_reliability', values[f'{name}.qos_reliability'], RELIABILITIES)
    return CameraParams(
        name, values[f'{name}.image_topic'], values[f'{name}.detections_topic'],
        values[f'{name}.transport'], values[f'{name}.qos_reliability'])


def _detection(values: Mapping[str, Any]) -> DetectionSettings:
    allowed = frozenset(name for name in values['class_allow'] if name)
    return DetectionSettings(
        score_threshold=values['score_threshold'],
        nms_iou=values['nms_iou'],
        max_detections=values['max_detections'],
        class_allow=allowed or None,
        class_thresholds=tuple(
            _class_threshold(entry) for entry in values['class_thresholds'] if entry),
        class_agnostic=values['class_agnostic_nms'])


def _class_threshold(entry: str) -> tuple[str, float]:
    name, _, number = entry.rpartition(':')
    try:
        threshold = float(number)
    except ValueError:
        name = ''
    if not name:
        raise ConfigError(
            f"class_thresholds has {entry!r}, expected 'class:threshold' as in 'person:0.5'")
    return name, threshold


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f'{name} is {value!r}, expected one of {", ".join(allowed)}')
