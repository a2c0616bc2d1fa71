"""docs/machines.md says what is there."""

import re

from agreement import LEAST_IOU, MOST_DIFFERENCE, SURE
from emulated import MACHINES, ROOT

PAGE = (ROOT / 'docs' / 'machines.md').read_text(encoding='utf-8')


def test_every_imitated_processor_has_a_row():
    rows = re.findall(r'^\| (.+?) \|', PAGE[PAGE.index('| processor |'):], re.MULTILINE)
    assert [m.name for m in MACHINES if m.cpu and m.name not in rows] == []


def test_the_limits_are_those_of_the_code():
    rows = re.findall(r'^\| (?:largest|IoU)[^|]*\| ([\d.]+) \| ([\d.]+) \|', PAGE, re.MULTILINE)
    assert [(float(fp32), float(int8)) for fp32, int8 in rows] == [
        (limits['fp32'], limits['int8']) for limits in (MOST_DIFFERENCE, LEAST_IOU)]
    assert f'score from {SURE}' in PAGE
