"""One configuration from several YAML files."""

import pytest

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.config.compose import compose, merge, parse_override


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path
    return write_file


def test_defaults_body_overrides_and_command_line_win_in_this_order(write):
    write('base/sgd.yaml', 'name: sgd\nlearning_rate: 1\nmomentum: 1\nweight_decay: 1\n')
    path = write('experiment.yaml', '''
        defaults: {optimizer: base/sgd.yaml}
        optimizer: {learning_rate: 2, momentum: 2, weight_decay: 2}
        overrides: {optimizer: {momentum: 3, weight_decay: 3}}
    ''')
    assert compose(path, ['optimizer.weight_decay=4']) == {'optimizer': {
        'name': 'sgd', 'learning_rate': 2, 'momentum': 3, 'weight_decay': 4}}


def test_a_component_may_have_defaults_of_its_own(write):
    write('shared/scales.yaml', 'small: 0.1\n')
    write('model/lite.yaml', 'defaults: {scales: ../shared/scales.yaml}\nwidth: 1\n')
    path = write('experiment.yaml', 'defaults: {model: model/lite.yaml}\n')
    assert compose(path) == {'model': {'scales': {'small': 0.1}, 'width': 1}}


def test_a_variant_says_no_more_than_what_it_changes(write):
    write('base/sgd.yaml', 'rate: 1\nmomentum: 1\n')
    write('base/adam.yaml', 'rate: 2\nmomentum: 2\n')
    write('baseline.yaml', 'defaults: {optimizer: base/sgd.yaml}\nname: baseline\nseed: 1\n')
    path = write('variants/adam.yaml', 'based_on: ../baseline.yaml\nname: adam\n'
                 'defaults: {optimizer: ../base/adam.yaml}\noptimizer: {rate: 3}\n')
    assert compose(path) == {
        'name': 'adam', 'seed': 1, 'optimizer': {'rate': 3, 'momentum': 2}}


@pytest.mark.parametrize('value, said', [
    ('nowhere.yaml', r'based_on: .*nowhere\.yaml: no such file$'),
    ('[a.yaml]', r"based_on is \['a.yaml'\], expected a file name")])
def test_a_base_that_is_none_is_named(write, value, said):
    path = write('e.yaml', f'based_on: {value}\n')
    with pytest.raises(ConfigError, match=rf'e\.yaml: {said}'):
        compose(path)


def test_lists_are_replaced_and_arguments_left_alone():
    under, over = {'a': [1, 2], 'b': {'c': 1}}, {'a': [3], 'b': {'d': 2}}
    assert merge(under, over) == {'a': [3], 'b': {'c': 1, 'd': 2}}
    assert under == {'a': [1, 2], 'b': {'c': 1}}


def test_variables_come_from_the_environment_and_keep_their_type(write):
    path = write('e.yaml', '''
        data: {root: '${DATA:-here}/voc', train: ['${SPLIT}']}
        epochs: ${EPOCHS:-60}
    ''')
    assert compose(path, environment={'SPLIT': 'trainval'}) == {
        'data': {'root': 'here/voc', 'train': ['trainval']}, 'epochs': 60}
    assert compose(path, environment={'SPLIT': 'x', 'DATA': '/d', 'EPOCHS': '5'}) == {
        'data': {'root': '/d/voc', 'train': ['x']}, 'epochs': 5}


def test_a_variable_that_is_not_set_is_named_with_its_place(write):
    path = write('e.yaml', 'data: {root: "${DATA}"}\n')
    with pytest.raises(ConfigError, match=r'e\.yaml: data\.root: .*variable DATA is not set'):
        compose(path, environment={})


def test_a_file_that_is_based_on_itself_is_refused(write):
    path = write('a.yaml', 'based_on: a.yaml\n')
    with pytest.raises(ConfigError, match='names itself in defaults or based_on'):
        compose(path)


def test_a_missing_component_is_an_error_that_names_both_files(write):
    path = write('e.yaml', 'defaults: {model: nowhere.yaml}\n')
    with pytest.raises(
            ConfigError, match=r'e\.yaml: defaults\.model: .*nowhere\.yaml: no such file$'):
        compose(path)


def test_files_that_name_each_other_are_refused(write):
    write('a.yaml', 'defaults: {x: b.yaml}\n')
    path = write('b.yaml', 'defaults: {y: a.yaml}\n')
    with pytest.raises(ConfigError, match=r'names itself in defaults or based_on: '
                       r'.*b\.yaml -> .*a\.yaml'):
        compose(path)


@pytest.mark.parametrize('text', ['epochs', '=5', 'a..b=1', '.a=1'])
def test_a_malformed_override_is_quoted(text):
    with pytest.raises(ConfigError, match='key.path=value'):
        parse_override(text)


def test_the_value_of_an_override_is_yaml():
    assert parse_override('model.input_size_hw=[96, 160]') == {
        'model': {'input_size_hw': [96, 160]}}
