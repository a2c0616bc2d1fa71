"""Recordings as they come from the field: each function makes one quirk, on six frames."""

from pathlib import Path
import shutil

import cv2
from mcap.writer import IndexType, Writer

from helpers.bag_world import CAMERA, images, kind_of, SECOND, six_pictures, stamp, write_bag
from mbv2ssd_ros.evaluation.bags.message_types import IMAGE, standard_types

OTHERS = (  # schema name, schema encoding, message encoding of a channel that is no image
    ('nav2_msgs/action/Spin_FeedbackMessage', 'unknown', 'cdr'),
    ('foxglove.Grid', 'protobuf', 'protobuf'), ('notes', 'jsonschema', 'json'))


def write_mcap(path, messages, others=(), profile='ros2', **options):
    """
    Write an mcap file by mcap's own writer.

    Args:
        path: of the file.
        messages: as write_bag takes them.
        others: as OTHERS, a channel of a message each.
        profile: of the header.
        **options: of mcap.writer.Writer.
    """
    types = standard_types()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open('wb') as stream:
        writer = Writer(stream, **options)
        writer.start(profile)
        for name, schema_encoding, encoding in others:
            schema = writer.register_schema(name, schema_encoding, b'?')
            channel = writer.register_channel(f'/{schema_encoding}', encoding, schema)
            writer.add_message(channel, messages[0][1], b'?', messages[0][1])
        channels = {}
        for topic, log_ns, message in messages:
            kind, data = message if isinstance(message, tuple) else (
                kind_of(message), types.serialize_cdr(message, kind_of(message)))
            if (topic, kind) not in channels:
                channels[topic, kind] = writer.register_channel(
                    topic, 'cdr', writer.register_schema(kind, 'ros2msg', b''))
            writer.add_message(channels[topic, kind], log_ns, data, log_ns)
        writer.finish()
    return Path(path)


def other_channels(path):
    """Topics of actions, protobuf and JSON beside the images."""
    return write_mcap(path / 'run.mcap', images(six_pictures()), OTHERS)


