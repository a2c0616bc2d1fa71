"""What this process does on signals, and what the programs that tests start inherit of it."""

import signal

# ignored by Python itself, which gives its children the defaults back
OF_PYTHON = {signal.SIGPIPE, getattr(signal, 'SIGXFSZ', signal.SIGPIPE)}


def reset_signals():
    """
    Undo what nohup, and a shell that starts a job in the background, make a process ignore.

    A program inherits what is ignored or blocked, but no handler: what the test process handles
    has its default in the programs that tests start.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - OF_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _HANDLERS.get(number, signal.SIG_DFL))


def _ignore(number, frame):
    """Go on, as nohup promises, when the terminal is closed."""


_HANDLERS = {signal.SIGHUP: _ignore, signal.SIGINT: signal.default_int_handler}
