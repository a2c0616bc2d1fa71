"""Predictions in images and video files, as pictures and as JSON."""

import json

import cv2
import numpy as np
import pytest

from helpers.predict_world import cells, picture, read_video, SIZE_WH, video, wandering
from helpers.tiny_model import COLUMNS, write_tiny_model
from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.predict.frame_predictor import FramePredictor
from mbv2ssd_train.predict.inputs import find_inputs
from mbv2ssd_train.predict.options import PredictOptions
from mbv2ssd_train.predict.run import predict

pytestmark = pytest.mark.needs('rich')  # of the progress bar


@pytest.fixture(scope='module')
def backend(tmp_path_factory):
    path = write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx')
    return open_backend('onnxruntime', path, BackendOptions())


def run(backend, inputs, output, stop=lambda: False, recursive=False, **options):
    """Predict; the lossy codec of the videos makes scores a little smaller than 1."""
    return predict(backend, find_inputs([str(item) for item in inputs], output, recursive),
                   DetectionSettings(score_threshold=0.7), PredictOptions(output, **options), stop)


def entries(output):
    return json.loads((output / 'detections.json').read_text())


def lines(output):
    return [json.loads(line) for line in (output / 'detections.jsonl').read_text().splitlines()]


def red_cells(line):
    """Return (row, column) of the boxes in a line; cells of 16 pixels."""
    return [tuple(np.round(np.array(item['box_xyxy'][1::-1]) / 16).astype(int))
            for item in line['detections']]


def test_boxes_are_in_pixels_of_each_image(backend, tmp_path):
    path = picture(tmp_path / 'a.png', red=[(1, 5)], green=[(3, 0)])
    run(backend, [path], tmp_path / 'out')
    found = entries(tmp_path / 'out')['a.png']
    by_label = {item['label']: item for item in found}
    # cells of 16 pixels in an image twice the size of the network input
    np.testing.assert_allclose(by_label['red']['box_xyxy'], [80, 16, 96, 32], atol=0.01)
    np.testing.assert_allclose(by_label['green']['box_xyxy'], [0, 48, 16, 64], atol=0.01)
    assert len(found) == 2 and by_label['red']['score'] > 0.9


def test_pictures_and_json_are_written(backend, tmp_path):
    paths = [picture(tmp_path / 'in' / name, red=[(0, 0)]) for name in ('a.png', 'a.bmp')]
    outcome = run(backend, paths, tmp_path / 'deep' / 'out')
    assert sorted(path.name for path in (tmp_path / 'deep' / 'out').iterdir()) == [
        'a.bmp', 'a.png', 'detections.json']
    drawn = cv2.imread(str(tmp_path / 'deep/out/a.png'))
    assert drawn.shape == (SIZE_WH[1], SIZE_WH[0], 3)
    assert (drawn != cv2.imread(str(paths[0]))).any()
    assert (outcome.images, str(outcome)) == (2, '2 images')


def test_an_image_with_nothing_is_listed_with_nothing(backend, tmp_path):
    run(backend, [picture(tmp_path / 'a.png')], tmp_path / 'out')
    assert entries(tmp_path / 'out') == {'a.png': []}


def test_folders_of_folders_keep_their_names(backend, tmp_path):
    for name in ('x/a.png', 'y/a.png'):
        picture(tmp_path / 'in' / name, red=[(0, 0)])
    run(backend, [tmp_path / 'in'], tmp_path / 'out', recursive=True)
    assert list(entries(tmp_path / 'out')) == ['x/a.png', 'y/a.png']
    assert (tmp_path / 'out/y/a.png').is_file()


def test_an_input_is_never_overwritten(backend, tmp_path):
    path = picture(tmp_path / 'a.png', red=[(0, 0)])
    before = path.read_bytes()
    with pytest.raises(DataError, match=r'a\.png: is an input and would be overwritten'):
        run(backend, [path], tmp_path)
    clip = video(tmp_path / 'b.avi', wandering(2))
    with pytest.raises(DataError, match=r'b\.avi: is an input and would be overwritten'):
        run(backend, [clip], tmp_path)
    assert path.read_bytes() == before


def test_the_json_may_stand_beside_the_inputs(backend, tmp_path):
    run(backend, [picture(tmp_path / 'a.png')], tmp_path, save='none')
    assert entries(tmp_path) == {'a.png': []}


def test_a_broken_image_is_told_and_the_others_are_done(backend, tmp_path, capsys):
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    picture(tmp_path / 'b.png', red=[(0, 0)])
    outcome = run(backend, [tmp_path], tmp_path / 'out')
    assert list(entries(tmp_path / 'out')) == ['b.png']
    assert 'a.jpg: does not decode' in outcome.faults[0] and len(outcome.faults) == 1
    assert f'fault: {outcome.faults[0]}' in capsys.readouterr().out


