"""A machine with only the detector node gets a message about what training needs."""

import subprocess
import sys

import pytest

HIDE = '''
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {hidden}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)

sys.meta_path.insert(0, Hidden())
from mbv2ssd_train.cli import main
sys.exit(main({arguments}))
'''


def run(hidden, *arguments):
    code = HIDE.format(hidden=set(hidden), arguments=list(arguments))
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)


def test_help_needs_none_of_the_extra():
    done = run({'torch', 'onnx', 'pydantic', 'rich', 'safetensors'}, '--help')
    assert done.returncode == 0 and 'train' in done.stdout


@pytest.mark.needs('torch')
def test_a_missing_module_is_named_with_the_way_to_install_it(tmp_path):
    done = run({'pydantic'}, 'train', str(tmp_path / 'config.yaml'))
    assert done.returncode == 1
    assert "'pydantic' is missing" in done.stderr and "[train]'" in done.stderr
    assert 'Traceback' not in done.stderr
