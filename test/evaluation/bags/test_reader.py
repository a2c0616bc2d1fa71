"""Bags of every kind are read whole and in order; damage is reported or counted."""

from contextlib import suppress
import shutil
import sqlite3

import numpy as np
import pytest

from helpers.bag_world import (
    CAMERA,
    compressed,
    FRONT,
    images,
    picture,
    raw,
    REAR,
    RED,
    six_pictures,
    stamp,
    write_bag,
    write_ros1_bag,
)
from mbv2ssd_ros.core.errors import (
    ConfigError,
    DataError,
    UnsupportedImageError,
)
from mbv2ssd_ros.evaluation.bags import message_types
from mbv2ssd_ros.evaluation.bags.frames import image_topics, read_frames
from mbv2ssd_ros.evaluation.bags.message_types import DETECTIONS, full_name, IMAGE, standard_types
from mbv2ssd_ros.evaluation.bags.reader import Bag, Topic

KINDS = [('mcap', None), ('mcap', 'storage'), ('mcap', 'message'), ('mcap', 'file'),
         ('sqlite3', None), ('sqlite3', 'message'), ('sqlite3', 'file')]


def read(path, topics=(CAMERA,), clock='header'):
    with Bag(path) as bag:
        return list(read_frames(bag, topics, clock))


def assert_six(frames):
    """Check stamps, numbers and pixels against what was written."""
    assert [frame.stamp_ns for frame in frames] == [stamp(k) for k in range(6)]
    assert [frame.number for frame in frames] == [frame.index for frame in frames] == [*range(6)]
    for frame, expected in zip(frames, six_pictures(), strict=True):
        np.testing.assert_array_equal(frame.image().pixels, expected)
        assert frame.size_hw() == (64, 96)


@pytest.mark.parametrize(('storage', 'mode'), KINDS)
@pytest.mark.parametrize('make', [raw, compressed])
def test_every_storage_and_compression_gives_every_frame_once(tmp_path, storage, mode, make):
    assert_six(read(write_bag(tmp_path / 'bag', images(six_pictures(), make=make), storage, mode)))


@pytest.mark.parametrize('compression', [None, 'bz2', 'lz4'])
def test_a_ros1_bag_gives_every_frame_once(tmp_path, compression):
    assert_six(read(write_ros1_bag(tmp_path / 'old.bag', six_pictures(),
                                   compression=compression)))


def test_cameras_are_read_together_in_the_order_of_recording(tmp_path):
    front = images([picture((0, 0, RED))] * 2, FRONT)
    rear = [(topic, log_ns + 1000, message)
            for topic, log_ns, message in images([picture()] * 2, REAR, compressed)]
    path = write_bag(tmp_path / 'bag', sorted(front + rear, key=lambda item: item[1]))
    frames = read(path, (FRONT, REAR))
    assert [(f.topic, f.index) for f in frames] == [(FRONT, 0), (REAR, 0), (FRONT, 1), (REAR, 1)]
    assert [frame.number for frame in frames] == [0, 1, 2, 3]
    assert [f.index for f in read(path, (REAR,))] == [0, 1]


def test_the_clock_of_recording_gives_the_times_of_recording(tmp_path):
    path = write_bag(tmp_path / 'bag', images(six_pictures()[:2]))
    frames = read(path, clock='recorded')
    assert [frame.stamp_ns for frame in frames] == [stamp(0) + 3_000_000, stamp(1) + 3_000_000]
    assert [frame.header_ns for frame in frames] == [stamp(0), stamp(1)]


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('mode', [None, 'message'])
def test_a_bag_without_metadata_is_read(tmp_path, storage, mode):
    path = write_bag(tmp_path / 'bag', images(six_pictures()), storage, mode)
    (path / 'metadata.yaml').unlink()
    assert_six(read(path))
    [file] = path.iterdir()
    assert_six(read(file))  # and the file alone


def test_split_files_without_metadata_are_read_in_order_of_their_numbers(tmp_path):
    folder = tmp_path / 'bag'
    folder.mkdir()
    messages = images(six_pictures())
    for number in range(11):
        part = {2: messages[:3], 10: messages[3:]}.get(number, [])
        written = write_bag(tmp_path / f'part{number}', part, 'sqlite3')
        shutil.copy(written / f'part{number}.db3', folder / f'bag_{number}.db3')
    assert_six(read(folder))


