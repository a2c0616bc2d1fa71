"""Engines are kept whole or not at all, whatever happens to the files and processes."""

import dataclasses
import errno
import json
import os
from pathlib import Path
import random
import subprocess
import sys
import threading
import time

import pytest

from helpers.paths import ROOT
from helpers.trt_doubles import ListLog
from mbv2ssd_ros.backends.base import LoadContext
from mbv2ssd_ros.backends.trt.cache import EngineCache
from mbv2ssd_ros.backends.trt.manifest import (
    EngineKey,
    Manifest,
    manifest_for,
    UnusableEngineError,
)
from mbv2ssd_ros.core.errors import BackendError

KEY = EngineKey(
    model_sha256='a' * 64, tensorrt='10.3.0', gpu='Orin', compute_capability=(8, 7),
    multiprocessors=8, gpu_memory_gib=7, machine='aarch64', batch_sizes=(1, 2),
    optimization_level=3, workspace_mib=512, recipe=1)
PLAN = bytes(range(256)) * 50  # 12800 bytes: three blocks of 4 KiB and a part
NAME = f'ssd.{KEY.fingerprint}'


@pytest.fixture
def log():
    """Return a log to look at."""
    return ListLog()


@pytest.fixture
def cache(tmp_path, log):
    """Return an empty cache."""
    return EngineCache(str(tmp_path / 'engines'), LoadContext(log))


def keep(cache, plan=PLAN, key=KEY):
    """Keep an engine; returns its manifest."""
    manifest = manifest_for(key, plan, '{}', 'equal', 61.23)
    cache.keep(NAME, plan, manifest)
    return manifest


def files(cache):
    """Return the names in the folder, without locks."""
    return sorted(path.name for path in cache.folder.iterdir() if path.suffix != '.lock')


# what belongs together

def test_what_was_kept_is_found(cache):
    manifest = keep(cache)
    found = cache.find(NAME, KEY)
    assert (found.plan, found.manifest) == (PLAN, manifest)
    assert (manifest.engine_bytes, manifest.build_s) == (12800, 61.2)


def test_nothing_is_found_in_an_empty_cache(cache):
    assert cache.find(NAME, KEY) is None


def test_the_name_says_model_and_key(cache):
    assert cache.name(Path('/data/my model.onnx'), KEY) == f'my_model.{KEY.fingerprint}'
    assert cache.engine_path(NAME) == cache.folder / f'ssd.{KEY.fingerprint}.engine'


@pytest.mark.parametrize(('field', 'other'), [
    ('model_sha256', 'b' * 64), ('tensorrt', '10.3.1'), ('gpu', 'Thor'),
    ('compute_capability', (8, 6)), ('multiprocessors', 16), ('gpu_memory_gib', 15),
    ('machine', 'x86_64'), ('batch_sizes', (1, 2, 3)), ('optimization_level', 4),
    ('workspace_mib', 256), ('recipe', 2)])
def test_any_difference_is_another_engine(cache, field, other):
    key = dataclasses.replace(KEY, **{field: other})
    assert key.fingerprint != KEY.fingerprint
    keep(cache)
    with pytest.raises(UnusableEngineError, match='another model, GPU or TensorRT'):
        cache.find(NAME, key)


def test_the_key_has_no_part_that_is_not_tested():
    assert len(dataclasses.fields(KEY)) == 11


def test_files_are_for_their_owner_alone(cache):
    keep(cache)
    cache.keep_timing(NAME, KEY, b'times')
    assert {(cache.folder / name).stat().st_mode & 0o777 for name in files(cache)} == {0o600}


def test_a_manifest_is_read_as_it_was_written():
    manifest = manifest_for(KEY, PLAN, '{"a": 1}', 'equal', 3.0)
    assert Manifest.from_json(manifest.to_json()) == manifest


# damage

def refused(cache):
    """Return whether the engine is refused."""
    try:
        found = cache.find(NAME, KEY)
    except UnusableEngineError:
        return True
    assert found is None or found.plan == PLAN
    return found is None


@pytest.mark.parametrize('size', [0, 1, 4095, 4096, 8192, 12288, 12799])
def test_a_truncated_engine_is_refused(cache, size):
    keep(cache)
    os.truncate(cache.engine_path(NAME), size)
    with pytest.raises(UnusableEngineError, match=f'its {size} bytes are not the 12800 that'):
        cache.find(NAME, KEY)


def test_a_flipped_bit_anywhere_is_refused(cache):
    keep(cache)
    path = cache.engine_path(NAME)
    for position in random.Random(0).sample(range(len(PLAN)), 40):
        damaged = bytearray(PLAN)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        assert refused(cache), position


def test_an_engine_that_is_too_long_is_refused(cache):
    keep(cache)
    with open(cache.engine_path(NAME), 'ab') as stream:
        stream.write(b'\0')
    assert refused(cache)


def test_a_truncated_or_damaged_manifest_never_lets_another_engine_through(cache):
    text = keep(cache).to_json().encode()
    path = cache.folder / f'{NAME}.json'
    for size in range(0, len(text), 7):
        path.write_bytes(text[:size])
        assert refused(cache), size
    for position in range(0, len(text), 5):
        path.write_bytes(text[:position] + b'\xff' + text[position + 1:])
        assert refused(cache), position


