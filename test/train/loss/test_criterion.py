"""The loss of a batch: against loops, in every combination, and where it must not look."""

from itertools import product
import math

import pytest
import torch
from torch import nn

from helpers.matching_cases import batch_of, boxes_of, iou, random_image
from helpers.model_settings import small_run
from mbv2ssd_ros.core.errors import ShapeError
from mbv2ssd_train.config import LossConfig, MatchConfig
from mbv2ssd_train.loss import criterion as criterion_module
from mbv2ssd_train.loss import mining, selection
from mbv2ssd_train.loss.assign import targets as targets_module
from mbv2ssd_train.loss.assign.targets import Targets
from mbv2ssd_train.loss.criterion import Criterion

METHODS = ['iou', 'atss', 'task_aligned']
CLASSIFICATIONS = ['cross_entropy', 'focal', 'quality_focal']
BOXES = ['smooth_l1', 'l1', 'giou', 'diou', 'ciou']
# every kind with every other one once or more
COMBINATIONS = [*product(METHODS, CLASSIFICATIONS, ['smooth_l1', 'giou']),
                ('iou', 'cross_entropy', 'l1'), ('atss', 'quality_focal', 'diou'),
                ('task_aligned', 'quality_focal', 'ciou')]
FAR = boxes_of([0.1, 0.2, 0.4, 0.7], [0.5, 0.1, 0.9, 0.5])


def config_of(method='iou', classification='cross_entropy', box='smooth_l1', **loss):
    return small_run('.', match={'method': method},
                     loss={'classification': classification, 'box': box, **loss})


def predictions(config, batch, seed=0, spread=1.0):
    """Return random loc and conf_logits that ask for their gradients."""
    priors = len(Criterion(config).priors_for(batch).xyxy)
    generator = torch.Generator().manual_seed(seed)
    loc = spread * torch.randn(len(batch), priors, 4, generator=generator)
    conf = torch.randn(len(batch), priors, config.score_columns, generator=generator)
    return loc.requires_grad_(), conf.requires_grad_()


def random_batch(seed=0, counts=(3, 0, 5)):
    generator = torch.Generator().manual_seed(seed)
    return batch_of(*(random_image(generator, count) for count in counts))


def assigned(config, loc, conf, batch):
    """Return labels and boxes of each prior as lists."""
    targets = Criterion(config).assign(loc, conf, batch)
    boxes = batch.boxes_xyxy.gather(1, targets.objects[..., None].expand(-1, -1, 4))
    return targets, targets.labels.tolist(), boxes.tolist()


def decode(loc, prior):
    """Return the corners of a box, with the usual variances."""
    x, y = prior[0] + loc[0] * 0.1 * prior[2], prior[1] + loc[1] * 0.1 * prior[3]
    width, height = (prior[k] * math.exp(0.2 * loc[k]) for k in (2, 3))
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def smooth_l1(loc, box, prior):
    x1, y1, x2, y2 = box
    wanted = (((x1 + x2) / 2 - prior[0]) / prior[2] / 0.1,
              ((y1 + y2) / 2 - prior[1]) / prior[3] / 0.1,
              math.log((x2 - x1) / prior[2]) / 0.2, math.log((y2 - y1) / prior[3]) / 0.2)
    off = [abs(found - target) for found, target in zip(loc, wanted, strict=True)]
    return sum(0.5 * d * d if d < 1 else d - 0.5 for d in off)


def softmax_loss(logits, label, smoothing):
    total = math.log(sum(math.exp(v) for v in logits))
    sharp, even = total - logits[label], total - sum(logits) / len(logits)
    return (1 - smoothing) * sharp + smoothing * even


def slow_sigmoid_loss(logits, label, quality, alpha):
    total = 0.0
    for column, logit in enumerate(logits):
        target = quality if column == label - 1 else 0.0
        score = 1 / (1 + math.exp(-logit))
        entropy = -target * math.log(score) - (1 - target) * math.log(1 - score)
        weight = 1 if alpha is None else alpha if column == label - 1 else 1 - alpha
        total += weight * (target - score) ** 2 * entropy
    return total