def test_type_names_of_early_rosbag2_are_understood(tmp_path):
    path = write_bag(tmp_path / 'bag', images(six_pictures()), 'sqlite3')
    (path / 'metadata.yaml').unlink()
    with sqlite3.connect(path / 'bag.db3') as database:  # as Crystal and Dashing wrote them
        database.execute("UPDATE topics SET type = 'sensor_msgs/Image'")
        database.execute('DROP TABLE schema')
        database.execute('ALTER TABLE topics DROP COLUMN offered_qos_profiles')
    assert_six(read(path))


@pytest.mark.parametrize(('short', 'full'), [
    ('sensor_msgs/Image', 'sensor_msgs/msg/Image'),
    ('sensor_msgs/msg/Image', 'sensor_msgs/msg/Image'), ('odd', 'odd')])
def test_type_names_are_completed(short, full):
    assert full_name(short) == full


def test_the_topics_are_listed_with_types_and_counts(tmp_path):
    with Bag(write_bag(tmp_path / 'bag', images(six_pictures()))) as bag:
        assert bag.topics == (Topic(CAMERA, IMAGE, 6),)
        with pytest.raises(DataError, match=r"no topic '/cam'; it has /camera/image_raw "
                                            r'\(sensor_msgs/msg/Image, 6\)'):
            bag.require(['/cam'], [IMAGE])
        with pytest.raises(DataError, match='type sensor_msgs/msg/Image, expected vision_msgs'):
            bag.require([CAMERA], [DETECTIONS])


def test_several_cameras_are_not_chosen_between(tmp_path):
    messages = images([picture()], FRONT) + images([picture()], REAR)
    with Bag(write_bag(tmp_path / 'bag', messages)) as bag:
        with pytest.raises(ConfigError, match='/front/image_raw, /rear/image_raw; choose with'):
            image_topics(bag, ())
        assert image_topics(bag, (REAR,)) == (REAR,)
        with pytest.raises(ConfigError, match='named twice: /rear'):
            image_topics(bag, (REAR, REAR))


