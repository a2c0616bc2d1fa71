"""
The parameters of the node, in one place: type, default, range, description.

`.ci/parameters` writes them to config/detector.yaml and docs/node.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
import dataclasses
from dataclasses import dataclass
import difflib
import re
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from mbv2ssd_ros.backends.opening import BACKENDS
from mbv2ssd_ros.backends.options import ANY_PRECISION, BackendOptions, OrtOptions, TrtOptions
from mbv2ssd_ros.core.contract import PRECISIONS
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.tracking.tracker import TrackSettings

TRANSPORTS = ('raw', 'compressed')
CLASS_IDS = ('name', 'index')
RELIABILITIES = ('best_effort', 'reliable')
MAX_CAMERAS = 8
_MORE_TO_TRACK = 100  # detections with low scores
NO_NAMES = ['']  # how ROS writes a list of no strings: an empty list has no type
_TYPO_SIMILARITY = 0.8
_CAMERA_NAME = re.compile(r'[A-Za-z]\w*')
_DETECTION = DetectionSettings()
_TRACKS = TrackSettings()
_OPTIONS, _ORT = BackendOptions(), OrtOptions()
# Not ours: set by rclpy itself or by its QoS overrides.
FOREIGN_PREFIXES = ('qos_overrides.', 'use_sim_time', 'start_type_description_service')


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
        '', 'ONNX file written by `mbv2ssd_train export`, or the name of a shipped model, such as '
        'mbv2_ssdlite_320_voc.onnx. Empty: mbv2_ssdlite_voc.onnx.'),
    'backend': ParameterSpec(
        'auto', f'Inference engine: {", ".join(BACKENDS)}. auto takes tensorrt where it can be '
        'used, onnxruntime elsewhere, and logs why.'),
    'precision': ParameterSpec(
        _OPTIONS.precision, f'Required precision of the model: {", ".join(PRECISIONS)}, or '
        f'{ANY_PRECISION} for any. Models are not converted: another precision is an error.'),
    'engine_cache_dir': ParameterSpec(
        TrtOptions.engine_cache_dir, 'tensorrt: folder of built engines, writable by this user '
        'only. Empty: ~/.cache/mbv2ssd.'),
    'cameras': ParameterSpec(
        ['camera'],
        'Names of the cameras. Each has its own parameters: `<name>.image_topic` etc.'),
    'score_threshold': ParameterSpec(
        _DETECTION.score_threshold, 'Detections with a higher score than this are reported.',
        (0.0, 1.0), live=True),
    'nms_iou': ParameterSpec(
        _DETECTION.nms_iou, 'A box whose IoU with a better one of its class is larger than this '
        'is suppressed.', (0.0, 1.0), live=True),
    'max_detections': ParameterSpec(
        _DETECTION.max_detections, 'Largest number of detections in a message; the best ones are '
        'kept. Each costs a Python subscriber 27 us.', (1, 1000), live=True),
    'class_allow': ParameterSpec(
        NO_NAMES, "Classes to report, as in [person, cat]. ['']: all.", live=True),
    'class_thresholds': ParameterSpec(
        NO_NAMES, "Classes with their own score threshold, as in ['person:0.5', 'cat:0.3'].",
        live=True),
    'class_agnostic_nms': ParameterSpec(
        _DETECTION.class_agnostic, 'Suppress overlapping boxes of different classes, too.',
        live=True),
    'track_low_score': ParameterSpec(
        0.1, 'Detections above this score prolong a track, those above their threshold begin one. '
        'Only the latter are published.', (0.0, 1.0), live=True),
    'track_buffer_s': ParameterSpec(
        _TRACKS.buffer_s, 'A track that was not seen for longer ends.', (0.01, 60.0), live=True),
    'track_min_hits': ParameterSpec(
        _TRACKS.min_hits, 'Detections until a track has an id.', (1, 100), live=True),
    'class_id': ParameterSpec(
        'name', 'What class_id of a detection holds: name, or index, the column of the class in '
        'the scores of the model as a decimal number. `~/label_info` has both.'),
    'max_age_ms': ParameterSpec(
        0.0, 'Older images are dropped, before inference and before publishing. 0: off. Images '
        'without a stamp have no age.', (0.0, 60000.0), live=True),
    'max_batch_wait_ms': ParameterSpec(
        5.0, 'Longest wait of an image for images of other cameras, to fill a batch. Only on '
        'backends with batches: not with onnxruntime.', (0.0, 1000.0)),
    'silence_timeout_s': ParameterSpec(
        2.0, 'A camera without an image, or an image without a result, for this long is an error '
        'in /diagnostics.', (0.1, 3600.0), live=True),
    'publish_debug_image': ParameterSpec(
        True, 'Offer the image with boxes on `<detections_topic>/debug_image` and '
        '`.../compressed`. It is drawn only while there are subscribers.', live=True),
    'debug_image_rate_hz': ParameterSpec(
        10.0, 'Highest rate of the debug images of each camera.', (0.1, 60.0), live=True),
    'lazy': ParameterSpec(
        False, 'Subscribe to the images of a camera only while somebody subscribes to its '
        'detections or debug images.'),
    'autostart': ParameterSpec(
        False, 'Configure and activate at the start, without a lifecycle manager.'),
    'exit_on_failed_autostart': ParameterSpec(
        False, 'Exit with code 1 when autostart fails, for a supervisor that restarts the node. '
        'false: log why and wait to be configured.'),
    'clean_shared_memory': ParameterSpec(
        True, 'At its start and end, remove the shared memory of Fast DDS that processes of this '
        'user left when they were killed. What a process still uses stays.'),
    'providers': ParameterSpec(
        list(_ORT.providers), 'onnxruntime: execution providers, the preferred one first. '
        'An unavailable one is an error.'),
    'ort_threads': ParameterSpec(
        _ORT.threads, 'onnxruntime: threads of one inference. At the rate of a camera 2 are '
        'no faster than 1, unless they spin.', (1, 64)),
    'ort_spin': ParameterSpec(
        _ORT.spin, 'onnxruntime: let idle threads spin. With 2 threads inference is 1.4 to '
        '1.8 times faster, and a core is busy even between images.'),
    'ort_workers': ParameterSpec(
        _ORT.workers, 'onnxruntime: largest number of concurrent inferences, of images of '
        'different cameras.', (1, 16)),
}


def camera_parameters(name: str, transport: str) -> dict[str, ParameterSpec]:
    """Return the specs of one camera by full name; the transport decides the default topic."""
    suffix = '/compressed' if transport == 'compressed' else ''
    return {
        f'{name}.transport': ParameterSpec(
            'raw', 'raw (sensor_msgs/Image) or compressed (sensor_msgs/CompressedImage).'),
        f'{name}.image_topic': ParameterSpec(
            f'{name}/image_raw{suffix}', 'Topic of the images, exactly as published. Default with '
            f'compressed: `{name}/image_raw/compressed`.'),
        f'{name}.detections_topic': ParameterSpec(
            f'{name}/detections', 'Topic of the detections.'),
        f'{name}.max_rate_hz': ParameterSpec(
            0.0, 'Images processed per second at most, evenly spaced. 0: all.',
            (0.0, 1000.0), live=True),
        f'{name}.tracking': ParameterSpec(
            False, 'Give detections the id of their track, which survives missed frames.',
            live=True),
        f'{name}.significant_bits': ParameterSpec(
            16, 'Of the 16 bits in encodings such as mono16 and bayer_rggb16: 10 or 12 for '
            'cameras that leave the upper ones 0.', (8, 16)),
        f'{name}.qos_reliability': ParameterSpec(
            'best_effort', 'best_effort receives from every publisher; reliable only from '
            'reliable ones, without losing images on a network.'),
    }


CAMERA_SUFFIXES = frozenset(
    name.partition('.')[2] for name in camera_parameters('camera', 'raw'))


def is_live(name: str) -> bool:
    """Whether a parameter may change while the node is configured; use_sim_time etc. may."""
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
    significant_bits: int = 16

    @property
    def output_topics(self) -> tuple[str, str, str]:
        """Topics of the detections, of the debug images, and of these compressed."""
        debug_image = f'{self.detections_topic}/debug_image'
        return self.detections_topic, debug_image, f'{debug_image}/compressed'


@dataclass(frozen=True)
class LiveParams:
    """Settings that may change between two frames; replaced as a whole."""

    detection: DetectionSettings
    tracked: DetectionSettings  # with the lower thresholds of tracks, where a camera tracks
    tracks: TrackSettings
    tracking: tuple[bool, ...]  # in the order of the cameras, as the rates
    max_rates_hz: tuple[float, ...]
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
    class_id: str  # one of CLASS_IDS
    max_batch_wait_ms: float
    lazy: bool
    options: BackendOptions
    live: LiveParams

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> DetectorParams:
        """Check the values of all parameters, by full name, together; may raise ConfigError."""
        _one_of('backend', values['backend'], BACKENDS)
        _one_of('class_id', values['class_id'], CLASS_IDS)
        cameras = tuple(_camera(name, values) for name in check_camera_names(values['cameras']))
        tracking = tuple(values[f'{camera.name}.tracking'] for camera in cameras)
        return cls(
            model_path=values['model_path'],
            backend=values['backend'],
            cameras=cameras,
            class_id=values['class_id'],
            max_batch_wait_ms=values['max_batch_wait_ms'],
            lazy=values['lazy'],
            options=BackendOptions(
                precision=values['precision'], max_batch=len(cameras),
                ort=OrtOptions(
                    threads=values['ort_threads'], spin=values['ort_spin'],
                    workers=values['ort_workers'],
                    providers=tuple(name for name in values['providers'] if name)),
                trt=TrtOptions(engine_cache_dir=values['engine_cache_dir'])),
            live=LiveParams(
                detection=(detection := _detection(values)),
                tracked=_tracked(detection, values['track_low_score'], any(tracking)),
                tracks=TrackSettings(values['track_buffer_s'], values['track_min_hits']),
                tracking=tracking,
                max_rates_hz=tuple(values[f'{camera.name}.max_rate_hz'] for camera in cameras),
                max_age_ms=values['max_age_ms'],
                publish_debug_image=values['publish_debug_image'],
                debug_image_rate_hz=values['debug_image_rate_hz'],
                silence_timeout_s=values['silence_timeout_s']))


def check_camera_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names; ConfigError for none, too many, a duplicate or an invalid one."""
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
        name, **{field: values[f'{name}.{field}'] for field in (
            'image_topic', 'detections_topic', 'transport', 'qos_reliability',
            'significant_bits')})


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


