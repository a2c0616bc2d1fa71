"""docs/accuracy.md: its commands are understood, its rows are those of the ladder."""

from pathlib import Path
import re

import pytest
from test_training_page import commands, KEYS

from helpers.paths import ROOT
from mbv2ssd_train.cli.program import _parse
from mbv2ssd_train.deploy.open_model import open_model
from mbv2ssd_train.ladder.rows import choose_rows, collect, read_rows

LADDER = ROOT / 'config/train/ladder'
PAGE = (ROOT / 'docs/accuracy.md').read_text(encoding='utf-8')
RESULTS = {result.row: result for result in collect(read_rows(LADDER, Path('nowhere')),
                                                    Path('nowhere'))}


@pytest.mark.parametrize('words', commands(PAGE), ids=' '.join)
def test_a_command_is_understood(words):
    options = _parse(words)
    assert {text.partition('=')[0] for text in getattr(options, 'overrides', ())} <= KEYS
    if words[0] == 'ladder':
        rows = read_rows(ROOT / options.folder, options.runs, options.overrides)
        assert choose_rows(rows, [name for name in options.only.split(',') if name])


def test_every_row_stands_in_the_table_in_the_order_of_the_ladder():
    table = PAGE[PAGE.index('| row | what'):PAGE.index('Expected gains are')]
    assert re.findall(r'`(\w+)`', re.sub(r'\|[^|]*\|[^|]*\|$', '|', table, flags=re.M)) == [
        *RESULTS]


def test_every_row_stands_in_the_table_of_fine_tuning():
    section = PAGE[PAGE.index('## The ladder of fine-tuning'):PAGE.index('## Earlier probes')]
    rows = read_rows(ROOT / 'config/train/ladder_finetune', Path('nowhere'))
    assert list(dict.fromkeys(re.findall(r'^\| `(\w+)`', section, flags=re.M))) == [
        row.name for row in rows]


def test_the_cost_of_the_ladder_is_that_of_its_rows():
    epochs = sum(result.epochs for result in RESULTS.values())
    assert f'It is {epochs:,} epochs of 7,933 images' in PAGE
    assert f'{RESULTS["teacher"].macs / 1e9:.2f} GMAC' in PAGE


@pytest.mark.parametrize('name, macs, figures', [
    ('mbv2_ssdlite_320_voc', 764, ('71.6', '**73.1**', '71.2', '3.38')),
    ('mbv2_ssdlite_voc', 375, ('66.3', '69.0', '67.4', '3.38'))])
def test_the_shipped_models_have_the_figures_of_their_card(name, macs, figures):
    card = (ROOT / 'models/README.md').read_text(encoding='utf-8')
    row = next(line for line in PAGE.splitlines() if line.startswith(f'| `models/{name}.onnx`'))
    for figure in figures:
        assert figure.strip('*') in card and f'| {figure} |' in row
    assert f'{macs} M' in card and f'0.{macs}' in row
    provenance = open_model(ROOT / f'models/{name}.onnx').contract.provenance
    assert provenance.metric == 'map_50 on voc07_trainval@0/10'
    assert f'{100 * provenance.metric_value:.1f}' == figures[0]


def test_files_that_are_named_exist():
    named = set(re.findall(r'\b(?:config|models|mbv2ssd_train)/[\w./]*\w', PAGE))
    assert len(named) >= 4
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