def foxglove_images(path, kind):
    """
    Images of Foxglove's protobuf schemas.

    Args:
        path: of the folder.
        kind: RawImage or CompressedImage.
    """
    def bytes_field(number, content):
        return varint(number << 3 | 2) + varint(len(content)) + content

    def fixed32(number, value):
        return varint(number << 3 | 5) + value.to_bytes(4, 'little')

    file = path / 'run.mcap'
    path.mkdir(parents=True)
    with file.open('wb') as stream:
        writer = Writer(stream)
        writer.start('')
        channel = writer.register_channel('/camera', 'protobuf', writer.register_schema(
            f'foxglove.{kind}', 'protobuf', b'?'))
        for index, image in enumerate(six_pictures()):
            when = stamp(index)
            time = bytes_field(1, b'\x08' + varint(when // SECOND) + b'\x10'
                               + varint(when % SECOND))
            if kind == 'RawImage':
                height, width = image.shape[:2]
                data = (time + fixed32(2, width) + fixed32(3, height) + bytes_field(4, b'bgr8')
                        + fixed32(5, 3 * width) + bytes_field(6, image.tobytes())
                        + bytes_field(7, b'cam'))
            else:
                data = (time + bytes_field(2, cv2.imencode('.png', image)[1].tobytes())
                        + bytes_field(3, b'png') + bytes_field(4, b'cam'))
            writer.add_message(channel, when, data, when)
        writer.finish()
    return file


def varint(value):
    """Return a number as protobuf writes it."""
    parts = []
    while value > 0x7f:
        parts.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes([*parts, value])


def two_types_under_one_name(path):
    """A topic whose type changed while it was recorded."""
    messages = images(six_pictures())
    odd = CAMERA, messages[0][1], ('std_msgs/msg/String', b'\0\1\0\0\1\0\0\0\0')
    return write_mcap(path / 'run.mcap', [odd, *messages])


def no_profile(path):
    """A header that does not say ros2."""
    return write_mcap(path / 'run.mcap', images(six_pictures()), profile='')


def no_message_index(path):
    """Chunks without an index of their messages."""
    return write_mcap(path / 'run.mcap', images(six_pictures()),
                      index_types=IndexType.CHUNK)


def no_index(path):
    """Neither chunks nor any index."""
    return write_mcap(path / 'run.mcap', images(six_pictures()), use_chunking=False,
                      index_types=IndexType.NONE, use_statistics=False)


def no_repeated_schemas(path):
    """Schemas that the summary does not repeat."""
    return write_mcap(path / 'run.mcap', images(six_pictures()), repeat_schemas=False)


def no_repeated_channels(path):
    """Channels that the summary does not repeat."""
    return write_mcap(path / 'run.mcap', images(six_pictures()), repeat_channels=False)


def folder_named_like_ros1(path):
    """A folder of rosbag2 that is called .bag."""
    return write_bag(path / 'run.bag', images(six_pictures()))


def other_qos(path):
    """Other QoS in metadata.yaml than in the file."""
    bag = write_bag(path / 'run', images(six_pictures()))
    return _edited(bag, 'offered_qos_profiles: []', 'offered_qos_profiles: [{depth: 5}]')


def no_storage_identifier(path):
    """A metadata.yaml that names no storage."""
    return _edited(write_bag(path / 'run', images(six_pictures())),
                   'storage_identifier: mcap', "storage_identifier: ''")


def byte_order_mark(path):
    """A metadata.yaml that an editor of Windows saved."""
    bag = write_bag(path / 'run', images(six_pictures()))
    metadata = bag / 'metadata.yaml'
    metadata.write_bytes(b'\xef\xbb\xbf' + metadata.read_bytes())
    return bag


def capital_suffix(path):
    """A file that a camera card named in capitals."""
    bag = write_bag(path / 'run', images(six_pictures()))
    return (bag / 'run.mcap').rename(path / 'RUN.MCAP')


def file_of_macos(path):
    """What macOS leaves beside files on foreign disks."""
    bag = write_bag(path / 'run', images(six_pictures()), 'sqlite3')
    (bag / 'metadata.yaml').unlink()
    (bag / '._run.db3').write_bytes(b'\0\5\x16\7')
    return bag


def split(path, storage='sqlite3', mode=None):
    """Three files of two frames, with metadata.yaml."""
    bag = path / 'run'
    bag.mkdir(parents=True)
    texts = []
    for number in range(3):
        part = write_bag(path / f'part{number}', images(six_pictures())[2 * number:][:2], storage,
                         mode)
        texts.append((part / 'metadata.yaml').read_text())
        [file] = [file for file in part.iterdir() if file.suffix != '.yaml']
        shutil.move(file, bag / file.name.replace(f'part{number}', f'run_{number}'))
        shutil.rmtree(part)
    names = ''.join(f'  - {file.name}\n' for file in sorted(bag.iterdir()))
    head, _, rest = texts[0].partition('  relative_file_paths:\n')
    rest = rest.partition('\n')[2]
    (bag / 'metadata.yaml').write_text(
        (head + f'  relative_file_paths:\n{names}' + rest).replace(
            'message_count: 2', 'message_count: 6'))
    return bag


def split_and_partly_packed(path):
    """Parts without metadata.yaml, two of which are compressed."""
    bag, packed = split(path), split(path / 'packed', mode='file')
    (bag / 'metadata.yaml').unlink()
    for number in (0, 1):
        (bag / f'run_{number}.db3').unlink()
        shutil.move(packed / f'run_{number}.db3.zstd', bag)
    shutil.rmtree(path / 'packed')
    return bag


def part_missing(path):
    """A part in the middle that was not copied, without metadata.yaml."""
    bag = split(path)
    (bag / 'metadata.yaml').unlink()
    (bag / 'run_1.db3').unlink()
    return bag


def listed_part_missing(path):
    """A part that metadata.yaml lists and that was not copied."""
    bag = split(path)
    (bag / 'run_2.db3').unlink()
    return bag


def part_renamed(path):
    """A part that metadata.yaml lists under another name."""
    bag = split(path)
    (bag / 'run_2.db3').rename(bag / 'two.db3')
    return bag


def no_frame_can_be_decoded(path):
    """Images that are damaged, all of them."""
    return write_bag(path / 'run', [(topic, log_ns, (IMAGE, b'\0\1\0\0abc'))
                                    for topic, log_ns, _ in images(six_pictures())])


def _edited(bag, old, new):
    metadata = bag / 'metadata.yaml'
    text = metadata.read_text()
    assert old in text
    metadata.write_text(text.replace(old, new))
    return bag
