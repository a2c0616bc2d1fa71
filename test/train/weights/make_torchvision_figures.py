"""
Write what torchvision's own detectors compute, for test_torchvision_figures.py.

    pip install --no-deps --target DIR torchvision==0.28.* pillow
    python test/train/weights/make_torchvision_figures.py --torchvision DIR

torchvision's compiled operators do not fit the PyTorch of this package, so NMS is declared here,
written plainly. Weights and images come from seeded_weights.py. Images have the size of the
network input, so that torchvision does not resize them: its filter is another one than ours.
Kept are, for each case, boxes and scores of some priors before NMS, and the final detections in
pixels of a source image that is not square.
"""

import argparse
from pathlib import Path
import sys

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from helpers.seeded_weights import seeded_image, seeded_state  # noqa: E402

COLUMNS = 6
SOURCE_SIZE_HW = (180, 320)
SETTINGS = {'score_thresh': 0.3, 'nms_thresh': 0.45, 'detections_per_img': 60,
            'topk_candidates': 100_000}
CASES = {  # name: builder, network input (height, width)
    'ssdlite320': ('ssdlite320_mobilenet_v3_large', (320, 320)),
    'ssdlite320_wide': ('ssdlite320_mobilenet_v3_large', (240, 320)),
    'ssd300': ('ssd300_vgg16', (300, 300)),
    # torchvision's last two maps have cells of 100 and 300 pixels whatever the size of the input,
    # so that theirs are compared at 300 x 300 alone
    'ssd300_wide': ('ssd300_vgg16', (300, 400))}
LEVELS_OF_ANY_SIZE = 4


def import_torchvision(folder):
    """Import it without its compiled operators."""
    sys.path.insert(0, str(folder))
    library = torch.library.Library('torchvision', 'DEF')
    for name in ('nms', 'qnms'):
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    library.impl('nms', plain_nms, 'CPU')
    import torchvision
    torchvision.extension._has_ops = lambda: True  # the one that is called is declared above
    return torchvision, library


def plain_nms(boxes, scores, iou_threshold):
    """Keep a box unless a better kept one overlaps it by more than the threshold."""
    kept, boxes = [], boxes.tolist()
    for index in scores.argsort(descending=True, stable=True).tolist():
        if all(iou(boxes[index], boxes[other]) <= iou_threshold for other in kept):
            kept.append(index)
    return torch.tensor(kept, dtype=torch.int64)


def iou(one, other):
    """Intersection over union of two boxes."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    shared = max(right - left, 0) * max(bottom - top, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def figures(torchvision, builder, size_hw, kept_priors):
    """Compute a case."""
    from torchvision.models.detection.transform import resize_boxes
    build = getattr(torchvision.models.detection, builder)
    model = build(weights=None, weights_backbone=None, num_classes=COLUMNS, **SETTINGS).eval()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(seeded_state(shapes))
    height, width = size_hw
    model.transform.fixed_size = (width, height)
    pixels = torch.from_numpy(seeded_image(size_hw, seed=1))
    image = pixels.permute(2, 0, 1) / 255
    with torch.inference_mode():
        batch, _ = model.transform([image])
        assert batch.tensors.shape[-2:] == size_hw
        features = list(model.backbone(batch.tensors).values())
        raw = model.head(features)
        anchors, = model.anchor_generator(batch, features)
        boxes = model.box_coder.decode_single(raw['bbox_regression'][0], anchors)
        boxes = torchvision.ops.clip_boxes_to_image(boxes, size_hw)
        scores = raw['cls_logits'][0].softmax(dim=-1)
        found, = model([image])
    comparable = len(boxes)
    if builder == 'ssd300_vgg16' and height != width:
        shapes_of_cells = model.anchor_generator.num_anchors_per_location()
        comparable = sum(level.shape[-2] * level.shape[-1] * count for level, count in zip(
            features[:LEVELS_OF_ANY_SIZE], shapes_of_cells))
    chosen = np.linspace(0, comparable - 1, min(kept_priors, comparable)).astype(np.int64)
    return shapes, {
        'priors': np.array(len(boxes)), 'chosen': chosen,
        'boxes': (boxes / torch.tensor([width, height] * 2)).numpy()[chosen],
        'scores': scores.numpy()[chosen],
        'found_boxes': resize_boxes(found['boxes'], size_hw, SOURCE_SIZE_HW).numpy(),
        'found_scores': found['scores'].numpy(), 'found_labels': found['labels'].numpy()}


def main():
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--torchvision', required=True, help='folder it is installed in')
    parser.add_argument('--output', default=Path(__file__).with_name('torchvision_figures.npz'))
    parser.add_argument('--kept-priors', type=int, default=150, help='of each case')
    options = parser.parse_args()
    torchvision, _library = import_torchvision(options.torchvision)
    arrays = {'version': np.array(torchvision.__version__)}
    for case, (builder, size_hw) in CASES.items():
        shapes, found = figures(torchvision, builder, size_hw, options.kept_priors)
        listed = [f'{name} {" ".join(map(str, shape))}' for name, shape in shapes.items()]
        arrays[f'shapes/{builder}'] = np.array('\n'.join(listed))
        arrays.update({f'{case}/{key}': value for key, value in found.items()})
        spread = np.ptp(found['scores'], axis=0)
        print(f'{case}: {found["priors"]} priors, {len(found["found_scores"])} detections of '
              f'labels {sorted(set(found["found_labels"].tolist()))}, scores spread by {spread}')
    np.savez_compressed(options.output, **arrays)
    print(f'{options.output}: {Path(options.output).stat().st_size / 1e3:.0f} kB')


if __name__ == '__main__':
    main()