def test_crops_are_cut_out_of_the_image_without_boxes(backend, tmp_path):
    path = picture(tmp_path / 'a.png', red=[(1, 5)], green=[(3, 0)])
    run(backend, [path], tmp_path / 'out', save='crops')
    found = {crop.name.partition('_')[2]: cv2.imread(str(crop))
             for crop in (tmp_path / 'out/crops').iterdir()}
    assert {name: crop.shape for name, crop in found.items()} == {
        'red.jpg': (16, 16, 3), 'green.jpg': (16, 16, 3)}
    assert (found['red.jpg'].mean((0, 1)) > (-1, -1, 240)).all()
    assert not (tmp_path / 'out/a.png').exists()


def test_only_the_json_where_no_pictures_are_wanted(backend, tmp_path):
    clip = video(tmp_path / 'clip.avi', wandering(2))
    run(backend, [picture(tmp_path / 'a.png'), clip], tmp_path / 'out', save='none')
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'detections.json', 'detections.jsonl']


def test_the_json_is_complete_after_every_image(backend, tmp_path):
    paths = [picture(tmp_path / f'{name}.png', red=[(0, 0)]) for name in 'abc']
    counts = []

    def look():
        if (tmp_path / 'out/detections.json').is_file():
            counts.append(len(entries(tmp_path / 'out')))
        return False

    run(backend, paths, tmp_path / 'out', stop=look)
    assert sorted(set(counts)) == [0, 1, 2, 3]


def test_a_video_gives_a_line_for_each_frame(backend, tmp_path):
    clip = video(tmp_path / 'clip.avi', wandering(8), rate_hz=4.0)
    outcome = run(backend, [clip], tmp_path / 'out')
    found = lines(tmp_path / 'out')
    assert [line['frame'] for line in found] == list(range(8))
    assert [line['time_s'] for line in found] == [index / 4 for index in range(8)]
    assert [red_cells(line) for line in found] == [[(1, i % COLUMNS)] for i in range(8)]
    assert {line['source'] for line in found} == {'clip.avi'}
    assert (outcome.frames, outcome.faults) == (8, ())


def test_the_annotated_video_shows_each_frame_with_its_box(backend, tmp_path):
    clip = video(tmp_path / 'clip.avi', wandering(5), rate_hz=5.0)
    run(backend, [clip], tmp_path / 'out')
    frames, rate_hz = read_video(tmp_path / 'out/clip.mp4')
    assert (len(frames), rate_hz) == (5, 5.0)
    for index, frame in enumerate(frames):
        plain = wandering(5)[index].astype(int)
        changed = (np.abs(frame.astype(int) - plain).max(axis=2) > 100).any(axis=0)
        # the label is wider than the cell, and inside the image at the right border
        assert changed[16 * index:16 * index + 16].any()
        assert frame.shape == plain.shape


def test_every_second_frame(backend, tmp_path):
    clip = video(tmp_path / 'clip.avi', wandering(7), rate_hz=10.0)
    run(backend, [clip], tmp_path / 'out', every=2)
    found = lines(tmp_path / 'out')
    assert [line['frame'] for line in found] == [0, 2, 4, 6]
    assert [red_cells(line) for line in found] == [[(1, 0)], [(1, 2)], [(1, 4)], [(1, 0)]]
    frames, rate_hz = read_video(tmp_path / 'out/clip.mp4')
    assert (len(frames), rate_hz) == (4, 5.0)  # it lasts as long as the source


def test_the_number_of_frames_may_be_limited(backend, tmp_path):
    clip = video(tmp_path / 'clip.avi', wandering(9))
    outcome = run(backend, [clip], tmp_path / 'out', every=2, max_frames=3)
    assert [line['frame'] for line in lines(tmp_path / 'out')] == [0, 2, 4]
    assert outcome.faults == ()  # that it did not come to the end is no fault then


