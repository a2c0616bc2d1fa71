"""What a command line program prints when it ends, and its exit code."""

import pytest

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.tools.cli.program import log, model_file, run, say


def raising(error):
    """Return a program that ends by an error."""
    def body():
        raise error
    return body


@pytest.mark.parametrize(('body', 'code'), [(lambda: None, 0), (lambda: 0, 0), (lambda: 3, 3)])
def test_the_exit_code_is_that_of_the_program(body, code, capsys):
    assert run('prog', body) == code
    assert capsys.readouterr() == ('', '')


def test_an_error_of_the_package_is_one_line_and_code_1(capsys):
    assert run('prog', raising(ConfigError('--rate is 0'))) == 1
    assert capsys.readouterr() == ('', 'prog: error: --rate is 0\n')


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run('prog', raising(ZeroDivisionError()))


@pytest.mark.parametrize(('options', 'code', 'printed'), [
    ({}, 130, 'prog: interrupted\n'),
    ({'interrupted': 'cancelled'}, 130, 'prog: cancelled\n'),
    ({'interrupted': '', 'interrupted_code': 0}, 0, '')])
def test_after_ctrl_c_the_program_chooses_message_and_code(options, code, printed, capsys):
    assert run('prog', raising(KeyboardInterrupt()), **options) == code
    assert capsys.readouterr().err == printed


def test_results_go_to_standard_output_and_the_log_to_standard_error(capsys):
    say('prog', 'result')
    log('prog', 'step')
    assert capsys.readouterr() == ('prog: result\n', 'prog: step\n')


def test_a_model_is_a_file_that_exists(tmp_path):
    (tmp_path / 'm.onnx').touch()
    assert model_file(str(tmp_path / 'm.onnx')) == tmp_path / 'm.onnx'
    with pytest.raises(ConfigError, match=f'--model {tmp_path}/no.onnx: no such file; expected'):
        model_file(str(tmp_path / 'no.onnx'))
