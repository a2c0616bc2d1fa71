"""
The detector node as users run it, with a record of all stage times of every frame.

`/diagnostics` has only the percentiles of each second. One more frame in the record costs less
than a microsecond.
"""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path
import sys

from mbv2ssd_ros.ros import node


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the node until SIGINT or SIGTERM, then write the record.

    The first argument is the file of the record; the others are the node's own.
    """
    record_file, *node_args = sys.argv[1:] if argv is None else argv
    frames: list[tuple[float, ...]] = []  # stamp in ns, STAGES in ms

    def record(stamp_ns: int, times_ms: Sequence[float]) -> None:
        frames.append((stamp_ns, *times_ms))
    code = node.main(node_args, record)
    Path(record_file).write_text(json.dumps(frames))
    return code


if __name__ == '__main__':
    sys.exit(main())
