"""Single images behind a URL; OpenCV opens videos."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.url import without_secrets

_WAIT_S = 10.0
_MOST_BYTES = 64 << 20  # of a single image
_IMAGE_STARTS = (b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'BM', b'II*\0', b'MM\0*')


def fetch_image(url: str) -> bytes | None:
    """
    Fetch a single image, encoded; None for anything else, such as a video.

    Raises DataError where an HTTP server does not answer, refuses, or sends more than _MOST_BYTES.
    """
    if not url.lower().startswith(('http://', 'https://')):
        return None
    shown = without_secrets(url)
    try:
        with _open(url) as answer:
            start = answer.read(16)
            webp = start[:4] == b'RIFF' and start[8:12] == b'WEBP'
            if not (webp or start.startswith(_IMAGE_STARTS)):
                return None
            encoded: bytes = start + answer.read(_MOST_BYTES)
    except urllib.error.HTTPError as err:
        raise DataError(f'{shown}: the server answers {err.code} {err.reason}') from err
    except urllib.error.URLError as err:
        raise DataError(f'{shown}: cannot be reached: {err.reason}') from err
    except (OSError, ValueError, http.client.HTTPException) as err:
        raise DataError(f'{shown}: cannot be read: {err or type(err).__name__}') from err
    if len(encoded) > _MOST_BYTES:
        raise DataError(f'{shown}: an image of more than {_MOST_BYTES >> 20} MiB')
    return encoded


def _open(url: str):
    """Send a request; user name and password of the URL are for the server only."""
    parts = urllib.parse.urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()
    known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if parts.username is not None:
        user, password = (urllib.parse.unquote(text or '')
                          for text in (parts.username, parts.password))
        known.add_password(None, bare, user, password)
    opener = urllib.request.build_opener(
        urllib.request.HTTPBasicAuthHandler(known), urllib.request.HTTPDigestAuthHandler(known))
    return opener.open(bare, timeout=_WAIT_S)
