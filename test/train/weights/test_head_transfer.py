"""Heads moved to other priors and classes say what they said before."""

import pytest
import torch

from helpers.model_settings import small_model
from mbv2ssd_ros.core.priors import level_priors
from mbv2ssd_train.box_coder import decode_loc
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.weights.head_transfer import HeadLayout, Scores, translate_heads

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
SOFTMAX = Scores(('cat', 'dog', 'cow'), sigmoid=False)
SIGMOID = Scores(('cat', 'dog', 'cow'), sigmoid=True)


def network(layout):
    torch.manual_seed(3)
    made = SSD(layout.model, layout.scores.columns, layout.scores.sigmoid).eval()
    for head in (*made.loc_heads, *made.conf_heads):
        head[-1].weight.data *= 10
        head[-1].bias.data.uniform_(-1, 1)
    return made


def predictions(source, target):
    """Predictions of a network and of its successor, each (loc, logits) of image batches."""
    learnt, successor = network(source), SSD(
        target.model, target.scores.columns, target.scores.sigmoid).eval()
    successor.load_state_dict(
        translate_heads(learnt.state_dict(), source, target), strict=False)
    with torch.no_grad():
        return learnt(IMAGES), successor(IMAGES)


def test_columns_follow_the_names_of_their_classes():
    source = HeadLayout(small_model(), SOFTMAX)
    target = HeadLayout(small_model(), Scores(('cow', 'cat'), sigmoid=False))
    (loc, logits), (moved_loc, moved) = predictions(source, target)
    torch.testing.assert_close(moved, logits[..., [0, 3, 1]])  # background, cow, cat
    torch.testing.assert_close(moved_loc, loc)


def test_coco_and_voc_mean_the_same_by_two_names():
    source = HeadLayout(small_model(), Scores(('tv', 'couch', 'airplane'), sigmoid=False))
    target = HeadLayout(small_model(), Scores(('aeroplane', 'tvmonitor'), sigmoid=False))
    (_, logits), (_, moved) = predictions(source, target)
    torch.testing.assert_close(moved, logits[..., [0, 3, 1]])


def test_a_new_class_begins_at_a_hundredth_of_there_being_nothing():
    source = HeadLayout(small_model(), SOFTMAX)
    target = HeadLayout(small_model(), Scores(('cat', 'bolt'), sigmoid=False))
    _, (_, moved) = predictions(source, target)
    odds = (moved[..., 2] - moved[..., 0]).exp()
    torch.testing.assert_close(odds, torch.full_like(odds, 1 / 99))


def test_softmax_becomes_the_odds_against_the_background():
    (_, logits), (_, moved) = predictions(
        HeadLayout(small_model(), SOFTMAX), HeadLayout(small_model(), SIGMOID))
    torch.testing.assert_close(moved, logits[..., 1:] - logits[..., :1])


def test_sigmoid_scores_stand_against_a_background_of_zero():
    (_, logits), (_, moved) = predictions(
        HeadLayout(small_model(), SIGMOID), HeadLayout(small_model(), SOFTMAX))
    torch.testing.assert_close(moved[..., 1:], logits)
    assert not moved[..., 0].any()


def test_a_map_that_the_source_has_not_begins_with_nothing_on_it():
    source = HeadLayout(small_model(first_stride=16, scales=[0.3, 0.45, 0.6, 0.8]), SOFTMAX)
    target = HeadLayout(small_model(), SOFTMAX)
    moved = translate_heads(network(source).state_dict(), source, target)
    probabilities = moved['conf_heads.0.1.bias'].reshape(-1, 4).softmax(-1)  # three are 1 : 99
    torch.testing.assert_close(probabilities, torch.tensor([[99.0, 1, 1, 1]] * 4) / 102)
    assert 'conf_heads.0.1.weight' not in moved