def _tracked(detection: DetectionSettings, low: float, tracking: bool) -> DetectionSettings:
    """Lower the thresholds to `low` where a camera tracks; what was found before stays."""
    if not tracking:
        return detection
    if detection.class_agnostic and detection.class_thresholds:
        raise ConfigError('tracking needs boxes below the thresholds; with class_agnostic_nms and '
                          'class_thresholds together these would suppress others. Use one of both')
    return dataclasses.replace(
        detection, score_threshold=min(detection.score_threshold, low),
        class_thresholds=tuple((name, min(threshold, low))
                               for name, threshold in detection.class_thresholds),
        max_detections=detection.max_detections + _MORE_TO_TRACK)


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


def unknown_parameters(names: Iterable[str], declared: Collection[str], cameras: Sequence[str]
                       ) -> list[str]:
    """
    Return warnings about names that are not declared; one for all sections of other cameras.

    ConfigError for a name that looks like a typing error.
    """
    unknown = [name for name in sorted(names)
               if name not in declared and not name.startswith(FOREIGN_PREFIXES)]
    sections = {camera for camera, _, suffix in (name.partition('.') for name in unknown)
                if suffix in CAMERA_SUFFIXES and camera not in cameras}
    warnings = [f'the parameters of {", ".join(sorted(sections))} are not used: cameras has only '
                f'{", ".join(cameras)}'] if sections else []
    for name in unknown:
        if name.partition('.')[0] in sections:
            continue
        of_camera = f'{cameras[0]}.{name}'
        near = [of_camera] if of_camera in declared else difflib.get_close_matches(
            name, declared, n=1, cutoff=_TYPO_SIMILARITY)
        if near:
            raise ConfigError(
                f'there is no parameter {name!r}; did you mean {near[0]!r}? Correct the parameter '
                'file or command line')
        alike = [known for known in declared if name in known] or difflib.get_close_matches(
            name, declared, n=1)
        warnings.append(f'parameter {name!r} is not one of this node and is not used' + (
            f'; did you mean {alike[0]!r}?' if alike else ''))
    return warnings