def test_a_truncated_video_is_told_and_what_was_decoded_is_kept(backend, tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(20)]
    whole = video(tmp_path / 'clip.avi', noise).read_bytes()
    (tmp_path / 'clip.avi').write_bytes(whole[:len(whole) // 2])
    outcome = run(backend, [tmp_path / 'clip.avi'], tmp_path / 'out')
    kept = outcome.frames
    assert 5 <= kept <= 12  # half of the bytes
    assert f'clip.avi: ends after {kept} frames' in outcome.faults[0]
    assert 'declares 20 (2.0 s)' in outcome.faults[0]
    assert len(lines(tmp_path / 'out')) == kept
    assert len(read_video(tmp_path / 'out/clip.mp4')[0]) == kept


@pytest.mark.parametrize(('name', 'codec'), [
    ('a.mp4', 'mp4v'), ('a.mkv', 'mp4v'), ('a.webm', 'VP80'), ('a.avi', 'MJPG'), ('a.ts', 'mp4v')])
def test_a_whole_video_is_not_called_truncated(backend, tmp_path, name, codec):
    clip = video(tmp_path / name, wandering(12), codec=codec)
    outcome = run(backend, [clip], tmp_path / 'out', save='none')
    assert (outcome.frames, outcome.faults) == (12, ())


def test_something_else_with_the_name_of_a_video_is_told(backend, tmp_path):
    (tmp_path / 'a.mp4').write_text('hello')
    outcome = run(backend, [tmp_path / 'a.mp4'], tmp_path / 'out')
    assert outcome.faults[0].endswith(
        'a.mp4: neither an image nor a video that OpenCV can read (5 bytes); a recording that '
        'was cut off often lacks its index')


def test_an_output_that_is_a_file_is_refused(backend, tmp_path):
    (tmp_path / 'out').touch()
    with pytest.raises(DataError, match='out: is a file; the output is a folder'):
        run(backend, [picture(tmp_path / 'a.png')], tmp_path / 'out')


def test_two_videos_share_the_lines_and_have_a_video_each(backend, tmp_path):
    clips = [video(tmp_path / name, wandering(count))
             for name, count in (('a.avi', 2), ('b.avi', 3))]
    run(backend, clips, tmp_path / 'out')
    assert [line['source'] for line in lines(tmp_path / 'out')] == ['a.avi'] * 2 + ['b.avi'] * 3
    assert {path.name for path in (tmp_path / 'out').glob('*.mp4')} == {'a.mp4', 'b.mp4'}


def test_a_stop_ends_after_the_frame_under_way_with_readable_files(backend, tmp_path):
    clip = video(tmp_path / 'clip.avi', wandering(50))

    def stop():
        path = tmp_path / 'out/detections.jsonl'
        return path.is_file() and len(path.read_text().splitlines()) >= 4

    assert run(backend, [clip], tmp_path / 'out', stop=stop).frames == 4
    assert [line['frame'] for line in lines(tmp_path / 'out')] == [0, 1, 2, 3]
    assert len(read_video(tmp_path / 'out/clip.mp4')[0]) == 4


def test_an_error_of_the_model_ends_it_and_closes_the_files(backend, tmp_path, monkeypatch):
    clip = video(tmp_path / 'clip.avi', wandering(5))
    real, calls = FramePredictor.predict, []

    def fails_at_the_third(*arguments, **named):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError('engine')
        return real(*arguments, **named)

    monkeypatch.setattr(FramePredictor, 'predict', fails_at_the_third)
    with pytest.raises(RuntimeError, match='engine'):
        run(backend, [clip], tmp_path / 'out')
    assert len(lines(tmp_path / 'out')) == len(read_video(tmp_path / 'out/clip.mp4')[0]) == 2


def test_a_video_that_does_not_read_back_is_an_error(backend, tmp_path, monkeypatch):
    from mbv2ssd_train.predict import annotated_video
    clip = video(tmp_path / 'clip.avi', wandering(5))
    annotated_video.video_form(SIZE_WH)  # known before the disk is full
    monkeypatch.setattr(annotated_video, '_read_back', lambda path: (2, SIZE_WH))
    with pytest.raises(DataError, match='2 frames of 96 x 64 are there, 5 of 96 x 64 were'):
        run(backend, [clip], tmp_path / 'out')


class FakeWindows:
    """What an OpenCV with windows does; somebody presses q at the third picture."""

    def __init__(self, monkeypatch):
        self.shown = []
        monkeypatch.setenv('DISPLAY', ':0')
        for name in ('namedWindow', 'destroyAllWindows'):
            monkeypatch.setattr(cv2, name, lambda *_: None)
        monkeypatch.setattr(cv2, 'imshow', lambda _, image: self.shown.append(image))
        monkeypatch.setattr(cv2, 'waitKey', lambda _: ord('q') if len(self.shown) == 3 else 32)
        monkeypatch.setattr(cv2, 'getWindowProperty', lambda *_: 1.0)


def test_a_window_shows_what_is_drawn_and_q_ends(backend, tmp_path, monkeypatch):
    windows = FakeWindows(monkeypatch)
    clip = video(tmp_path / 'clip.avi', wandering(9))
    assert run(backend, [clip], tmp_path / 'out', show=True, save='none').frames == 3
    assert (windows.shown[0] != cells(red=[(1, 0)])).any()


def test_a_window_that_waits_for_a_key_can_be_stopped(backend, tmp_path, monkeypatch):
    windows = FakeWindows(monkeypatch)
    monkeypatch.setattr(cv2, 'waitKey', lambda _: -1)  # nobody is there
    paths = [picture(tmp_path / f'in/{name}.png') for name in 'ab']
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 20

    assert run(backend, paths, tmp_path / 'out', show=True, stop=stop).images == 1
    assert len(windows.shown) == 1


def test_a_window_needs_a_display(backend, tmp_path, monkeypatch):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match='--show: no display here'):
        run(backend, [picture(tmp_path / 'a.png')], tmp_path / 'out', show=True)


def test_a_window_needs_an_opencv_with_windows(backend, tmp_path, monkeypatch):
    def none(*_):
        raise cv2.error('The function is not implemented')

    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.setattr(cv2, 'namedWindow', none)
    with pytest.raises(ConfigError, match='cannot open windows, as opencv-python-headless'):
        run(backend, [picture(tmp_path / 'a.png')], tmp_path / 'out', show=True)


def test_options_that_are_none_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="save is 'all', expected one of annotated, crops"):
        PredictOptions(tmp_path, save='all')
