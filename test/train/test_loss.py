"""The multibox loss against a loop over priors."""

import math

import pytest
import torch

from mbv2ssd_train.assign import Targets
from mbv2ssd_train.config import MatchConfig
from mbv2ssd_train.loss import multibox_loss

VARIANCES = (0.1, 0.2)
PRIORS = torch.tensor([[(k + 0.5) / 8, 0.5, 0.2, 0.4] for k in range(8)])  # cxcywh


def random_case(seed, batch=3, classes=4):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 30, (batch, 8), generator=generator)
    labels[labels >= classes] = 0
    corner = 0.5 * torch.rand((batch, 8, 2), generator=generator)
    size = 0.1 + 0.3 * torch.rand((batch, 8, 2), generator=generator)
    boxes = torch.cat([corner, corner + size], dim=-1)
    loc = 4 * torch.randn((batch, 8, 4), generator=generator)
    conf = 2 * torch.randn((batch, 8, classes), generator=generator)
    return loc, conf, Targets(labels, boxes)


def slow_loss(loc, conf, targets, config):
    """Return class sum, box sum, positives and negatives, a prior at a time."""
    class_sum = box_sum = 0.0
    positives = negatives = 0
    for image in range(len(loc)):
        negative_losses, own_positives = [], 0
        for prior in range(len(PRIORS)):
            label = int(targets.labels[image, prior])
            logits = conf[image, prior].tolist()
            entropy = math.log(sum(math.exp(v) for v in logits)) - logits[max(label, 0)]
            if label == 0:
                negative_losses.append(entropy)
            elif label > 0:
                own_positives += 1
                class_sum += entropy
                x1, y1, x2, y2 = targets.boxes_xyxy[image, prior].tolist()
                cx, cy, width, height = PRIORS[prior].tolist()
                wanted = (((x1 + x2) / 2 - cx) / width / 0.1, ((y1 + y2) / 2 - cy) / height / 0.1,
                          math.log((x2 - x1) / width) / 0.2, math.log((y2 - y1) / height) / 0.2)
                for found, target in zip(loc[image, prior].tolist(), wanted):
                    off = abs(found - target)
                    box_sum += 0.5 * off * off if off < 1 else off - 0.5
        hardest = sorted(negative_losses, reverse=True)[
            :int(max(own_positives, 1) * config.neg_pos_ratio)]
        class_sum += sum(hardest)
        positives, negatives = positives + own_positives, negatives + len(hardest)
    return class_sum, box_sum, positives, negatives


@pytest.mark.parametrize('seed', range(6))
def test_equals_the_loop_over_priors(seed):
    config = MatchConfig(box_weight=2.0, neg_pos_ratio=2.0)
    loc, conf, targets = random_case(seed)
    loss = multibox_loss(loc, conf, targets, PRIORS, VARIANCES, config)
    class_sum, box_sum, positives, negatives = slow_loss(loc, conf, targets, config)
    norm = max(positives, 1)
    assert (loss.positives, loss.negatives) == (positives, negatives)
    assert loss.class_loss.item() == pytest.approx(class_sum / norm, rel=1e-5)
    assert loss.box_loss.item() == pytest.approx(box_sum / norm, rel=1e-5)
    assert loss.total.item() == pytest.approx((class_sum + 2 * box_sum) / norm, rel=1e-5)
    assert loss.image_totals.sum().item() == pytest.approx(class_sum + 2 * box_sum, rel=1e-5)


def test_undecided_logits_cost_the_logarithm_of_the_classes():
    # one positive and its three negatives at four equal logits, its box met exactly
    targets = Targets(torch.tensor([[0, 2, 0, 0, 0, 0, 0, 0]]), PRIORS.clone()[None])
    targets.boxes_xyxy[0, 1] = torch.tensor([1.5 / 8 - 0.1, 0.3, 1.5 / 8 + 0.1, 0.7])
    loss = multibox_loss(torch.zeros(1, 8, 4), torch.zeros(1, 8, 4), targets, PRIORS, VARIANCES,
                         MatchConfig())
    assert loss.class_loss.item() == pytest.approx(4 * math.log(4))
    assert loss.box_loss.item() == pytest.approx(0, abs=1e-6)


def test_an_image_without_objects_still_teaches_background():
    loc = torch.zeros(1, 8, 4, requires_grad=True)
    conf = torch.zeros(1, 8, 4, requires_grad=True)
    targets = Targets(torch.zeros(1, 8, dtype=torch.int64), torch.zeros(1, 8, 4))
    loss = multibox_loss(loc, conf, targets, PRIORS, VARIANCES, MatchConfig())
    loss.total.backward()
    assert (loss.positives, loss.negatives) == (0, 3)
    assert loss.total.item() == pytest.approx(3 * math.log(4))
    assert not loc.grad.any() and conf.grad[..., 0].sum() < 0 < conf.grad[..., 1:].sum()


def test_ignored_priors_have_no_gradient():
    loc, conf, _ = random_case(0, batch=1)
    targets = Targets(torch.tensor([[1, -1, -1, 0, 0, 0, 0, 0]]),
                      torch.tensor([0.1, 0.2, 0.4, 0.7]).expand(1, 8, 4))
    conf.requires_grad_(), loc.requires_grad_()
    multibox_loss(loc, conf, targets, PRIORS, VARIANCES, MatchConfig()).total.backward()
    assert not conf.grad[0, 1:3].any() and not loc.grad[0, 1:].any()
    assert conf.grad[0, 0].any() and loc.grad[0, 0].all()


def test_a_low_precision_prediction_is_compared_in_float32():
    loc, conf, targets = random_case(1)
    low = multibox_loss(loc.bfloat16(), conf.bfloat16(), targets, PRIORS, VARIANCES,
                        MatchConfig())
    rounded = multibox_loss(loc.bfloat16().float(), conf.bfloat16().float(), targets, PRIORS,
                            VARIANCES, MatchConfig())
    assert low.total.dtype == torch.float32
    assert low.total.item() == rounded.total.item()


@pytest.mark.parametrize('value', [math.nan, math.inf])
@pytest.mark.parametrize('output', ['loc', 'conf'])
def test_the_totals_name_the_image_that_is_not_finite(output, value):
    loc, conf, targets = random_case(2)
    targets.labels[1, 3] = 1
    (loc if output == 'loc' else conf)[1, 3, 2] = value
    loss = multibox_loss(loc, conf, targets, PRIORS, VARIANCES, MatchConfig())
    assert torch.isfinite(loss.image_totals).tolist() == [True, False, True]