@pytest.mark.parametrize('method', ['iou', 'task_aligned'])
def test_scores_learn_one_before_they_learn_quality(method):
    # what positives should score adds up to the normaliser; the warm-up ends with a tenth
    config = config_of(method, 'quality_focal', quality_warmup=0.1)
    batch = random_batch()
    loc, conf = predictions(config, batch)
    criterion, wanted = Criterion(config), {}
    for progress in (0, 0.05, 0.1, 1):
        criterion.progress = progress
        sums = criterion(loc, conf, batch)
        wanted[progress] = sums.normaliser.item()
    assert wanted[0] == sums.positives.sum() > 3
    assert wanted[0.1] == wanted[1] < 0.9 * wanted[0]
    assert wanted[0.05] == pytest.approx((wanted[0] + wanted[1]) / 2)
    without = Criterion(config_of(method, 'quality_focal'))(loc, conf, batch)
    assert wanted[1] == without.normaliser.item()


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('smoothing', [0.0, 0.2])
def test_multibox_loss_equals_the_loop_over_priors(seed, smoothing):
    config = config_of(box_weight=2.0, neg_pos_ratio=2.0, label_smoothing=smoothing)
    batch = random_batch(seed)
    loc, conf = predictions(config, batch, seed)
    sums = Criterion(config)(loc, conf, batch)
    _, labels, boxes = assigned(config, loc, conf, batch)
    priors = Criterion(config).priors_for(batch).cxcywh.tolist()
    for image in range(3):
        logits = conf[image].tolist()
        positive = [p for p in range(len(priors)) if labels[image][p] > 0]
        negative = sorted((p for p in range(len(priors)) if labels[image][p] == 0),
                          key=lambda p: -softmax_loss(logits[p], 0, 0.0))
        negative = negative[:max(2 * len(positive), 3)]
        class_sum = sum(softmax_loss(logits[p], labels[image][p], smoothing)
                        for p in positive + negative)
        box_sum = sum(smooth_l1(loc[image, p].tolist(), boxes[image][p], priors[p])
                      for p in positive)
        assert sums.class_sums[image].item() == pytest.approx(class_sum, rel=1e-5)
        assert sums.box_sums[image].item() == pytest.approx(2 * box_sum, rel=1e-4)
        assert sums.positives[image] == len(positive) and sums.negatives[image] == len(negative)
    assert sums.normaliser == sums.positives.sum()


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('classification', ['focal', 'quality_focal'])
def test_sigmoid_losses_equal_the_loop_over_priors(method, classification):
    config, batch = config_of(method, classification), random_batch(1)
    loc, conf = predictions(config, batch, 1)
    sums = Criterion(config)(loc, conf, batch)
    targets, labels, boxes = assigned(config, loc, conf, batch)
    priors = Criterion(config).priors_for(batch).cxcywh.tolist()
    qualities = 0.0
    for image in range(3):
        class_sum = box_sum = 0.0
        for p, label in enumerate(labels[image]):
            quality = 1.0
            if label > 0 and classification == 'quality_focal':
                quality = targets.alignment[image, p].item() if method == 'task_aligned' \
                    else iou(decode(loc[image, p].tolist(), priors[p]), boxes[image][p])
            if label >= 0:
                class_sum += slow_sigmoid_loss(conf[image, p].tolist(), label, quality,
                                               0.25 if classification == 'focal' else None)
            if label > 0:
                box_sum += quality * smooth_l1(loc[image, p].tolist(), boxes[image][p], priors[p])
                qualities += quality
        assert sums.class_sums[image].item() == pytest.approx(class_sum, rel=1e-4)
        assert sums.box_sums[image].item() == pytest.approx(box_sum, rel=1e-4)
        assert sums.negatives[image] == labels[image].count(0)
    assert sums.normaliser.item() == pytest.approx(qualities, rel=1e-4)


