"""One open video, and the errors of what is none."""

import math

import cv2
import numpy as np
import pytest

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.video import Capture, VideoSource

WIDE_WH = (48, 32)


@pytest.fixture
def clip(tmp_path):
    """Write three frames of one grey each, at 12.5 Hz."""
    path = tmp_path / 'drive.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 12.5, WIDE_WH)
    for grey in (0, 100, 200):
        writer.write(np.full((WIDE_WH[1], WIDE_WH[0], 3), grey, np.uint8))
    writer.release()
    return path


def test_a_file_is_named_after_itself_and_opened_by_its_absolute_path(clip, monkeypatch):
    monkeypatch.chdir(clip.parent)
    video = VideoSource.of_file(clip.relative_to(clip.parent))
    assert (video.name, video.stem, video.shown) == ('drive.avi', 'drive', 'drive.avi')
    assert video.source == str(clip)


def test_a_file_has_a_length_a_rate_and_an_end(clip):
    capture = Capture(VideoSource.of_file(clip))
    assert (capture.frame_count, capture.declared_hz, capture.rate_hz) == (3, 12.5, 12.5)
    assert not capture.is_live
    first, skipped, last = capture.read(), capture.skip(), capture.read()
    assert first.shape == (32, 48, 3) and skipped
    assert abs(first.mean()) < 3 and abs(last.mean() - 200) < 3
    assert capture.position_s > 0 or math.isnan(capture.position_s)
    assert capture.read() is None and not capture.skip()
    capture.close()


def test_a_file_that_is_no_video_is_refused_with_its_size(tmp_path):
    path = tmp_path / 'words.mp4'
    path.write_text('words')
    with pytest.raises(DataError, match=r'words\.mp4: neither .* nor a video.*\(5 bytes\); a rec'):
        Capture(VideoSource.of_file(path))


def test_a_webcam_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(DataError, match='webcam 99: cannot be opened; this machine has'):
        Capture(VideoSource('webcam99', 'webcam 99', 99))
