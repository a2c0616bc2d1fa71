"""Runs from elsewhere: paths, URLs, what is refused, and that nothing half done stays."""

import base64
from contextlib import contextmanager
import dataclasses
import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
import json
import shutil
import sys
import threading
import zipfile

import fsspec
import pytest
import torch

from helpers.model_settings import small_run
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.run.checkpoint import Checkpoint
from mbv2ssd_train.run.folder import latest_run, RunFolder
from mbv2ssd_train.run.remote import fetch_run

PARTS = ['checkpoints/best.pt', 'checkpoints/last.pt', 'config.yaml', 'fingerprints.json',
         'metrics.jsonl']


def checkpoint(config, step=7):
    """Everything but weights that anything could be done with."""
    return Checkpoint(
        config=config.to_yaml(), fingerprints={
            'arch': config.arch_fingerprint(), 'recipe': config.recipe_fingerprint()},
        class_names=config.data.classes, state={'step': step}, model={'weight': torch.ones(2)},
        averaged={}, learner={'optimizer': {}}, random={}, map_50=None)


def write_run(runs, step=7, **sections):
    """Write a run folder as training leaves it."""
    config = small_run('d', **sections)
    folder = RunFolder(runs, config)
    folder.open(resume=False)
    folder.metrics.append({'step': step})
    for path in (folder.last, folder.best):
        checkpoint(config, step).save(path)
    folder.close()
    return folder.path


@pytest.fixture
def run(tmp_path):
    """A run on another machine."""
    return write_run(tmp_path / 'elsewhere')


def test_imported_weights_are_no_run(tmp_path):
    path = tmp_path / 'coco.pt'
    dataclasses.replace(checkpoint(small_run('d')), learner={}).save(path)
    with pytest.raises(DataError, match=r'/coco\.pt: imported weights, not a run.*model\.weights'):
        fetch_run(path, tmp_path / 'runs')
    assert not list((tmp_path / 'runs').iterdir())


class Quiet(SimpleHTTPRequestHandler):
    """A web server that does not print."""

    def log_message(self, *_):
        pass


