"""README.md and docs/training.md teach commands, keys, files and figures that are there."""

import re
import shlex

import pytest
import yaml

from helpers.needs import need
from helpers.paths import ROOT
from mbv2ssd_train.cli.program import _parse, _parser
from mbv2ssd_train.config import ModelConfig, parse_config, TrainConfig
from mbv2ssd_train.config.dataset_yaml import DatasetDescription
from mbv2ssd_train.config.loading import load_config
from mbv2ssd_train.config.section import Section

README = (ROOT / 'README.md').read_text(encoding='utf-8')
PAGE = (ROOT / 'docs' / 'training.md').read_text(encoding='utf-8')
SECTIONS = {name: field.annotation for name, field in TrainConfig.model_fields.items()
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section)}
KEYS = {*TrainConfig.model_fields} | {
    f'{section}.{key}' for section, kind in SECTIONS.items() for key in kind.model_fields}


def fenced(text, language):
    """Return the contents of all code blocks of a language."""
    return re.findall(rf'^```{language}\n(.*?)^```', text, re.MULTILINE | re.DOTALL)


def commands(text):
    """Return the arguments of every `mbv2ssd_train` that a reader may type."""
    lines = '\n'.join(fenced(text, 'bash')).replace('\\\n', ' ').splitlines()
    lines += [code for code in re.findall(r'`([^`\n]+)`', text)
              if re.match(r'mbv2ssd_train \w+ \S', code) and '...' not in code]
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ['torchrun'] and 'mbv2ssd_train' in words:
            words = words[words.index('mbv2ssd_train'):]
        if words[:1] == ['mbv2ssd_train'] and '--help' not in words:
            found.append(words[1:])
    return found


ALL_COMMANDS = commands(README) + commands(PAGE)


@pytest.mark.parametrize('words', ALL_COMMANDS, ids=' '.join)
def test_a_command_is_understood(words):
    options = _parse(words)
    for override in getattr(options, 'overrides', ()):
        assert override.partition('=')[0] in KEYS


def parsers(parser):
    """Yield a parser and those of its verbs, at any depth."""
    yield parser
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for child in action.choices.values():
                yield from parsers(child)


def verbs():
    """Return the words that call each verb, such as ('data', 'check')."""
    return {tuple(parser.prog.split()[1:]) for parser in parsers(_parser())
            if not any(isinstance(action.choices, dict) for action in parser._actions)}


def test_the_page_shows_every_verb_in_a_command():
    shown = {tuple(words[:count]) for words in commands(PAGE) for count in (1, 2)}
    assert len(verbs()) >= 12
    assert sorted(verbs() - shown) == []


def test_the_commands_are_found():
    assert len(ALL_COMMANDS) >= 20 and len(commands(README)) >= 5


def test_options_that_the_page_names_exist():
    known = {option for parser in parsers(_parser()) for option in parser._option_string_actions}
    kept = '\n'.join(line for line in PAGE.splitlines() if not line.startswith('| ✗'))
    named = set(re.findall(r'`(--[a-z-]+)', kept))
    assert len(named) >= 8 and named <= known


def test_every_option_says_what_it_is():
    silent = [f'{parser.prog} {action.dest}' for parser in parsers(_parser())
              for action in parser._actions
              if not action.help and not isinstance(action.choices, dict)]
    assert silent == []


def test_keys_that_are_named_exist():
    key = rf'(?:{"|".join(SECTIONS)})\.(?!json)\w+'
    named = re.findall(rf'`({key})(?:=[^`]*|: [^`]*)?`', README + PAGE)
    assert len(set(named)) >= 25
    assert sorted(set(named) - KEYS) == []


def test_print_config_explains_every_key():
    config = TrainConfig(name='x', data={'root': 'r', 'train': ['a'], 'val': 'b'})
    section, explained = '', set()
    for line in config.to_explained_yaml().splitlines():
        key, comment = re.match(r' *(\w+):.*?  # (.*)', line).groups()
        assert len(comment) >= 4, line
        section = section if line.startswith(' ') else key
        explained.add(f'{section}.{key}' if line.startswith(' ') else key)
    assert explained == KEYS


def test_every_section_is_in_the_table_of_sections():
    table = PAGE[PAGE.index('| section |'):]
    rows = re.findall(r'^\| (`.+?) \|', table[:table.index('\n\n')], re.MULTILINE)
    assert {name for row in rows for name in re.findall(r'`(\w+)`', row)} == set(SECTIONS)


