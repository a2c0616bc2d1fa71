"""ROS domains for tests: such as no other test process of this machine has."""

import os
import socket

HIGHEST = 100  # ports of higher ones are given by the kernel to others, too


class Domain:
    """A ROS domain, or several with neighbouring numbers: ours until released."""

    def __init__(self, count=1):
        """Take the first ones that are free, beginning where the process's number says."""
        first = os.getpid() % HIGHEST
        for number in (*range(first, HIGHEST), *range(first)):
            if number + count <= HIGHEST and (marks := _mark(range(number + 1,
                                                                   number + 1 + count))):
                self.number, self._marks = number + 1, marks
                return
        raise RuntimeError(f'no {count} ROS domain(s) from 1 to {HIGHEST} are free of other tests')

    def release(self):
        """Let others have it; the end of the process does so, too."""
        for mark in self._marks:
            mark.close()


def _mark(numbers):
    """Bind a name in the kernel for each number; return the sockets, none if one was taken."""
    marks = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in numbers]
    try:
        for mark, number in zip(marks, numbers):
            mark.bind(f'\0mbv2ssd-test-domain-{number}')
    except OSError:
        for mark in marks:
            mark.close()
        return []
    return marks