def test_without_a_class_in_common_class_predictors_are_left_out():
    source = HeadLayout(small_model(), SOFTMAX)
    target = HeadLayout(small_model(), Scores(('bolt',), sigmoid=False))
    moved = translate_heads(network(source).state_dict(), source, target)
    assert 'conf_heads.0.1.weight' not in moved
    assert {'conf_heads.0.0.0.weight', 'loc_heads.0.1.weight'} <= set(moved)


def boxes_of(layout, loc, level):
    """(B, cells, shapes, 4) decoded boxes of one map."""
    levels = layout.model.prior_levels()
    first = sum(one.count for one in levels[:level])
    priors = torch.from_numpy(level_priors(levels[level]))
    decoded = decode_loc(loc[:, first:first + len(priors)], priors, layout.model.variances)
    return decoded.unflatten(1, (-1, len(levels[level].shapes_wh)))


def test_boxes_are_the_same_though_the_priors_have_other_sizes_and_variances():
    source = HeadLayout(small_model(), SOFTMAX)
    target = HeadLayout(small_model(
        scales=[0.1425, 0.285, 0.4275, 0.57, 0.76], variances=[0.2, 0.1]), SOFTMAX)
    (loc, _), (moved, _) = predictions(source, target)
    for level in range(5):
        torch.testing.assert_close(boxes_of(target, moved, level), boxes_of(source, loc, level))


def test_a_prior_learns_from_the_one_of_its_shape():
    # squares, then 2:1 and 1:2; what is 3:1 or 1:3 is nearer to these than to squares
    source = HeadLayout(small_model(), SOFTMAX)
    target = HeadLayout(small_model(aspect_ratios=[2.0, 3.0]), SOFTMAX)
    (loc, logits), (moved, moved_logits) = predictions(source, target)
    torch.testing.assert_close(boxes_of(target, moved, 0),
                               boxes_of(source, loc, 0)[:, :, [0, 1, 2, 3, 2, 3]])
    cells = 8 * 12
    torch.testing.assert_close(
        moved_logits[:, :6 * cells].unflatten(1, (cells, 6)),
        logits[:, :4 * cells].unflatten(1, (cells, 4))[:, :, [0, 1, 2, 3, 2, 3]])


@pytest.mark.parametrize('source_stride, target_stride, shift', [(16, 8, -1), (8, 16, 1)])
def test_maps_are_matched_by_their_stride(source_stride, target_stride, shift):
    def layout(stride):
        scales = [0.1, 0.3, 0.45, 0.6, 0.8][stride // 8 - 1:]  # one map less begins at 16
        return HeadLayout(small_model(first_stride=stride, scales=scales), SOFTMAX)
    source, target = layout(source_stride), layout(target_stride)
    learnt = network(source).state_dict()
    moved = translate_heads(learnt, source, target)
    key = 'loc_heads.{}.0.0.weight'.format
    for level in range(1, 4):
        assert torch.equal(moved[key(level)], learnt[key(level + shift)])
    assert (key(0) in moved) == (target_stride == 16)


def test_a_head_of_one_convolution_is_moved_as_well():
    source = HeadLayout(small_model(head='ssd'), SOFTMAX)
    target = HeadLayout(small_model(head='ssd', variances=[0.2, 0.1]),
                        Scores(('dog',), sigmoid=False))
    learnt = network_of_one_convolution(source)
    moved = translate_heads(learnt, source, target)
    torch.testing.assert_close(moved['conf_heads.1.bias'],
                               learnt['conf_heads.1.bias'].reshape(-1, 4)[:, [0, 2]].flatten())
    weight = learnt['loc_heads.1.weight'].unflatten(0, (-1, 4)).clone()
    weight[:, :2] /= 2  # the same move by a unit twice as large
    weight[:, 2:] *= 2
    torch.testing.assert_close(moved['loc_heads.1.weight'], weight.flatten(0, 1))


def network_of_one_convolution(layout):
    torch.manual_seed(3)
    return SSD(layout.model, layout.scores.columns).state_dict()
