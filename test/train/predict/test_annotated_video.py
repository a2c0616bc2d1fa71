"""Annotated videos: as long as their source, as large as their source, and readable."""

import numpy as np
import pytest

from helpers.predict_world import read_video
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.predict import annotated_video
from mbv2ssd_train.predict.annotated_video import AnnotatedVideo, video_form
from mbv2ssd_train.predict.capture import VideoFrame

SHADES = (0, 60, 120, 180, 240)


def written(folder, times_s, is_live, size_hw=(32, 48), rate_hz=10.0):
    """Write frames of the five shades at those times; return the shade of every frame read."""
    video = AnnotatedVideo(folder / 'v', rate_hz, is_live)
    for index, (time_s, shade) in enumerate(zip(times_s, SHADES)):
        picture = np.full((*size_hw, 3), shade, np.uint8)
        video.add(VideoFrame(index, time_s, picture), picture)
    video.close()
    frames, _ = read_video(video.path)
    return [min(SHADES, key=lambda shade: abs(shade - frame.mean())) for frame in frames]


@pytest.mark.parametrize('is_live', [False, True])
def test_frames_at_the_rate_are_written_once(tmp_path, is_live):
    assert written(tmp_path, [0.0, 0.1, 0.2, 0.3, 0.4], is_live) == list(SHADES)


@pytest.mark.parametrize('is_live', [False, True])
def test_a_slow_source_plays_as_slowly(tmp_path, is_live):
    # the last of 0.5 s: a video knows only from the next frame how long one lasts
    assert written(tmp_path, [0.0, 0.3, 0.5], is_live) == [0, 60, 60, 60, 120, 120]


def test_of_a_fast_live_source_frames_are_left_out(tmp_path):
    assert written(tmp_path, [0.0, 0.03, 0.1, 0.12, 0.2], is_live=True) == [0, 120, 240]


def test_of_a_file_no_frame_is_left_out(tmp_path):
    assert written(tmp_path, [0.0, 0.03, 0.1, 0.12, 0.2], is_live=False) == list(SHADES)


def test_a_long_gap_is_shortened(tmp_path):
    # an hour without a picture lasts ten seconds
    shades = written(tmp_path, [0.0, 3600.0, 3600.1], is_live=True)
    assert len(shades) == 1 + 100 + 1 and shades[0] == 0 and shades[-1] == 120


def test_odd_sides_get_a_pixel_instead_of_losing_one(tmp_path):
    video = AnnotatedVideo(tmp_path / 'v', 10.0, False)
    picture = np.full((33, 51, 3), 200, np.uint8)
    video.add(VideoFrame(0, 0.0, picture), picture)
    video.close()
    frames, _ = read_video(video.path)
    assert frames[0].shape == (34, 52, 3) and frames[0].min() > 180


def test_a_frame_of_another_size_is_fitted(tmp_path):
    video = AnnotatedVideo(tmp_path / 'v', 10.0, False)
    for index, size_hw in enumerate([(32, 64), (100, 80)]):
        picture = np.full((*size_hw, 3), 200, np.uint8)
        video.add(VideoFrame(index, index / 10, picture), picture)
    video.close()
    frames, _ = read_video(video.path)
    assert [frame.shape for frame in frames] == [(32, 64, 3)] * 2 and frames[1].min() > 180


def test_the_form_is_the_first_one_that_reads_back(monkeypatch):
    assert video_form((64, 48))[0] == '.mp4'
    monkeypatch.setattr(annotated_video, '_FORMS', (('.mp4', 'none'), ('.avi', 'MJPG')))
    video_form.cache_clear()
    assert video_form((64, 48))[0] == '.avi'
    video_form.cache_clear()


def test_no_form_at_all_is_an_error_that_says_what_was_tried(monkeypatch):
    monkeypatch.setattr(annotated_video, '_FORMS', (('.mp4', 'none'),))
    with pytest.raises(DataError, match=r'no video of 66 x 48 pixels; tried none in \.mp4'):
        video_form((66, 48))
