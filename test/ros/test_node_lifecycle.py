"""The node goes through every state, back, and ends in time from each of them."""

from pathlib import Path
import re
import signal
import time

import pytest

from helpers.detector_rig import CameraPeer, image_msg, picture

pytestmark = pytest.mark.ros

# the transitions that lead to a state
WAYS = {'unconfigured': (), 'inactive': ('configure',), 'active': ('configure', 'activate'),
        'finalized': ('configure', 'shutdown')}


@pytest.fixture(scope='module')
def fleet(start_detector):
    """Start a node for each way to end, all at once."""
    return {(state, number): start_detector()
            for state in WAYS for number in (signal.SIGINT, signal.SIGTERM)}


@pytest.fixture(scope='module')
def detector(start_detector, fleet):
    """Start a node that tests may leave in any state but finalized."""
    return start_detector(cameras='[camera, other]')


@pytest.fixture
def unconfigured(detector, tiny_model):
    """Bring the node back to the beginning, with parameters that work."""
    for label in ('deactivate', 'cleanup'):
        detector.change_state(label)
    assert detector.state() == 'unconfigured'
    assert detector.set(
        model_path=str(tiny_model), class_allow=[''], camera__image_topic='camera/image_raw',
        camera__detections_topic='camera/detections', other__transport='raw',
        other__image_topic='other/image_raw', other__detections_topic='other/detections') == ''
    return detector


def test_the_cycle_can_be_run_again(unconfigured):
    for _ in range(3):
        for label, state in (('configure', 'inactive'), ('activate', 'active'),
                             ('deactivate', 'inactive'), ('cleanup', 'unconfigured')):
            assert unconfigured.change_state(label)
            assert unconfigured.state() == state


def test_it_answers_after_every_activation(unconfigured):
    unconfigured.activate()
    camera = CameraPeer(unconfigured)
    assert len(camera.ask(image_msg(picture(red=[(0, 0, 255)]))).detections) == 1
    assert unconfigured.change_state('deactivate')
    assert unconfigured.change_state('activate')
    camera.wait_until_answered()
    assert len(camera.ask(image_msg(picture(red=[(0, 0, 255)]))).detections) == 1


def test_an_inactive_node_listens_to_no_camera(unconfigured):
    unconfigured.activate()
    camera = CameraPeer(unconfigured)
    assert unconfigured.change_state('deactivate')
    unconfigured.peer.wait_for(
        lambda: camera.publisher.get_subscription_count() == 0, 'end of the subscription')


def test_cleanup_takes_the_publishers_down(unconfigured):
    topic = unconfigured.topic('camera/detections')
    count = unconfigured.peer.node.count_publishers
    assert unconfigured.change_state('configure')
    unconfigured.peer.wait_for(lambda: count(topic) == 1, 'publisher')
    assert unconfigured.change_state('cleanup')
    unconfigured.peer.wait_for(lambda: count(topic) == 0, 'end of the publisher')


@pytest.mark.parametrize(('way', 'impossible'), [
    ((), 'activate'), (('configure',), 'configure'), (('configure',), 'deactivate'),
    (('configure', 'activate'), 'cleanup')])
def test_an_impossible_transition_is_refused_and_survived(unconfigured, way, impossible):
    for label in way:
        assert unconfigured.change_state(label)
    before = unconfigured.state()
    assert not unconfigured.change_state(impossible)
    assert unconfigured.state() == before


def test_a_bad_model_fails_to_configure_and_a_good_one_then_works(
        unconfigured, tiny_model, tmp_path):
    bad = tmp_path / 'bad.onnx'
    bad.write_bytes(b'this is no model')
    assert unconfigured.set(model_path=str(bad)) == ''
    assert not unconfigured.change_state('configure')
    assert unconfigured.state() == 'unconfigured'
    status, _ = unconfigured.diagnosis('detector', lambda s, v: s.level == b'\2', 'error')
    assert str(bad) in status.message
    assert [line for line in unconfigured.log().splitlines()
            if 'configure failed' in line and str(bad) in line]
    assert unconfigured.set(model_path=str(tiny_model)) == ''
    assert unconfigured.change_state('configure')
    unconfigured.diagnosis(
        'detector', lambda s, v: (s.level, s.message) == (b'\0', 'inactive'), 'recovery')


