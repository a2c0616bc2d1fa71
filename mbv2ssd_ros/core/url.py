"""URLs of images, videos and streams."""

from __future__ import annotations

from pathlib import PurePosixPath
import re
import urllib.parse

from mbv2ssd_ros.core.errors import DataError

SCHEMES = ('http', 'https', 'rtmp', 'rtsp', 'rtsps', 'srt', 'tcp', 'udp')


def is_url(text: str) -> bool:
    """Return whether a text is a URL; DataError for a malformed one or another scheme."""
    scheme, found, _ = text.partition('://')
    if not found:
        return False
    if scheme.lower() not in SCHEMES:
        raise DataError(f'{scheme}://: cannot be read; expected {"://, ".join(SCHEMES)}://, or '
                        'the path of a file')
    try:
        parts = urllib.parse.urlsplit(text)
        parts.port  # noqa: B018  # the property checks it
    except ValueError as err:
        raise DataError(f'a malformed URL ({err}); expected such as {scheme}://host:port/path'
                        ) from err
    if not parts.hostname:
        raise DataError(f'{without_secrets(text)}: a URL without a host; expected such as '
                        f'{scheme}://host/path')
    return True


def without_secrets(url: str) -> str:
    """Remove user name, password and query from a URL, for messages."""
    parts = urllib.parse.urlsplit(url)
    query = '?...' if parts.query else ''
    return f'{parts.scheme}://{parts.netloc.rpartition("@")[2]}{parts.path}{query}'


def name_of_url(url: str) -> str:
    """Return a file name for a URL: the last part of its path, else its host."""
    parts = urllib.parse.urlsplit(url)
    last = PurePosixPath(urllib.parse.unquote(parts.path)).name
    return re.sub(r'[^\w.-]', '_', last or parts.hostname or '').lstrip('.') or 'stream'