@contextmanager
def served(handler):
    """Serve with a handler; yields host and port."""
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        try:
            yield f'127.0.0.1:{server.server_address[1]}'
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Reach this machine directly."""
    monkeypatch.setenv('no_proxy', '*')


@pytest.fixture
def web(tmp_path):
    """Serve tmp_path / 'elsewhere'; yields the address."""
    with served(functools.partial(Quiet, directory=str(tmp_path / 'elsewhere'))) as host:
        yield f'http://{host}'


def parts_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def assert_same_run(found, expected):
    assert found.name == expected.name and parts_of(found) == PARTS
    for name in PARTS:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name


def nothing_in(runs):
    return not runs.exists() or not list(runs.iterdir())


def in_memory(run):
    files = fsspec.filesystem('memory')
    files.put(f'{run}/', '/bucket/run/', recursive=True)
    return 'memory://bucket/run'


def zipped(run):
    path = run.parent / 'runs.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        for name in PARTS:
            archive.write(run / name, f'a run/{name}')
    return f'zip://a run::file://{path}'


@pytest.mark.parametrize('address', [
    str, '{}/'.format, 'file://{}'.format, in_memory, zipped])
def test_a_run_is_copied_from_a_path_or_url(run, tmp_path, address):
    assert_same_run(fetch_run(address(run), tmp_path / 'runs'), run)
    assert latest_run(tmp_path / 'runs').name == run.name
    assert len(list((tmp_path / 'runs').iterdir())) == 1


@pytest.mark.parametrize('ending', ['', '/', '?signature=a/b.pt'])
def test_a_run_is_copied_from_a_web_server(run, web, tmp_path, ending):
    assert_same_run(fetch_run(f'{web}/{run.name}{ending}', tmp_path / 'runs'), run)


@pytest.mark.parametrize('prefix', ['', 'file://', 'web'])
def test_a_checkpoint_alone_becomes_a_run(run, web, tmp_path, prefix):
    source = (f'{web}/{run.name}/checkpoints/best.pt?x=1' if prefix == 'web'
              else f'{prefix}{run}/checkpoints/best.pt')
    found = fetch_run(source, tmp_path / 'runs')
    assert found.name == run.name
    assert parts_of(found) == ['checkpoints/last.pt', 'config.yaml', 'fingerprints.json']
    for name in ('config.yaml', 'fingerprints.json'):
        assert (found / name).read_text() == (run / name).read_text()


def test_a_run_without_best_checkpoint_or_metrics_is_one(run, web, tmp_path):
    (run / 'checkpoints' / 'best.pt').unlink()
    (run / 'metrics.jsonl').unlink()
    found = fetch_run(f'{web}/{run.name}', tmp_path / 'runs')
    assert parts_of(found) == ['checkpoints/last.pt', 'config.yaml', 'fingerprints.json']


@pytest.mark.parametrize('missing', ['config.yaml', 'fingerprints.json', 'checkpoints/last.pt'])
@pytest.mark.parametrize('place', ['path', 'web'])
def test_a_missing_part_is_named(run, web, tmp_path, missing, place):
    (run / missing).unlink()
    source = f'{web}/{run.name}' if place == 'web' else str(run)
    with pytest.raises(DataError, match=f'{run.name}: no {missing} there; expected a run folder'):
        fetch_run(source, tmp_path / 'runs')
    assert nothing_in(tmp_path / 'runs')


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(DataError, match=r'nowhere\.pt: no such checkpoint'):
        fetch_run(tmp_path / 'nowhere.pt', tmp_path / 'runs')


@pytest.mark.parametrize('name', ['checkpoints/last.pt', 'checkpoints/best.pt'])
def test_a_torn_checkpoint_is_named_by_its_source(run, tmp_path, name):
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[:len(content) // 2])
    with pytest.raises(DataError, match=f'elsewhere/{run.name}/{name}: not a checkpoint'):
        fetch_run(run, tmp_path / 'runs')
    assert nothing_in(tmp_path / 'runs')


def test_a_checkpoint_of_another_run_is_refused(run, tmp_path):
    other = write_run(tmp_path / 'other', seed=2)
    shutil.copy(other / 'checkpoints' / 'best.pt', run / 'checkpoints' / 'best.pt')
    with pytest.raises(DataError, match=f'{run.name}/checkpoints/best.pt: fingerprints.*'
                                        'is it of another run'):
        fetch_run(run, tmp_path / 'runs')


def test_a_changed_configuration_is_refused(run, tmp_path):
    text = (run / 'config.yaml').read_text()
    (run / 'config.yaml').write_text(text.replace('seed: 1', 'seed: 2'))
    with pytest.raises(DataError, match=r'fingerprints\.json: fingerprints .*those of its config'):
        fetch_run(run, tmp_path / 'runs')


@pytest.mark.parametrize('name, content, match', [
    ('config.yaml', b'\xff', 'not a run folder: .*utf-8'),
    ('config.yaml', b'defaults: {model: /etc/passwd}', r'config\.yaml: .*defaults: unknown key'),
    ('config.yaml', bytes(2 ** 20 + 1), r'config\.yaml: more than 1048576 bytes'),
    ('fingerprints.json', b'{', 'not a run folder'),
    ('fingerprints.json', b'[]', r'fingerprints\.json: fingerprints \[\]'),
    ('metrics.jsonl', b'<html>\n', r'elsewhere/.*/metrics\.jsonl:1: not JSON')],
    ids=['no text', 'other keys', 'too large', 'no json', 'no mapping', 'no metrics'])
def test_a_part_that_is_none_is_named(run, tmp_path, name, content, match):
    (run / name).write_bytes(content)
    with pytest.raises(Exception, match=match) as caught:
        fetch_run(run, tmp_path / 'runs')
    assert type(caught.value).__name__ in ('DataError', 'ConfigError')
    assert nothing_in(tmp_path / 'runs')


def test_a_name_that_leads_outside_is_refused(run, tmp_path):
    text = (run / 'config.yaml').read_text()
    (run / 'config.yaml').write_text(text.replace('name: small', 'name: ../../small', 1))
    with pytest.raises(Exception, match='name: String should match pattern'):
        fetch_run(run, tmp_path / 'runs')


def test_other_files_of_the_source_stay_there(run, tmp_path):
    (run / 'id_rsa').write_text('secret')
    assert parts_of(fetch_run(run, tmp_path / 'runs')) == PARTS


def test_a_run_that_is_here_already_is_left_as_it_is(run, tmp_path):
    first = fetch_run(run, tmp_path / 'runs')
    (first / 'mine.txt').write_text('mine')
    assert fetch_run(run, tmp_path / 'runs') == first
    assert (first / 'mine.txt').exists() and fetch_run(run, run.parent) == run


@pytest.mark.parametrize('here, there', [(9, 7), (5, 7)])
def test_another_state_of_the_run_is_never_overwritten(tmp_path, here, there):
    source = write_run(tmp_path / 'elsewhere', step=there)
    target = write_run(tmp_path / 'runs', step=here)
    with pytest.raises(DataError, match=f'exists here at step {here}, and at step {there} in'):
        fetch_run(source, tmp_path / 'runs')
    assert json.loads((target / 'metrics.jsonl').read_text()) == {'step': here}


def test_several_processes_may_fetch_the_same_run(run, tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch_run(run, tmp_path / 'runs')))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / 'runs' / run.name] * 4
    assert_same_run(found[0], run)


def test_a_folder_in_the_way_is_named(run, tmp_path):
    target = tmp_path / 'runs' / run.name
    (target / 'plots').mkdir(parents=True)
    with pytest.raises(DataError, match=f'runs/{run.name}: exists without a checkpoint'):
        fetch_run(run, tmp_path / 'runs')
    assert [path.name for path in target.iterdir()] == ['plots']


@pytest.mark.parametrize('source, match', [
    ('s3://bucket/run', 's3://bucket/run: needs the Python package s3fs: pip install s3fs'),
    ('gs://bucket/run', 'pip install gcsfs'),
    ('zip://run::abfs://a/b.zip', 'pip install adlfs'),
    ('nonsense://bucket/run', 'nonsense://bucket/run: cannot be opened: Protocol not known')])
def test_a_missing_driver_is_named(tmp_path, monkeypatch, source, match):
    for module in ('s3fs', 'gcsfs', 'adlfs'):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=match):
        fetch_run(source, tmp_path / 'runs')


def test_a_server_that_is_not_there_is_named_without_password(tmp_path):
    with pytest.raises(DataError, match=r'http://127\.0\.0\.1:9/run/config\.yaml: cannot be read'
                       ) as caught:
        fetch_run('http://me:secret@127.0.0.1:9/run', tmp_path / 'runs')
    assert 'secret' not in str(caught.value)


def test_a_download_that_breaks_off_is_noticed(run, tmp_path):
    class Short(Quiet):
        def do_GET(self):
            self.send_response(200)
            self.send_header('Content-Length', '1000')
            self.end_headers()
            self.wfile.write(b'name: small\n')

    with served(Short) as host, pytest.raises(
            DataError, match=r'config\.yaml: the connection ended after 12 of 1000'):
        fetch_run(f'http://{host}/run', tmp_path / 'runs')


def test_a_password_is_for_the_server_of_the_url_alone(run, web, tmp_path):
    asked, asked_elsewhere = [], []

    class Redirecting(Quiet):
        def do_GET(self):
            asked.append(self.headers['Authorization'])
            self.send_response(302)
            self.send_header('Location', f'http://{other}{self.path}')
            self.end_headers()

    class Other(Quiet):
        def do_GET(self):
            asked_elsewhere.append(self.headers['Authorization'])
            super().do_GET()

    with served(functools.partial(Other, directory=str(run.parent))) as other, \
            served(Redirecting) as host:
        found = fetch_run(f'http://me:p%40ss@{host}/{run.name}', tmp_path / 'runs')
    assert_same_run(found, run)
    assert set(asked) == {'Basic ' + base64.b64encode(b'me:p@ss').decode()}
    assert set(asked_elsewhere) == {None}


def test_a_server_that_fails_is_named_with_its_answer(tmp_path):
    class Failing(Quiet):
        def do_GET(self):
            self.send_error(503)

    with served(Failing) as host, pytest.raises(
            DataError, match=r'run/config\.yaml: cannot be read: HTTP Error 503'):
        fetch_run(f'http://{host}/run', tmp_path / 'runs')