def test_files_that_are_named_exist():
    named = set(re.findall(
        r'\b(?:config|models|docs|test|mbv2ssd_ros|mbv2ssd_train)/[\w./]*\w', README + PAGE))
    named -= {'config/train/finetune.yaml'}  # the reader's own
    named |= {f'docs/{name}' for name in re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', PAGE)}
    assert len(named) >= 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_headings_that_are_linked_exist():
    for text in (README, PAGE):
        for name, anchor in re.findall(r'\]\(([^)#:]*)#([^)]+)\)', text):
            target = (ROOT / 'docs' / name if text is PAGE else ROOT / name).read_text()
            headings = re.findall(r'^#+ (.+)$', target, re.MULTILINE)
            assert anchor in {re.sub(r'[^\w -]', '', h).lower().replace(' ', '-')
                              for h in headings}


def test_yaml_that_is_shown_is_a_description_of_data():
    block = fenced(PAGE, 'yaml')[0]
    description = DatasetDescription.model_validate(yaml.safe_load(block))
    assert description.classes == ('bolt', 'nut')


def test_yaml_that_is_shown_is_a_configuration(tmp_path):
    block = fenced(PAGE, 'yaml')[1]
    (tmp_path / 'finetune.yaml').write_text(block)
    (tmp_path / 'base').symlink_to(ROOT / 'config' / 'train' / 'base')
    config = load_config(tmp_path / 'finetune.yaml')
    assert (config.model.weights, config.model.backbone) == ('coco.pt', 'mobilenet_v3_large')


ANY_DATA = 'name: x\ndata: {root: d, train: [a], val: b, classes: [c]}\n'


def test_yaml_that_learns_from_a_teacher_is_a_configuration():
    config = parse_config(ANY_DATA + fenced(PAGE, 'yaml')[2], 'the page')
    assert config.distill.teacher and not config.distill.only


def test_yaml_that_learns_with_integers_is_a_configuration():
    *others, block = fenced(PAGE, 'yaml')
    assert len(others) == 3
    config = parse_config(ANY_DATA + block, 'the page')
    assert config.is_quantization_aware and config.distill.only
    assert config.distill.teacher == config.model.weights


def rows_of_models():
    """Return (model section, input side, prior boxes, parameters, GMAC) as the page has them."""
    table = PAGE[PAGE.index('| file | network'):PAGE.index('With 20 classes.')]
    folder = ROOT / 'config' / 'train' / 'base' / 'model'
    for line in table.splitlines()[2:-1]:
        name, _, side, priors, parameters, gmac = line.strip('| ').split(' | ')
        name = name.strip('`')
        keys = {} if name == '(default)' else yaml.safe_load((folder / name).read_text())
        yield pytest.param(ModelConfig(**keys), int(side), int(priors.replace(',', '')),
                           float(parameters), float(gmac), id=name)


def test_every_model_section_is_in_the_table():
    folder = ROOT / 'config' / 'train' / 'base' / 'model'
    assert {row.id for row in rows_of_models()} == {
        '(default)', *(path.name for path in folder.iterdir())}


@pytest.mark.parametrize(('model', 'side', 'priors', 'parameters', 'gmac'), rows_of_models())
def test_the_figures_of_a_model_are_right(model, side, priors, parameters, gmac):
    torch = need('torch')
    from mbv2ssd_train.deploy.contract import build_network
    from mbv2ssd_train.model.cost import count_macs, count_parameters
    config = TrainConfig(name='x', data={'root': 'r', 'train': ['a'], 'val': 'b'}, model=model)
    with torch.device('meta'):  # shapes alone: nothing is computed
        network = build_network(config)
        macs = count_macs(network, model.input_size_hw)
    assert model.input_size_hw == (side, side)
    assert sum(level.count for level in model.prior_levels()) == priors
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, abs=0.005)
    assert macs / 1e9 == pytest.approx(gmac, abs=0.005)


def test_ssdlite_at_300_has_3000_priors():
    path = ROOT / 'config' / 'train' / 'base' / 'model' / 'mbv2_ssdlite_320.yaml'
    model = ModelConfig(**{**yaml.safe_load(path.read_text()), 'input_size_hw': [300, 300]})
    assert sum(level.count for level in model.prior_levels()) == 3000
    assert '3,000 boxes of SSDLite at 300' in PAGE


def test_the_shipped_configurations_load(monkeypatch):
    monkeypatch.chdir(ROOT)
    for path in sorted((ROOT / 'config' / 'train').glob('*.yaml')):
        assert load_config(path).name
