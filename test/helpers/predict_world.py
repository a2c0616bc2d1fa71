"""Pictures, videos and cameras: what the tiny model finds there can be worked out."""

import base64
from contextlib import contextmanager
import http.server
import threading

import cv2
import numpy as np

from helpers.tiny_model import CELL_PX, INPUT_SIZE_HW

SCALE = 2  # pixels of a picture for one of the network input
SIZE_WH = (SCALE * INPUT_SIZE_HW[1], SCALE * INPUT_SIZE_HW[0])


def cells(red=(), green=(), scale=SCALE):
    """Return (H, W, 3) BGR: the model's grid, black, with some cells red and some green."""
    pixels = np.zeros((*INPUT_SIZE_HW, 3), np.uint8)
    for chosen, channel in ((red, 2), (green, 1)):
        for row, column in chosen:
            pixels[row * CELL_PX:(row + 1) * CELL_PX,
                   column * CELL_PX:(column + 1) * CELL_PX, channel] = 255
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def picture(path, **chosen):
    """Write such a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cells(**chosen))
    return path


def wandering(count):
    """Return frames whose red cell is (1, index % 6)."""
    return [cells(red=[(1, index % 6)]) for index in range(count)]


def video(path, frames, rate_hz=10.0, codec='MJPG'):
    """Write frames as a video."""
    size_wh = (frames[0].shape[1], frames[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate_hz, size_wh)
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def read_video(path):
    """Return all frames of a video, and its rate."""
    capture = cv2.VideoCapture(str(path))
    rate_hz, frames = capture.get(cv2.CAP_PROP_FPS), []
    while (found := capture.read())[0]:
        frames.append(found[1])
    capture.release()
    return frames, rate_hz


@contextmanager
def server(answers):
    """
    Serve on a free port of this machine.

    Args:
        answers: path -> (status, content type, content); of the type 'secret' only to the user
            `me` with the password `p@ss`. The content is bytes, or a function that is called
            with what to write them to.

    Yields:
        'host:port'.
    """
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, kind, content = answers[self.path.partition('?')[0]]
            if kind == 'secret':
                expected = base64.b64encode(b'me:p@ss').decode()
                if self.headers.get('Authorization') != f'Basic {expected}':
                    self.send_response(401)
                    self.send_header('WWW-Authenticate', 'Basic realm="camera"')
                    self.end_headers()
                    return
            self.send_response(status)
            self.send_header('Content-Type', kind)
            self.end_headers()
            if callable(content):
                content(self.wfile)
            else:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as served:
        served.block_on_close = False
        thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f'127.0.0.1:{served.server_port}'
        served.shutdown()
        thread.join()


def mjpeg(frames, pace=lambda index: None):
    """
    Return what a camera answers that sends JPEGs for ever, or until there are no more frames.

    Args:
        frames: (H, W, 3) BGR each.
        pace: called with the index of a frame before it is sent; may wait.
    """
    def send(file):
        try:
            for index, frame in enumerate(frames):
                pace(index)
                data = cv2.imencode('.jpg', frame)[1].tobytes()
                file.write(b'--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n'
                           % len(data) + data + b'\r\n')
                file.flush()
        except OSError:  # whoever looked at it is gone
            pass

    return 200, 'multipart/x-mixed-replace; boundary=b', send
