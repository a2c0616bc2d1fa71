"""docs/training.md says what lies in the folder of a run, and predict writes."""

from fnmatch import fnmatch
import re

import pytest

from helpers.model_settings import small_run
from helpers.needs import need
from helpers.paths import ROOT
from helpers.synthetic import write_world
from mbv2ssd_train.engine import Trainer

PAGE = (ROOT / 'docs' / 'training.md').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The names of all files in the folder of a short run."""
    world = write_world(tmp_path_factory.mktemp('world'), train=8, val=4)
    trainer = Trainer(small_run(world, training={'log_every': 1}), world / 'runs')
    trainer.run()
    folder = trainer.folder.path
    return {path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()}


def described():
    """Return the patterns of files in the page's table of the run folder."""
    table = PAGE[PAGE.index('`runs/NAME_FINGERPRINT/`'):]
    rows = re.findall(r'^\| (`.+?) \|', table[:table.index('\n\nLook at')], re.MULTILINE)
    names = [name for row in rows for name in re.findall(r'`([^`]+)`', row)]
    return [f'{name}*' if name.endswith('/') else name for name in names]


def test_every_file_of_a_run_is_described(run):
    need('tensorboard')
    need('matplotlib')
    assert sorted(name for name in run
                  if not any(fnmatch(name, pattern) for pattern in described())) == []


def test_every_file_that_is_described_is_there(run):
    need('tensorboard')
    need('matplotlib')
    assert len(described()) >= 10
    assert [pattern for pattern in described()
            if not any(fnmatch(name, pattern) for name in run)] == []
