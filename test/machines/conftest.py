"""A table of what was run where, after the tests."""

TITLES = ('machine', 'model', 'score difference', 'matched', 'worst IoU', 'CPU s', 'result')


def pytest_terminal_summary(terminalreporter):
    """Print what the tests of machines recorded."""
    rows = [(*row, outcome)
            for outcome in ('passed', 'failed')
            for report in terminalreporter.stats.get(outcome, [])
            for name, row in report.user_properties if name == 'machine_row']
    if rows:
        terminalreporter.section('machines')
        widths = [max(map(len, column)) for column in zip(TITLES, *rows, strict=True)]
        for row in (TITLES, *sorted(rows)):
            terminalreporter.write_line('  '.join(
                cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
