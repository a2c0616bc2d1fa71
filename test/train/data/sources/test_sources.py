"""What a user writes after --data and --split."""

import numpy as np
import pytest

from helpers.synthetic import add_image, add_list, write_world
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.data.sources.open import open_dataset

CLASSES = ('bolt',)


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    """Ten images whose list is not in the order of their names."""
    folder = tmp_path_factory.mktemp('tree')
    for number in range(10):
        add_image(folder, f'i{number}', np.full((8, 12, 3), 9 * number, np.uint8), [])
    add_list(folder, 'all', [f'i{number}' for number in (3, 9, 0, 5, 1, 7, 2, 8, 6, 4)])
    return folder


def ids(tree, split):
    return [record.image_id for record in open_dataset(tree, split, CLASSES).records]


def test_every_nth_counts_over_sorted_names(tree):
    assert ids(tree, 'all@1/4') == ['i9', 'i5', 'i1']  # in the order of the list


@pytest.mark.parametrize('n', [1, 2, 3, 7, 10])
def test_the_shares_are_disjoint_and_complete(tree, n):
    shares = [ids(tree, f'all@{k}/{n}') for k in range(n)]
    assert sorted(sum(shares, [])) == sorted(ids(tree, 'all'))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize('k', [0, 2])
def test_all_but_a_share_is_the_rest(tree, k):
    assert sorted(ids(tree, f'all@!{k}/3') + ids(tree, f'all@{k}/3')) == sorted(ids(tree, 'all'))
    assert not set(ids(tree, f'all@!{k}/3')) & set(ids(tree, f'all@{k}/3'))


@pytest.mark.parametrize('split', ['all@3/3', 'all@4/3', 'all@0/0'])
def test_a_share_that_does_not_exist_is_refused(tree, split):
    with pytest.raises(ConfigError, match=f'@{split[4:]} selects no image'):
        open_dataset(tree, split, CLASSES)


@pytest.mark.parametrize('split', ['', 'all@', 'all@1', 'all@a/b', 'all@-1/3', 'a:b:c', ':all',
                                   'all@1/3@0/2'])
def test_a_split_of_another_form_is_refused(tree, split):
    with pytest.raises(ConfigError, match=r'is not of the form NAME\[:PART\]\[@k/n\]'):
        open_dataset(tree, split, CLASSES)


def test_a_share_without_images_is_refused(tree):
    with pytest.raises(DataError, match=r'all@!0/1.*no image'):
        open_dataset(tree, 'all@!0/1', CLASSES)


def test_a_devkit_of_two_trees(tmp_path):
    for year, count in (('site_a', 2), ('site_b', 3)):
        write_world(tmp_path / year, train=count)
    assert len(open_dataset(tmp_path, 'site_b:train', ('disc', 'square', 'triangle'))) == 3
    with pytest.raises(DataError, match=r"no split 'train'.*\(as TREE:LIST\): site_a, site_b"):
        open_dataset(tmp_path, 'train', CLASSES)


def test_an_unknown_split_of_a_folder_without_data(tmp_path):
    with pytest.raises(DataError, match=f'{tmp_path}: no annotations found; looked for VOC'):
        open_dataset(tmp_path, 'train', CLASSES)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match='/nowhere: no such data folder; name yours with data'):
        open_dataset(tmp_path / 'nowhere', 'train', CLASSES)


def test_a_year_in_front_of_a_list_is_too_much_for_one_tree(tmp_path):
    write_world(tmp_path, train=1)
    with pytest.raises(DataError, match="is one VOC tree, .*: write 'train' in place of "
                                        "'VOC2007:train'"):
        open_dataset(tmp_path, 'VOC2007:train', CLASSES)