@pytest.mark.parametrize('content', [
    b'null', b'[]', b'{}', b'[' * 100_000, b'{"version": 2}', b'{"version": 1, "key": 5}',
    b'{"version": 1, "key": {"gpu": 1}}'])
def test_a_manifest_that_is_none_is_refused(cache, content):
    keep(cache)
    (cache.folder / f'{NAME}.json').write_bytes(content)
    with pytest.raises(UnusableEngineError, match='its manifest'):
        cache.find(NAME, KEY)


def test_a_manifest_with_a_field_too_many_or_too_few_is_refused(cache):
    values = json.loads(keep(cache).to_json())
    path = cache.folder / f'{NAME}.json'
    for changed in ({**values, 'more': 1}, {k: v for k, v in values.items() if k != 'contract'}):
        path.write_text(json.dumps(changed))
        with pytest.raises(UnusableEngineError, match='its manifest cannot be read'):
            cache.find(NAME, KEY)


@pytest.mark.parametrize('suffix', ['engine', 'json'])
def test_half_a_pair_is_refused(cache, suffix):
    keep(cache)
    (cache.folder / f'{NAME}.{suffix}').unlink()
    with pytest.raises(UnusableEngineError, match='not both there'):
        cache.find(NAME, KEY)


@pytest.mark.parametrize('suffix', ['engine', 'json'])
def test_a_link_or_a_file_that_others_can_write_is_refused(cache, suffix):
    keep(cache)
    path = cache.folder / f'{NAME}.{suffix}'
    path.chmod(0o666)
    with pytest.raises(UnusableEngineError, match='only its owner can write'):
        cache.find(NAME, KEY)
    path.chmod(0o600)
    path.rename(cache.folder / 'elsewhere')
    path.symlink_to('elsewhere')
    with pytest.raises(UnusableEngineError, match='cannot be read'):
        cache.find(NAME, KEY)


def test_what_is_put_aside_is_kept_for_a_look_and_not_found_again(cache, log):
    keep(cache)
    cache.quarantine(NAME, 'its 3 bytes are not the 12800')
    assert files(cache) == [f'{NAME}.engine.quarantined', f'{NAME}.json.quarantined']
    assert cache.find(NAME, KEY) is None
    assert 'its 3 bytes' in log.lines[0] and f'{NAME}.engine.quarantined' in log.lines[0]


def test_putting_aside_again_and_again_does_not_fill_the_disk(cache):
    for _ in range(3):
        keep(cache)
        cache.quarantine(NAME, 'test')
    assert len(files(cache)) == 2


# the timing cache

def test_measured_times_serve_every_model_on_the_gpu(cache):
    cache.keep_timing(NAME, KEY, b'times')
    other_model = dataclasses.replace(KEY, model_sha256='b' * 64, batch_sizes=(1,))
    assert cache.timing(other_model) == b'times'
    assert cache.timing(dataclasses.replace(KEY, tensorrt='11.4')) == b''


def test_damaged_times_are_none(cache):
    cache.keep_timing(NAME, KEY, b'times' * 100)
    path = next(cache.folder.glob('timing.*'))
    whole = path.read_bytes()
    for content in (b'', whole[:40], whole[:-1], whole[:200] + b'?' + whole[201:]):
        path.write_bytes(content)
        assert cache.timing(KEY) == b''


# writing

def test_a_full_disk_leaves_what_was_there(cache, monkeypatch):
    keep(cache)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        keep(cache, b'another plan')
    assert files(cache) == [f'{NAME}.engine', f'{NAME}.json']
    assert cache.find(NAME, KEY).plan == PLAN


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_really_full_file_system_is_an_error_and_leaves_nothing(cache, monkeypatch):
    import tempfile
    original = tempfile.mkstemp

    def on_a_full_disk(**arguments):
        descriptor, path = original(**arguments)
        os.close(descriptor)
        return os.open('/dev/full', os.O_WRONLY), path

    monkeypatch.setattr(tempfile, 'mkstemp', on_a_full_disk)
    with pytest.raises(OSError, match='No space left'):
        keep(cache)
    assert files(cache) == []


def test_an_engine_whose_manifest_finds_no_room_is_removed(cache, monkeypatch):
    original = os.replace

    def full(aside, path):
        if path.suffix == '.json':
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(aside, path)

    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError, match='No space left'):
        keep(cache)
    assert files(cache) == []


def test_what_a_killed_process_had_begun_to_write_goes_with_the_next_lock(cache, monkeypatch):
    def killed(aside, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', killed)
    monkeypatch.setattr(Path, 'unlink', lambda self, missing_ok=False: None)
    for write in (lambda: keep(cache), lambda: cache.keep_timing(NAME, KEY, b'times')):
        with pytest.raises(KeyboardInterrupt):
            write()
    assert len(files(cache)) == 2
    monkeypatch.undo()
    with cache.locked('other'):
        assert len(files(cache)) == 2
    with cache.locked(NAME):
        assert files(cache) == []


def test_an_engine_is_flushed_before_it_gets_its_name(cache, monkeypatch):
    order = []
    original_sync, original_replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda fd: (order.append('flush'), original_sync(fd)))
    monkeypatch.setattr(
        os, 'replace', lambda a, b: (order.append(Path(b).suffix), original_replace(a, b)))
    keep(cache)
    assert order == ['flush', '.engine', 'flush', 'flush', '.json', 'flush']


