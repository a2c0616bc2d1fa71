"""A clock that nothing but a sleep moves on: what is timed by it takes no time of the machine."""


class Clock:
    """Stands for the module `time`."""

    def __init__(self):
        """Begin somewhere."""
        self.now_s = 1000.0

    def monotonic(self):
        """Return the time in seconds."""
        return self.now_s

    perf_counter = monotonic

    def sleep(self, seconds):
        """Move on."""
        self.now_s += seconds
