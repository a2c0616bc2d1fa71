"""
The shipped models on processors that nobody here has: `make test-machines`, docs/machines.md.

Each model file answers ten images under emulation; the answer is compared with that of its
float32 file on this machine. Opening a file runs its self-test, where it has one.
"""

from functools import lru_cache

from agreement import compare
from emulated import answer, Failed, HERE, MACHINES, ROOT
from foreign_root import Absent
import pytest
from sample_images import sample_images

MODELS = sorted(path.stem for path in (ROOT / 'models').glob('*.onnx'))
LONGEST_S = 1800  # of a cell, beside other work

pytestmark = [pytest.mark.machines, pytest.mark.timeout(LONGEST_S + 60)]


@pytest.fixture(autouse=True)
def asked_for(request):
    """Skip unless the run asks for it."""
    if 'machines' not in (request.config.getoption('-m') or ''):
        pytest.skip('takes many minutes; run it with `make test-machines`')


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    """Return the paths of the ten images."""
    return tuple(sample_images(tmp_path_factory.mktemp('images')))


@lru_cache
def float_answer(model, images):
    """Return what the float32 file of a model answers on this machine."""
    return answer(HERE, ROOT / 'models' / f'{model}.onnx', images, LONGEST_S)[0]


# a float32 file on this machine is what the others are compared with
@pytest.mark.parametrize('machine, model', [
    pytest.param(machine, model, id=f'{machine.name.replace(" ", "-")}-{model}')
    for machine in MACHINES for model in MODELS if machine != HERE or 'int8' in model])
def test_a_model_answers_as_its_float32_file_does_here(machine, model, images, record_property):
    try:
        found, facts = answer(machine, ROOT / 'models' / f'{model}.onnx', images, LONGEST_S)
    except Absent as err:
        pytest.skip(str(err))
    except Failed as err:
        record_property('machine_row', (machine.name, model, '', '', '', ''))
        pytest.fail(f'{machine.name}: {err}', pytrace=False)
    assert {machine.has} - {''} <= set(facts['features']), 'this is not the processor it should be'
    assert machine.lacks not in facts['features'], 'this is not the processor it should be'
    agreement = compare(float_answer(model.split('_int8')[0], images), found)
    record_property('machine_row', (
        machine.name, model, f'{agreement.difference:.4f}',
        f'{agreement.matched}/{agreement.sure}', f'{agreement.worst_iou:.3f}',
        f'{facts["cpu_s"]:.0f}'))
    if problems := agreement.problems(facts['precision']):
        pytest.fail(f'{machine.name}: {model}.onnx: {"; ".join(problems)}', pytrace=False)