def test_a_bag_without_images_says_what_it_has(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/count', 5, ('std_msgs/msg/Int32', bytes(8)))])
    with Bag(path) as bag, pytest.raises(
            DataError, match=r'no topic with images; it has /count \(std_msgs/msg/Int32, 1\)'):
        image_topics(bag, ())


def test_an_empty_bag_says_so(tmp_path):
    path = write_bag(tmp_path / 'bag', [])
    with Bag(path) as bag, pytest.raises(DataError, match='it has no topics at all'):
        image_topics(bag, ())


def test_messages_that_are_no_images_are_frames_that_cannot_be_decoded(tmp_path):
    good = raw(picture(), stamp(2))
    short = compressed(picture(), stamp(1), '.jpg')
    short.data = short.data[:-20]
    path = write_bag(tmp_path / 'bag', [
        (CAMERA, stamp(0), (IMAGE, b'\0\1\0\0abc')), (CAMERA, stamp(2), good),
        ('/jpeg', stamp(1), short)])
    broken, whole = read(path)
    with pytest.raises(UnsupportedImageError, match='Image of 7 bytes cannot be deserialised'):
        broken.image()
    assert broken.stamp_ns == stamp(0)  # of its recording
    assert whole.image().size_hw == (64, 96)
    with pytest.raises(UnsupportedImageError, match='JPEG of .* is truncated'):
        read(path, ('/jpeg',))[0].image()


def truncated(path, file_name, share=0.6):
    """Cut a file of a bag."""
    file = path / file_name if file_name else path
    content = file.read_bytes()
    file.write_bytes(content[:int(len(content) * share)])
    return path


def read_to_the_fault(path):
    """Return the stamps of the frames before the error, and the error."""
    found = []
    with Bag(path) as bag, pytest.raises(DataError) as fault:
        for frame in read_frames(bag, (CAMERA,)):
            assert frame.image().size_hw == frame.size_hw()
            found.append(frame.stamp_ns)
    return found, str(fault.value)


@pytest.mark.parametrize('mode', [None, 'storage'])
@pytest.mark.parametrize('share', [0.3, 0.6, 0.9, 0.9999])
@pytest.mark.parametrize('tail', [b'', bytes(5000)])
def test_an_mcap_that_was_not_closed_is_read_as_far_as_it_is_whole(tmp_path, mode, share, tail):
    rng = np.random.default_rng(0)
    shown = [rng.integers(0, 256, (300, 500, 3), dtype=np.uint8) for _ in range(12)]
    path = write_bag(tmp_path / 'bag', images(shown), mode=mode)  # chunks of three frames
    (path / 'metadata.yaml').unlink()  # written when a bag is closed
    truncated(path, 'bag.mcap', share)
    with (path / 'bag.mcap').open('ab') as file:
        file.write(tail)  # what a file system may add after a power cut
    found, fault = read_to_the_fault(path)
    chunks = {0.3: 1, 0.6: 2, 0.9: 3, 0.9999: 4}[share]
    assert found == [stamp(k) for k in range(3 * chunks)]
    assert 'bag.mcap: the recording was not closed or is truncated; its complete' in fault


def test_a_truncated_mcap_with_metadata_is_read_as_far_as_it_is_whole(tmp_path):
    shown = [np.full((300, 500, 3), k, np.uint8) for k in range(6)]
    path = truncated(write_bag(tmp_path / 'bag', images(shown)), 'bag.mcap')
    found, fault = read_to_the_fault(path)
    assert found == [stamp(k) for k in range(3)]
    assert 'bag.mcap: the recording was not closed or is truncated' in fault
    assert '/camera/image_raw has 3 messages, the recording had 6' in fault


def test_a_truncated_sqlite_file_is_an_error(tmp_path):
    path = write_bag(tmp_path / 'bag', images(six_pictures() * 4), 'sqlite3')
    truncated(path, 'bag.db3')
    with pytest.raises(DataError, match=r'bag.db3: cannot be read as .*malformed.*\.recover'):
        read(path)


def test_a_truncated_ros1_bag_is_an_error(tmp_path):
    path = truncated(write_ros1_bag(tmp_path / 'old.bag', six_pictures()), '')
    with pytest.raises(DataError, match='old.bag: cannot be read as a bag: Bag index looks '
                                        'damaged.*rosbag reindex'):
        read(path)


def test_a_ros1_bag_whose_recording_was_killed_is_an_error(tmp_path):
    path = write_ros1_bag(tmp_path / 'old.bag.active.bag', six_pictures())
    content = bytearray(path.read_bytes())
    place = content.find(b'index_pos=') + len(b'index_pos=')
    content[place:place + 8] = bytes(8)  # as it is until the bag is closed
    path.write_bytes(content)
    with pytest.raises(DataError, match='not indexed, reindex.*not closed, or is trunc'):
        read(path)


@pytest.mark.parametrize('profile', [b'ros1', b'none'])
def test_images_of_ros2_are_read_whatever_the_profile_says(tmp_path, profile):
    path = write_bag(tmp_path / 'bag', images(six_pictures()))
    file = path / 'bag.mcap'
    file.write_bytes(file.read_bytes().replace(b'ros2', profile, 1))
    assert_six(read(path))


def test_frames_that_metadata_promises_and_the_files_lack_are_missed(tmp_path):
    path = write_bag(tmp_path / 'bag', images(six_pictures()), 'sqlite3')
    with sqlite3.connect(path / 'bag.db3') as database:
        database.execute('DELETE FROM messages WHERE id > 4')
    with Bag(path) as bag:
        frames = read_frames(bag, (CAMERA,))
        assert [next(frames).index for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(DataError, match='has 4 messages, the recording had 6'):
            next(frames)


def test_a_database_that_was_not_closed_is_not_read_without_its_end(tmp_path):
    path = write_bag(tmp_path / 'bag', images(six_pictures()), 'sqlite3')
    (path / 'bag.db3-wal').write_bytes(b'messages')
    with pytest.raises(DataError, match='db3-wal: the recording was not closed'):
        Bag(path)


def test_metadata_that_is_no_text_says_what_helps(tmp_path):
    path = write_bag(tmp_path / 'bag', images(six_pictures()))
    (path / 'metadata.yaml').write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match='metadata.yaml: cannot be read: .*0x80.*read without'):
        read(path)


@pytest.mark.parametrize(('old', 'new', 'expected'), [
    ('compression_format: zstd', 'compression_format: lz4',
     "compression 'lz4', supported is zstd.*ros2 bag"),
    ('bag.mcap', 'gone.mcap', 'gone.mcap: is listed in metadata.yaml and missing; copy all'),
    ('rosbag2_bagfile_information', 'information', 'information.*the files were read without it'),
])
def test_metadata_that_cannot_be_followed_is_an_error(tmp_path, old, new, expected):
    path = write_bag(tmp_path / 'bag', images(six_pictures()), mode='message')
    metadata = path / 'metadata.yaml'
    text = metadata.read_text()
    assert old in text
    metadata.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=expected):
        read(path)


