"""What may be named for prediction, and what is said of the rest."""

import pytest

from helpers.predict_world import picture, server, video, wandering
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.url import name_of_url, without_secrets
from mbv2ssd_train.predict.inputs import find_inputs


def names(*texts, output='nowhere', recursive=False, folder=None):
    """Return the names of the images that are found."""
    inputs = find_inputs([str(text) for text in texts], folder / output, recursive)
    return [image.name for image in inputs.images]


def test_folders_are_taken_in_the_order_of_names_and_without_the_rest(tmp_path):
    for name in ('b.JPG', 'a.png', 'notes.txt', 'c.webp', '._a.png', 'd.mp4', 'x/deep.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path, folder=tmp_path) == ['a.png', 'b.JPG', 'c.webp']
    assert names(tmp_path, recursive=True, folder=tmp_path) == [
        'a.png', 'b.JPG', 'c.webp', 'x/deep.png']


def test_earlier_results_are_no_inputs(tmp_path):
    for name in ('a.png', 'out/a.png', 'out/crops/a.png.1_cat.jpg'):
        picture(tmp_path / name)
    assert names(tmp_path, output='out', recursive=True, folder=tmp_path) == ['a.png']
    assert names(tmp_path / '**/*.*', output='out', folder=tmp_path) == ['a.png']


def test_globs(tmp_path, monkeypatch):
    for name in ('a1.png', 'a2.png', 'b1.png'):
        picture(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert names('a*.png', folder=tmp_path) == ['a1.png', 'a2.png']
    assert names('?1.png', folder=tmp_path) == ['a1.png', 'b1.png']
    with pytest.raises(DataError, match=r'c\*\.png: no file has such a name'):
        names('c*.png', folder=tmp_path)


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    picture(tmp_path / 'a[1].png')
    picture(tmp_path / 'a1.png')
    assert names(tmp_path / 'a[1].png', folder=tmp_path) == ['a[1].png']


def test_an_input_named_twice_is_taken_once(tmp_path):
    path = picture(tmp_path / 'a.png')
    assert names(path, tmp_path, tmp_path / '*.png', folder=tmp_path) == ['a.png']


def test_two_inputs_with_one_name_are_refused(tmp_path):
    paths = [picture(tmp_path / name) for name in ('x/a.png', 'y/a.png')]
    with pytest.raises(DataError, match=r"x/a\.png and .*y/a\.png would both have .* 'a\.png'"):
        names(*paths, folder=tmp_path)
    clips = [video(tmp_path / name, wandering(1)) for name in ('a.avi', 'a.mkv')]
    with pytest.raises(DataError, match=r"a\.avi and .*a\.mkv would both have the results 'a'"):
        names(*clips, folder=tmp_path)


def test_an_image_is_known_by_its_content_too(tmp_path):
    path = picture(tmp_path / 'a.png').rename(tmp_path / 'frame_0001')
    assert names(path, folder=tmp_path) == ['frame_0001']


def test_what_is_no_image_is_taken_for_a_video(tmp_path):
    clip = video(tmp_path / 'clip.avi', wandering(1))
    found, = find_inputs([str(clip)], tmp_path).videos
    assert (found.name, found.stem, found.source) == ('clip.avi', 'clip', str(clip))


@pytest.mark.parametrize(('text', 'index'), [('0', 0), ('12', 12), ('/dev/video3', 3)])
def test_webcams_are_named_by_their_index(tmp_path, text, index):
    found, = find_inputs([text], tmp_path).videos
    assert (found.name, found.source) == (f'webcam{index}', index)


def test_an_empty_input_is_not_the_working_folder(tmp_path):
    with pytest.raises(DataError, match='an input is empty; expected images, folders'):
        names('', folder=tmp_path)


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(DataError, match='nothing: no such file or folder; expected images, fo'):
        names(tmp_path / 'nothing', folder=tmp_path)


def test_a_folder_without_images_says_what_else_could_be_meant(tmp_path):
    with pytest.raises(DataError, match='in this folder; --recursive looks'):
        names(tmp_path, folder=tmp_path)
    (tmp_path / 'a.mp4').touch()
    with pytest.raises(DataError, match=r'in this folder; give videos by name: a\.mp4'):
        names(tmp_path, folder=tmp_path)


@pytest.fixture
def png(tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '*')
    return picture(tmp_path / 'source.png', red=[(0, 0)]).read_bytes()


def test_a_single_image_is_fetched_whatever_the_server_calls_it(tmp_path, png):
    with server({'/shot.png': (200, 'image/png', png), '/cgi': (200, 'text/plain', png)}) as at:
        inputs = find_inputs([f'http://{at}/shot.png?token=x', f'http://{at}/cgi'], tmp_path)
    assert [image.name for image in inputs.images] == ['shot.png', 'cgi']
    assert [image.read() for image in inputs.images] == [png, png]
    assert inputs.images[0].shown == f'http://{at}/shot.png?...'


def test_user_name_and_password_go_to_the_server_and_nowhere_else(tmp_path, png):
    with server({'/a.png': (200, 'secret', png)}) as at:
        image, = find_inputs([f'http://me:p%40ss@{at}/a.png'], tmp_path).images
        assert image.read() == png and image.shown == f'http://{at}/a.png'
        with pytest.raises(DataError, match=f'^http://{at}/a.png: the server answers 401'):
            find_inputs([f'http://me:wrong@{at}/a.png'], tmp_path)


def test_what_is_no_single_image_is_a_stream(tmp_path):
    with server({'/live': (200, 'multipart/x-mixed-replace; boundary=b', b'--b\r\n')}) as at:
        found, = find_inputs([f'http://me:p@{at}/live'], tmp_path).videos
    assert (found.name, found.shown) == ('live', f'http://{at}/live')
    assert found.source == f'http://me:p@{at}/live'


def test_servers_that_refuse_or_are_not_there_are_named(tmp_path):
    with server({'/a.jpg': (404, 'text/html', b'')}) as at:
        with pytest.raises(DataError, match=f'http://{at}/a.jpg: the server answers 404 Not F'):
            find_inputs([f'http://{at}/a.jpg'], tmp_path)
    with pytest.raises(DataError, match=f'http://{at}/a.jpg: cannot be reached: .*refused'):
        find_inputs([f'http://{at}/a.jpg'], tmp_path)


@pytest.mark.parametrize('url', ['file:///etc/passwd', 'ftp://host/a.jpg', 's3://bucket/a.jpg'])
def test_other_kinds_of_urls_are_refused(tmp_path, url):
    with pytest.raises(DataError, match=f'^{url[:url.index(":")]}://: cannot be read; expected '):
        find_inputs([url], tmp_path)


@pytest.mark.parametrize(('url', 'said'), [
    ('http://[bad/x', r'a malformed URL \(Invalid IPv6 URL\); expected such as http://host:port/'),
    ('rtsp://cam:port/x', 'a malformed URL .*port'),
    ('rtsp://me:pw@/x', '^rtsp:///x: a URL without'),
    ('http:///x', 'http:///x: a URL without a host; expected such as http://host/path')])
def test_malformed_urls_are_refused(tmp_path, url, said):
    with pytest.raises(DataError, match=said):
        find_inputs([url], tmp_path)


def test_a_number_beyond_all_webcams_is_a_name(tmp_path):
    with pytest.raises(DataError, match='99999999999: no such file or folder'):
        find_inputs(['99999999999'], tmp_path)


@pytest.mark.parametrize(('url', 'name'), [
    ('rtsp://me:pw@10.0.0.1:554/live/main', 'main'), ('http://cam/', 'cam'),
    ('http://cam/a%20b.mjpg?x=/y', 'a_b.mjpg'), ('http://cam/%2e%2e', 'stream')])
def test_names_of_urls_are_names_of_files(url, name):
    assert name_of_url(url) == name


def test_a_url_is_shown_without_what_is_secret():
    assert without_secrets('rtsp://me:pw@cam:554/a?token=1') == 'rtsp://cam:554/a?...'


def test_pictures_of_other_formats_are_not_passed_over(tmp_path):
    picture(tmp_path / 'a.png')
    (tmp_path / 'b.HEIC').touch()
    assert names(tmp_path, folder=tmp_path / 'out') == ['a.png', 'b.HEIC']
