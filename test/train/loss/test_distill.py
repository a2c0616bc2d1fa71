"""What it costs to answer otherwise than the teacher, by numbers that one can check."""

import math

import pytest
import torch

from mbv2ssd_train.config import DistillConfig
from mbv2ssd_train.loss.distill import add_up, Distillation

# a divergence of (1/2, 1/2) from (1/4, 3/4): 1/2 ln(2) + 1/2 ln(2/3)
HALF_FROM_QUARTER = 0.5 * math.log(4 / 3)
BACKGROUND = [9.0, 0.0]  # logits of a prior that sees nothing
OBJECT = [0.0, 9.0]


def compare(logits, teacher_logits, loc=None, teacher_loc=None, sigmoid=False, **settings):
    """Compare the answers to one image of a few priors; offsets are zeros where left out."""
    logits, teacher_logits = torch.tensor([logits]), torch.tensor([teacher_logits])
    zeros = torch.zeros(1, logits.shape[1], 4)
    loc, teacher_loc = (zeros if offsets is None else torch.tensor([offsets])
                        for offsets in (loc, teacher_loc))
    config = DistillConfig(teacher='best.pt', **settings)
    return Distillation(config, sigmoid)(loc, logits, teacher_loc, teacher_logits)


@pytest.mark.parametrize('sigmoid', [False, True])
@pytest.mark.parametrize('temperature', [1.0, 3.0])
def test_who_answers_as_the_teacher_pays_nothing(sigmoid, temperature):
    answer = torch.randn(2, 5, 4).tolist()
    found = compare(answer[0], answer[0], answer[1], answer[1], sigmoid, temperature=temperature)
    assert found.class_sums.tolist() == pytest.approx([0], abs=1e-6)
    assert found.box_sums.tolist() == [0]


def test_class_scores_cost_their_divergence():
    found = compare([[0.0, math.log(3)]], [[1.0, 1.0]])
    assert found.class_sums.tolist() == pytest.approx([HALF_FROM_QUARTER])


def test_each_class_of_a_sigmoid_costs_its_own():
    # both classes are as likely as not; the network says 3/4 and 1/2
    found = compare([[math.log(3), 0.0]], [[0.0, 0.0]], sigmoid=True)
    assert found.class_sums.tolist() == pytest.approx([HALF_FROM_QUARTER])


def test_the_priors_of_an_image_add_up():
    found = compare([[0.0, math.log(3)], [math.log(3), 0.0]], [[0.0, 0.0], [5.0, 5.0]])
    assert found.class_sums.tolist() == pytest.approx([2 * HALF_FROM_QUARTER])


def test_a_temperature_divides_the_logits_and_its_square_keeps_the_gradient():
    found = compare([[0.0, 2 * math.log(3)]], [[0.0, 0.0]], temperature=2.0)
    assert found.class_sums.tolist() == pytest.approx([4 * HALF_FROM_QUARTER])


def test_boxes_are_compared_where_the_teacher_sees_an_object():
    # an offset that is 3 away costs 3 - 1/2; that of the second prior does not count
    found = compare([BACKGROUND, OBJECT], [OBJECT, BACKGROUND],
                    [[3.0, 0, 0, 0], [7.0, 7, 7, 7]])
    assert found.box_sums.tolist() == [2.5]


def test_boxes_have_a_weight():
    found = compare([OBJECT], [OBJECT], [[0, 3.0, 0, 0]], box_weight=2.0)
    assert found.box_sums.tolist() == [5]
    assert found.teacher_sums.tolist() == [5]


@pytest.mark.parametrize('sigmoid, score', [(False, [0.0, math.log(3)]), (True, [math.log(3)])])
def test_an_object_is_seen_from_the_score_on_that_is_asked_for(sigmoid, score):
    # a score of 3/4
    assert [compare([score], [score], sigmoid=sigmoid, confident=confident).positives.tolist()
            for confident in (0.74, 0.76)] == [[1], [0]]


@pytest.mark.parametrize('priors, negatives, cost', [
    # the teacher detects the first, the network the second, neither the third
    ('all', 2, True), ('confident', 1, False)])
def test_priors_in_which_nobody_sees_an_object_can_be_left_out(priors, negatives, cost):
    unsure = [1.5, 0.0]
    found = compare([OBJECT, OBJECT, unsure], [OBJECT, OBJECT[::-1], BACKGROUND], priors=priors)
    without = compare([OBJECT, OBJECT, BACKGROUND], [OBJECT, OBJECT[::-1], BACKGROUND])
    assert found.positives.tolist() == [1] and found.negatives.tolist() == [negatives]
    assert (found.class_sums > without.class_sums + 0.1).tolist() == [cost]


def test_the_loss_is_divided_by_what_the_teacher_sees_in_all_images():
    logits = torch.tensor([[OBJECT, OBJECT], [OBJECT, BACKGROUND]])
    loc = torch.zeros(2, 2, 4)
    found = Distillation(DistillConfig(teacher='best.pt'), False)(loc, logits, loc, logits)
    assert found.positives.tolist() == [2, 1] and float(found.normaliser) == 3


def test_low_precision_is_compared_in_float32():
    half = torch.tensor([[OBJECT]], dtype=torch.bfloat16)
    loc = torch.zeros(1, 1, 4, dtype=torch.bfloat16)
    found = Distillation(DistillConfig(teacher='best.pt'), False)(loc, half, loc, half)
    assert found.class_sums.dtype == found.box_sums.dtype == torch.float32


def test_objects_and_teacher_add_up():
    objects = compare([[0.0, math.log(3)]], [[0.0, 0.0]], [[2.0, 0, 0, 0]])
    taught = compare([OBJECT], [OBJECT], [[3.0, 0, 0, 0]])
    found = add_up(objects, taught, weight=10)
    assert found.box_sums.tolist() == pytest.approx([1.5 + 25])
    assert found.class_sums.tolist() == pytest.approx([HALF_FROM_QUARTER])
    assert found.teacher_sums.tolist() == pytest.approx([25])
    assert float(found.normaliser) == float(objects.normaliser)