def test_an_unknown_compression_inside_mcap_is_named(tmp_path):
    path = write_bag(tmp_path / 'bag', images(six_pictures()), mode='storage')
    file = path / 'bag.mcap'
    file.write_bytes(file.read_bytes().replace(b'\4\0\0\0zstd', b'\4\0\0\0best'))
    with pytest.raises(DataError, match="chunks with the compression 'best'.*ros2 bag convert"):
        read(path)


def test_an_mcap_without_index_is_read_from_beginning_to_end(tmp_path):
    path = write_bag(tmp_path / 'bag', images(six_pictures()))
    file = path / 'bag.mcap'
    content = file.read_bytes()
    # the summary is optional: a footer that points nowhere, and no summary before it
    summary = int.from_bytes(content[-28:-20], 'little')
    file.write_bytes(content[:summary] + content[-37:-28] + bytes(20) + content[-8:])
    assert_six(read(path))


def test_a_path_that_is_no_bag_is_refused(tmp_path):
    with pytest.raises(DataError, match='nothing: no such bag'):
        Bag(tmp_path / 'nothing')
    (tmp_path / 'a.txt').write_text('hello')
    with pytest.raises(DataError, match='a.txt: not a bag; expected a folder, or a file'):
        Bag(tmp_path / 'a.txt')
    with pytest.raises(DataError, match='no metadata.yaml, and no file that ends with .db3, .mcap '
                                        'or .bag, or with .zstd after it: neither a bag nor'):
        Bag(tmp_path)


@pytest.mark.parametrize('name', ['a.db3', 'a.mcap', 'a.bag'])
@pytest.mark.parametrize('content', [b'', b'x' * 100])
def test_a_file_of_something_else_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f'{name}: cannot be read as a bag'):
        read(tmp_path / name)


def test_a_machine_without_rosbags_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'rosbags.rosbag1', None)
    with pytest.raises(ConfigError, match=r"pip install 'mbv2ssd_ros\[bags\]'"):
        message_types.rosbags_library()


def test_our_vision_msgs_are_those_of_ros():
    # type hashes of vision_msgs 4.1.1, worked out by rosidl
    expected = {
        DETECTIONS: '214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
        'vision_msgs/msg/Detection2D':
            '0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea',
        'vision_msgs/msg/ObjectHypothesisWithPose':
            '41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc'}
    found = {name: standard_types().hash_rihs01(name) for name in expected}
    assert found == {name: f'RIHS01_{digest}' for name, digest in expected.items()}


@pytest.mark.parametrize('kind', ['mcap', 'mcap_zstd', 'sqlite3', 'ros1'])
@pytest.mark.parametrize('seed', range(4))
def test_a_bag_with_random_damage_gives_frames_or_an_error_of_ours(tmp_path, kind, seed):
    small = [picture(size_hw=(16, 24))] * 12
    if kind == 'ros1':
        path = file = write_ros1_bag(tmp_path / 'bag.bag', small)
    else:
        path = write_bag(tmp_path / 'bag', images(small), kind.removesuffix('_zstd'),
                         'storage' if kind == 'mcap_zstd' else None)
        file = next(found for found in path.iterdir() if found.suffix != '.yaml')
    rng, whole = np.random.default_rng(seed), file.read_bytes()
    for _ in range(25):
        damaged = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, len(damaged), int(rng.integers(1, 20)))
        damaged[places] = rng.integers(0, 256, len(places))
        file.write_bytes(damaged.tobytes())
        with suppress(DataError):
            for frame in read(path):
                with suppress(UnsupportedImageError):
                    frame.image()