@pytest.mark.parametrize('combination', COMBINATIONS)
def test_the_sums_are_those_of_the_images_one_by_one(combination):
    # whatever the other images are, and however far its objects are padded
    config, batch = config_of(*combination), random_batch(2)
    loc, conf = predictions(config, batch)
    criterion = Criterion(config)
    together = criterion(loc, conf, batch)
    alone = [criterion(loc[k:k + 1], conf[k:k + 1], part)
             for k, part in enumerate(batch.parts(3))]
    for name in ('class_sums', 'box_sums', 'positives', 'negatives'):
        torch.testing.assert_close(
            getattr(together, name), torch.cat([getattr(item, name) for item in alone]))
    torch.testing.assert_close(together.normaliser, sum(item.normaliser for item in alone))


@pytest.mark.parametrize('combination', COMBINATIONS)
def test_a_device_that_is_not_waited_for_gives_the_same(combination, monkeypatch):
    config, batch = config_of(*combination), random_batch(3)
    found = []
    for on_host in (True, False):
        for module in (criterion_module, mining, selection, targets_module):
            monkeypatch.setattr(module, 'on_host', lambda tensor, answer=on_host: answer)
        loc, conf = predictions(config, batch)
        sums = Criterion(config)(loc, conf, batch)
        (sums.class_sums + sums.box_sums).sum().backward()
        found.append((sums.class_sums, sums.box_sums, sums.normaliser, sums.positives,
                      sums.negatives, loc.grad, conf.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize('method', METHODS)
def test_a_few_images_at_a_time_are_matched_as_all_together(method, monkeypatch):
    config, batch = config_of(method), random_batch(8, (3, 0, 5, 1, 2))
    loc, conf = predictions(config, batch)
    found = []
    for cached in (1, 5000, 10 ** 9):  # images one by one, two and two, all at once
        monkeypatch.setattr(criterion_module, '_CACHED', cached)
        found.append(Criterion(config).assign(loc, conf, batch))
    for one in found[:2]:
        assert torch.equal(one.labels, found[2].labels)
        assert torch.equal(one.objects[one.positive], found[2].objects[one.positive])


@pytest.mark.parametrize('combination', COMBINATIONS)
def test_nothing_waits_for_the_device(combination):
    # the device without values: whoever asks for one gets an error
    config = config_of(*combination)
    batch = random_batch().to(torch.device('meta'))
    criterion = Criterion(config)
    count = len(criterion.priors_for(batch).xyxy)
    sums = criterion(torch.zeros(3, count, 4, device='meta', requires_grad=True),
                     torch.zeros(3, count, config.score_columns, device='meta'), batch)
    (sums.class_sums + sums.box_sums).sum().backward()
    assert sums.box_sums.device.type == 'meta' and sums.positives.shape == (3,)


@pytest.mark.parametrize('combination', COMBINATIONS)
def test_slopes_are_finite_and_where_they_belong(combination):
    config, batch = config_of(*combination), random_batch(4)
    loc, conf = predictions(config, batch)
    sums = Criterion(config)(loc, conf, batch)
    (sums.class_sums + sums.box_sums).sum().backward()
    targets, _, _ = assigned(config, loc, conf, batch)
    assert not loc.grad[~targets.positive].any()
    assert not conf.grad[targets.labels < 0].any()
    assert conf.grad[targets.positive].any(dim=-1).all()
    assert loc.grad[targets.positive].any()
    assert torch.isfinite(loc.grad).all() and torch.isfinite(conf.grad).all()
    assert not any(value.requires_grad for value in (
        sums.normaliser, sums.positives, sums.negatives))


@pytest.mark.parametrize('combination', COMBINATIONS)
def test_predictions_far_off_are_finite(combination):
    config, batch = config_of(*combination), random_batch(5)
    loc, conf = predictions(config, batch, spread=1e4)
    sums = Criterion(config)(loc, 100 * conf, batch)
    (sums.class_sums + sums.box_sums).sum().backward()
    assert torch.isfinite(sums.class_sums).all() and torch.isfinite(sums.box_sums).all()
    assert torch.isfinite(loc.grad).all() and torch.isfinite(conf.grad).all()


@pytest.mark.parametrize('value', [math.nan, math.inf])
@pytest.mark.parametrize('output', ['loc', 'conf'])
@pytest.mark.parametrize('combination', COMBINATIONS)
def test_the_sums_name_the_image_that_is_not_finite(combination, output, value):
    config, batch = config_of(*combination), random_batch(6, (2, 2, 2))
    loc, conf = predictions(config, batch)
    (loc if output == 'loc' else conf).data[1, :, 2] = value
    sums = Criterion(config)(loc, conf, batch)
    assert torch.isfinite(sums.class_sums + sums.box_sums).tolist() == [True, False, True]


@pytest.mark.parametrize('classification', CLASSIFICATIONS)
def test_images_without_objects_teach_background_alone(classification):
    config, batch = config_of(classification=classification), random_batch(counts=(0, 0))
    loc, conf = predictions(config, batch)
    sums = Criterion(config)(loc, conf, batch)
    (sums.class_sums + sums.box_sums).sum().backward()
    assert sums.normaliser == 0 and sums.positives.tolist() == [0, 0]
    expected = 3 if classification == 'cross_entropy' else loc.shape[1]
    assert sums.negatives.tolist() == [expected] * 2
    assert not loc.grad.any() and conf.grad.any()
    scores_of_objects = conf.grad[..., 1:] if classification == 'cross_entropy' else conf.grad
    assert (scores_of_objects >= 0).all()  # down with them


def test_smoothed_labels_do_not_change_which_negatives_are_hard():
    # beyond doubt background, which smoothing punishes, and undecided, which is hard
    config = config_of(label_smoothing=0.3, min_negatives=1)
    batch = random_batch(counts=(0,))
    loc, conf = predictions(config, batch)
    conf.data[..., 0], conf.data[..., 1:] = 40.0, 0.0
    conf.data[0, 7] = 0.0
    Criterion(config)(loc, conf, batch).class_sums.sum().backward()
    assert conf.grad[0].any(dim=-1).nonzero().tolist() == [[7]]


def test_boxes_are_compared_in_pixels():
    # On an image twice as wide as high a box of 0.2 x 0.4 is square. Predicted is a square of a
    # quarter of its area around the centre: 1 - 0.25, and nothing for distance or shape.
    batch = batch_of((boxes_of([0.2, 0.2, 0.4, 0.6]), [1], None), size_hw=(64, 128))
    criterion = Criterion(config_of(box='ciou'))
    cx, cy, width, height = criterion.priors_for(batch).cxcywh[7].tolist()
    loc, conf = predictions(config_of(), batch)
    loc.data[0, 7] = torch.tensor([
        (0.3 - cx) / width / 0.1, (0.4 - cy) / height / 0.1,
        math.log(0.1 / width) / 0.2, math.log(0.2 / height) / 0.2])
    labels = torch.zeros(conf.shape[:2], dtype=torch.int64)
    labels[0, 7] = 1
    criterion.assign = lambda *_: Targets(labels, torch.zeros_like(labels))
    assert criterion(loc, conf, batch).box_sums.item() == pytest.approx(0.75, abs=1e-4)


@pytest.mark.parametrize('combination', COMBINATIONS)
def test_low_precision_is_compared_in_float32(combination):
    config, batch = config_of(*combination), random_batch(7)
    loc, conf = (item.detach().bfloat16() for item in predictions(config, batch))
    criterion = Criterion(config)
    with torch.autocast('cpu', torch.bfloat16):
        low = criterion(loc, conf, batch)
    rounded = criterion(loc.float(), conf.float(), batch)
    for name in ('class_sums', 'box_sums', 'normaliser'):
        assert getattr(low, name).dtype == torch.float32
        assert torch.equal(getattr(low, name), getattr(rounded, name))


def test_every_size_of_images_has_its_own_priors():
    config = config_of()
    criterion = Criterion(config)
    for size_hw, count in (((64, 96), 4 * (96 + 24 + 6 + 2 + 1)),
                           ((96, 64), 4 * (96 + 24 + 6 + 2 + 1)),
                           ((128, 96), 4 * (192 + 48 + 12 + 4 + 1))):
        batch = batch_of((FAR, [1, 2], None), size_hw=size_hw)
        priors = criterion.priors_for(batch)
        assert len(priors.xyxy) == count and priors.input_size_hw == size_hw
        assert criterion.priors_for(batch) is priors


@pytest.mark.parametrize('loc_shape, conf_shape, message', [
    ((1, 500, 4), (1, 516, 4), r'loc is \(1, 500, 4\), expected \(1, 516, 4\): .*\(64, 96\).* 516 '
                               r'priors \(384, 96, 24, 8, 4\)'),
    ((1, 516, 4), (1, 516, 3), r'conf_logits is \(1, 516, 3\), expected \(1, 516, 4\): .*'
                               'cross_entropy scores 4 columns')])
def test_predictions_of_another_network_are_refused(loc_shape, conf_shape, message):
    with pytest.raises(ShapeError, match=message):
        Criterion(config_of())(torch.zeros(loc_shape), torch.zeros(conf_shape),
                               batch_of((FAR, [1, 2], None)))


@pytest.mark.parametrize('changes, message', [
    ({'method': 'atss', 'match_iou': 0.6}, 'match_iou has no effect with method: atss'),
    ({'aligned_priors': 5}, 'aligned_priors has no effect with method: iou'),
    ({'match_iou': 0.5, 'ignore_iou': 0.6}, r'ignore_iou 0\.6 is above match_iou 0\.5')])
def test_settings_without_effect_on_matching_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MatchConfig(**changes)


@pytest.mark.parametrize('changes, message', [
    ({'classification': 'focal', 'neg_pos_ratio': 2.0},
     'neg_pos_ratio has no effect with classification: focal'),
    ({'classification': 'quality_focal', 'focal_alpha': 0.5},
     'focal_alpha has no effect with classification: quality_focal'),
    ({'box': 'giou', 'smooth_l1_beta': 0.1}, 'smooth_l1_beta has no effect with box: giou'),
    ({'classification': 'focal', 'focal_gamma': 0.5},
     r'focal_gamma 0\.5 has an infinite gradient'),
    ({'max_negatives': 2}, 'max_negatives 2 is below min_negatives 3')])
def test_settings_without_effect_on_the_loss_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        LossConfig(**changes)


@pytest.mark.parametrize('combination', COMBINATIONS)
def test_a_tiny_network_learns_two_images(combination):
    """A predictor of its own for each prior, on two images: the loss halves in 60 steps."""
    config = config_of(*combination)
    batch = batch_of((FAR, [1, 2], None), (boxes_of([0.3, 0.3, 0.8, 0.9]), [3], None))
    criterion, priors = Criterion(config), 516
    torch.manual_seed(1)
    features = torch.eye(2)
    heads = nn.ModuleList([nn.Linear(2, priors * 4), nn.Linear(2, priors * config.score_columns)])
    optimizer = torch.optim.Adam(heads.parameters(), 0.05)
    totals = []
    for _ in range(60):
        loc, conf = (head(features).view(2, priors, -1) for head in heads)
        sums = criterion(loc, conf, batch)
        total = (sums.class_sums + sums.box_sums).sum()
        totals.append(total.item() / max(sums.normaliser.item(), 1))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert totals[-1] < totals[0] / 2
