"""
Chromium without a window, driven over a pipe by the DevTools protocol.

Messages are JSON, each ended by a zero byte; the browser reads descriptor 3 and writes to 4.
"""

from base64 import b64decode
import fcntl
import json
import os
from pathlib import Path
import select
import shutil
import subprocess
import tempfile
import time

PROGRAMS = ('chromium', 'chromium-browser', 'google-chrome')
_FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
          '--disable-background-networking', '--disable-component-update', '--disable-sync',
          '--remote-debugging-pipe')
_TIMEOUT_S = 60.0


def find_chromium():
    """Return the program's path, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One page; use as a context manager."""

    def __init__(self):
        """Start the program with a new profile and open an empty page."""
        # the path of a socket in it has 107 characters at most
        folder = tempfile.gettempdir() if len(tempfile.gettempdir()) < 50 else '/tmp'
        self._profile = tempfile.TemporaryDirectory(prefix='mbv2ssd-chromium-', dir=folder)
        their_read, self._write = _pipe_from_10_on()
        self._read, their_write = _pipe_from_10_on()
        self._process = subprocess.Popen(
            [find_chromium(), *_FLAGS, f'--user-data-dir={self._profile.name}'],
            preexec_fn=lambda: (os.dup2(their_read, 3), os.dup2(their_write, 4)),
            pass_fds=(3, 4), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, 'TMPDIR': folder})
        os.close(their_read)
        os.close(their_write)
        self._buffer, self._last_id, self._session, self.events = b'', 0, None, []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = self.call(
            'Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = None
        try:
            self.call('Browser.close')
            self._process.wait(timeout=10)
        except (TimeoutError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)
        shutil.rmtree(self._profile.name, ignore_errors=True)  # its last children still write
        self._profile.cleanup()

    def call(self, method, **parameters):
        """Send a command and return its result."""
        self._last_id += 1
        message = {'id': self._last_id, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        while True:
            reply = self._receive(_TIMEOUT_S)
            if reply.get('id') == self._last_id:
                assert 'error' not in reply, reply
                return reply['result']

    def open(self, path: Path, width_px=1200, height_px=900, dark=False, scale=1):
        """Show a file in a window of a size, and wait until it is loaded."""
        self.events.clear()
        self.call('Emulation.setDeviceMetricsOverride', width=width_px, height=height_px,
                  deviceScaleFactor=scale, mobile=width_px < 600)
        self.call('Emulation.setEmulatedMedia', features=[
            {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])
        self.call('Page.navigate', url=Path(path).resolve().as_uri())
        until = time.monotonic() + _TIMEOUT_S
        while not any(event['method'] == 'Page.loadEventFired' for event in self.events):
            self._receive(until - time.monotonic())

    def run(self, script):
        """Return the value of a JavaScript expression; promises are waited for."""
        result = self.call('Runtime.evaluate', expression=script, returnByValue=True,
                           awaitPromise=True)
        assert 'exceptionDetails' not in result, result['exceptionDetails']
        return result['result'].get('value')

    def click(self, selector):
        """Press the mouse in the middle of an element, as a person would."""
        x, y = self.run(
            f'(() => {{ const part = document.querySelector({json.dumps(selector)});'
            ' part.scrollIntoView({block: "center", behavior: "instant"});'
            ' const box = part.getBoundingClientRect();'
            ' return [box.x + box.width / 2, box.y + box.height / 2]; })()')
        for kind in ('mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left',
                      clickCount=1)

    def screenshot(self, path, full=True):
        """Write a PNG of the page, or of what is in view."""
        data = self.call('Page.captureScreenshot', captureBeyondViewport=full, **(
            {'clip': self._whole_page()} if full else {}))['data']
        Path(path).write_bytes(b64decode(data))

    def _whole_page(self):
        size = self.call('Page.getLayoutMetrics')['cssContentSize']
        return {'x': 0, 'y': 0, 'width': size['width'], 'height': size['height'], 'scale': 1}

    @property
    def complaints(self):
        """What is on the console since the page was opened: errors and warnings."""
        found = []
        for event in self.events:
            parameters = event['params']
            if event['method'] == 'Runtime.exceptionThrown':
                found.append(parameters['exceptionDetails']['text'])
            elif event['method'] == 'Runtime.consoleAPICalled':
                found.append(str(parameters['args']))
            elif event['method'] == 'Log.entryAdded':
                found.append(parameters['entry']['text'])
        return found

    @property
    def requests(self):
        """Addresses asked for since the page was opened, without those inside the page."""
        return [event['params']['request']['url'] for event in self.events
                if event['method'] == 'Network.requestWillBeSent'
                and not event['params']['request']['url'].startswith('data:')]

    def _receive(self, timeout_s):
        until = time.monotonic() + timeout_s
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise TimeoutError('the browser does not respond')
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise OSError(f'the browser ended with {self._process.poll()}')
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b'\0', 1)
        found = json.loads(message)
        if 'method' in found:
            self.events.append(found)
        return found


def _pipe_from_10_on():
    """Make a pipe whose descriptors are not 3 or 4, which the browser gets."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high