# Each round forks writers of one engine; prints what was found afterwards.
PREPARE = '''
import os, random, signal, sys, time
from pathlib import Path
from mbv2ssd_ros.backends.base import LoadContext
from mbv2ssd_ros.backends.trt.cache import EngineCache
from mbv2ssd_ros.backends.trt.manifest import EngineKey, manifest_for, UnusableEngineError

class Log:
    def info(self, message): pass
    warning = info

key = EngineKey('a' * 64, '10.3.0', 'Orin', (8, 7), 8, 7, 'aarch64', (1,), 3, 512, 1)
plan = bytes(range(256)) * 2000

def opened():
    return EngineCache(sys.argv[1], LoadContext(Log()))

def keep(cache, name):
    cache.keep(name, plan, manifest_for(key, plan, '{}', 'equal', 1.0))

def forked(work):
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    return child
'''

KILL = PREPARE + '''
moments = random.Random(1)
started = time.monotonic()
os.waitpid(forked(lambda: keep(opened(), 'first')), 0)
duration = time.monotonic() - started  # of a write, on this machine, now
for number in range(50):
    name = f'ssd{number}'
    def write():
        cache = opened()
        with cache.locked(name):
            keep(cache, name)
    child = forked(write)
    time.sleep(moments.uniform(0.0, 1.5 * duration))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    cache = opened()
    with cache.locked(name):  # not held by the dead
        try:
            found = cache.find(name, key)
            print('none' if found is None else 'whole' if found.plan == plan else 'BROKEN')
        except UnusableEngineError:  # killed between the engine and its manifest
            print('refused')
        assert not list(cache.folder.glob(f'.{name}.*.tmp')), 'it was not tidied up'
        keep(cache, name)
    assert cache.find(name, key).plan == plan
'''

RACE = PREPARE + '''
from mbv2ssd_ros.backends.trt import cache as engine_cache
engine_cache._POLL_S = 0.005
for number in range(50):
    name, built = f'ssd{number}', Path(sys.argv[1]).parent / f'built{number}'
    def work():
        cache = opened()
        with cache.locked(name):
            if cache.find(name, key) is None:
                with open(built, 'a') as stream:
                    stream.write('x')
                keep(cache, name)
        assert cache.find(name, key).plan == plan
    children = [forked(work) for _ in range(2)]
    codes = [os.waitpid(child, 0)[1] for child in children]
    print(built.read_text(), *codes)
'''


def run_script(script, folder):
    """Run a script in a process of its own, which may fork; returns its lines."""
    found = subprocess.run(
        [sys.executable, '-c', script, str(folder)], capture_output=True, text=True, timeout=100,
        cwd=ROOT)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_killing_the_writer_at_any_moment_leaves_a_whole_engine_or_none(tmp_path):
    found = run_script(KILL, tmp_path / 'engines')
    assert len(found) == 50 and set(found) <= {'none', 'whole', 'refused'}
    assert len(set(found)) > 1, 'the moments are all before, or all after, the write'


def test_of_two_processes_one_builds_and_both_get_the_engine(tmp_path):
    assert run_script(RACE, tmp_path / 'engines') == ['x 0 0'] * 50


# the lock

def test_only_one_at_a_time_builds(cache):
    inside, most = [0], []

    def build():
        own = EngineCache(str(cache.folder), LoadContext(ListLog()))
        with own.locked(NAME):
            inside[0] += 1
            most.append(inside[0])
            time.sleep(0.02)
            inside[0] -= 1

    threads = [threading.Thread(target=build) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5


def test_another_engine_does_not_wait(cache):
    with cache.locked(NAME):
        with cache.locked('other'):
            pass


def test_who_waits_says_for_what_and_can_give_up(cache, log):
    def cancelled():
        return bool(log.lines)

    waiting = EngineCache(str(cache.folder), LoadContext(log, cancelled))
    with cache.locked(NAME):
        with pytest.raises(BackendError, match='waiting for the engine was cancelled'):
            with waiting.locked(NAME):
                pass
    assert 'another process builds this engine' in log.lines[0] and NAME in log.lines[0]


def test_without_room_for_a_lock_one_goes_on_without(cache, log):
    cache.folder.joinpath(f'.{NAME}.lock').symlink_to('nowhere')  # cannot be opened either
    with cache.locked(NAME):
        keep(cache)
    assert 'no lock can be made' in log.lines[0]


def test_a_file_system_without_locks_is_named(cache, monkeypatch):
    import fcntl

    def no_locks(descriptor, how):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', no_locks)
    with pytest.raises(BackendError, match='has no locks .*engine_cache_dir to a folder on a loc'):
        with cache.locked(NAME):
            pass
