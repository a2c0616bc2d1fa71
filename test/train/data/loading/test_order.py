"""Which images an epoch shows, and how often."""

from collections import Counter

import numpy as np
import pytest

from helpers.model_settings import small_run
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.loading.order import EpochOrder, repeat_factors


def records_of(*labels, difficult=False):
    """Make one record for each list of labels."""
    return [ImageRecord(str(k), '', '', (10, 20), np.tile(np.array([0, 0, 1, 1], np.float32),
                                                          (len(own), 1)),
                        np.array(own, np.intp), np.full(len(own), difficult))
            for k, own in enumerate(labels)]


def shown(order, epoch):
    return np.concatenate([plan.places for plan in order.plans(epoch)]).tolist()


def order_of(records, batch_size=2, **data):
    return EpochOrder(records, small_run('.', data=data, training={'batch_size': batch_size}))


# 16 images with a disc, 4 of them with a square too, 1 with a triangle as well; 4 negatives
RARE = records_of(*[[1]] * 12, *[[1, 2]] * 3, [1, 2, 3], *[[]] * 4)
BALANCED = {'sampling': 'class_balanced', 'repeat_below': 0.8}


def test_uniformly_every_image_is_shown_once():
    order = order_of(RARE)
    assert sorted(shown(order, 0)) == sorted(shown(order, 1)) == list(range(20))
    assert shown(order, 0) != shown(order, 1)


def test_repeat_factors_go_by_the_rarest_class():
    # shares: 16, 4 and 1 of 20 images; sqrt(0.8 / 0.8), sqrt(0.8 / 0.2), sqrt(0.8 / 0.05)
    np.testing.assert_allclose(repeat_factors(RARE, 0.8), [1] * 12 + [2] * 3 + [4] + [1] * 4)


def test_frequent_classes_are_not_thinned_out():
    np.testing.assert_allclose(repeat_factors(RARE, 0.05), 1)


def test_difficult_objects_make_no_image_rare():
    assert repeat_factors(records_of([1], [2], difficult=True), 1.0).tolist() == [1, 1]


def test_balanced_epochs_are_as_long_and_show_rare_classes_more_often():
    order = order_of(RARE, **BALANCED)
    counts = [Counter(shown(order, epoch)) for epoch in range(52)]
    assert all(count.total() == 20 for count in counts)
    # 20 / 26 of each factor, rounded up or down in every epoch
    assert {count[15] for count in counts} == {3, 4}
    assert {count[12] for count in counts} == {1, 2} and {count[0] for count in counts} == {0, 1}
    average = sum(counts, Counter())
    assert abs(average[15] / 52 - 80 / 26) < 0.2
    assert abs(sum(average[k] for k in range(12)) / 12 / 52 - 20 / 26) < 0.05


def test_repeated_images_are_told_apart():
    plans = order_of(RARE, **BALANCED).plans(0)
    pairs = [pair for plan in plans for pair in zip(plan.places.tolist(), plan.copies.tolist())]
    assert len(set(pairs)) == len(pairs) == 20
    assert {copy for place, copy in pairs if place == 15} >= {0, 1, 2}


def test_the_order_is_that_of_seed_and_epoch():
    one, same = (order_of(RARE, **BALANCED) for _ in range(2))
    assert shown(one, 3) == shown(same, 3) != shown(one, 4)


def test_a_size_without_room_for_all_maps_is_refused_at_once():
    config = small_run('.', model={
        'backbone': 'vgg16', 'width_mult': 1.0, 'head': 'ssd', 'input_size_hw': [300, 300],
        'extra_channels': [512, 256, 256, 256], 'scales': [0.1, 0.2, 0.3, 0.5, 0.7, 0.9]},
        augment={'input_sizes_hw': [[300, 300], [64, 64]]})
    with pytest.raises(ConfigError, match=r'network input \[64, 64\] \(augment\.input_sizes'):
        EpochOrder(RARE, config)


def test_repeat_below_without_effect_is_refused():
    with pytest.raises(ConfigError, match='repeat_below has no effect with sampling: uniform'):
        order_of(RARE, repeat_below=0.5)