@pytest.mark.parametrize(('parameters', 'reason'), [
    ({'model_path': '/nowhere/model.onnx'}, '/nowhere/model.onnx: no such model file'),
    ({'class_allow': ['unicorn']}, "knows no class 'unicorn'; it knows red, green"),
    ({'camera__image_topic': 'no topic'}, "camera.image_topic is 'no topic', not a topic name"),
    ({'other__detections_topic': 'camera/detections'},
     "other.detections_topic is 'camera/detections', but .*/camera/detections is a topic of the "
     'output of camera; each camera needs its own'),
    ({'camera__image_topic': 'other/detections'},
     "camera.image_topic is 'other/detections', but .*/other/detections is a topic of the output "
     'of other, expected one of raw images'),
    ({'camera__image_topic': 'other/image_raw', 'other__transport': 'compressed',
      'other__image_topic': 'other/image_raw'},
     "other.image_topic is 'other/image_raw', but .* is a topic of raw images, expected one of "
     'compressed images'),
    ({'other__detections_topic': '/diagnostics'},
     "'/diagnostics', but /diagnostics is a topic of the node itself"),
    ({'camera__detections_topic': 'other/detections/debug_image'},
     'other.detections_topic is .*, but .*/other/detections/debug_image is a topic of the output '
     'of camera'),
])
def test_what_cannot_work_fails_to_configure(unconfigured, parameters, reason):
    assert unconfigured.set(**parameters) == ''
    assert not unconfigured.change_state('configure')
    assert unconfigured.state() == 'unconfigured'
    unconfigured.peer.wait_for(
        lambda: re.search(f'configure failed: .*{reason}', unconfigured.log()), reason)


def test_a_failed_configure_leaves_no_publisher_behind(unconfigured):
    assert unconfigured.set(other__detections_topic='camera/detections') == ''
    assert not unconfigured.change_state('configure')
    assert not unconfigured.peer.node.count_publishers(unconfigured.topic('camera/detections'))


def test_autostart_is_active_without_being_asked(start_detector):
    detector = start_detector(autostart=True)
    detector.peer.wait_for(lambda: detector.state() == 'active', 'active node')
    assert CameraPeer(detector).ask(image_msg(picture())).detections == []


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('state', WAYS)
def test_a_signal_ends_it_in_time(fleet, state, number):
    detector = fleet[state, number]
    for label in WAYS[state]:
        assert detector.change_state(label)
    assert detector.state() == state
    code, seconds = detector.stop(number)
    assert code == 0, detector.log()
    assert seconds < 2
    assert 'Traceback' not in detector.log()


def test_a_signal_while_frames_are_under_way(start_detector):
    detector = start_detector(cameras='[a, b]', a__qos_reliability='reliable')
    detector.activate()
    camera = CameraPeer(detector, 'a')
    for _ in range(50):
        camera.send(image_msg(picture(red=[(0, 0, 255)], scale=4)))
    code, seconds = detector.stop()
    assert (code, seconds < 2, 'Traceback' in detector.log()) == (0, True, False)


def test_a_supervisor_may_ask_for_an_exit_code_when_autostart_fails(start_detector):
    detector = start_detector(
        autostart=True, exit_on_failed_autostart=True, model='/nowhere/model.onnx')
    process = detector.program.process
    assert process.wait(20) == 1
    assert '/nowhere/model.onnx: no such model file' in detector.log()


def test_an_autostart_that_is_neither_true_nor_false_has_failed(start_detector):
    detector = start_detector(autostart=1, exit_on_failed_autostart=True)
    assert detector.program.process.wait(20) == 1
    assert "autostart failed: parameter 'autostart' is 1 of type INTEGER" in detector.log()


def test_impatience_changes_nothing(start_detector):
    detector = start_detector(autostart=True)
    detector.peer.wait_for(lambda: 'on onnxruntime' in detector.log(), 'configured node')
    process = detector.program.process
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)
        time.sleep(0.005)
    assert process.returncode == 0, detector.log()


def segments():
    """Return the shared memory segments of all participants."""
    return {path for path in Path('/dev/shm').glob('fast*_*') if '_port' not in path.name}


# SIGHUP: the terminal was closed, the ssh connection broke
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(('model', 'said'), [
    (None, 'on onnxruntime'), ('/nowhere/model.onnx', 'autostart failed')])
def test_shared_memory_is_gone_after_the_end(start_detector, apart, number, model, said):
    before = segments()
    detector = start_detector(
        autostart=True, **({} if model is None else {'model': model}),
        environment=apart)
    detector.peer.wait_for(lambda: said in detector.log(), said)
    mapped = Path(f'/proc/{detector.program.pid}/maps').read_text()
    own = {path for path in segments() - before if str(path) in mapped}
    assert own
    code, seconds = detector.stop(number)
    assert (code, seconds < 2) == (0, True), detector.log()
    assert not own & segments()


def test_a_lifecycle_manager_brings_it_up_pauses_resets_and_ends_it(start_detector):
    """As nav2's does: by the numbers of the transitions, and asking for the state after each."""
    from lifecycle_msgs.msg import State, Transition
    detector = start_detector()
    start = ((Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
             (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE))
    pause = (Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE)
    reset = (pause, (Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED))
    end = (*reset, (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, State.PRIMARY_STATE_FINALIZED))
    for transition, state in (*start, pause, start[1], *reset, *start, *end):
        assert detector.change_state_by_id(transition), detector.log()
        assert detector.state_id() == state
