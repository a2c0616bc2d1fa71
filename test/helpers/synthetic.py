"""
A small world for training tests: discs, squares and triangles on images that are wider than high.

Written as a VOC tree, so that the tests enter through the door that users take.
"""

from pathlib import Path

import cv2
import numpy as np

SHAPES = ('disc', 'square', 'triangle')
SIZE_HW = (90, 120)
_COLOURS_BGR = {'disc': (40, 40, 220), 'square': (50, 190, 40), 'triangle': (220, 90, 40)}


def voc_xml(image_id, size_hw, objects, suffix='jpg'):
    """
    Return an annotation as VOC has it.

    Args:
        image_id: file name without suffix.
        size_hw: of the image.
        objects: (class name, (xmin, ymin, xmax, ymax) 1-based inclusive, difficult 0 or 1).
        suffix: of the image file.
    """
    parts = [
        f'<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>'
        f'<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>'
        '</bndbox></object>'
        for name, (xmin, ymin, xmax, ymax), difficult in objects]
    return (f'<annotation><filename>{image_id}.{suffix}</filename><size><width>{size_hw[1]}'
            f'</width><height>{size_hw[0]}</height><depth>3</depth></size>{"".join(parts)}'
            '</annotation>')


def add_image(tree, image_id, pixels, objects, size_hw=None):
    """Write an image (PNG) and its annotation into a VOC tree; objects as in voc_xml."""
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(tree / 'JPEGImages' / f'{image_id}.png'), pixels)
    (tree / 'Annotations' / f'{image_id}.xml').write_text(
        voc_xml(image_id, size_hw or pixels.shape[:2], objects, 'png'))


def add_list(tree, split, image_ids):
    """Write ImageSets/Main/SPLIT.txt."""
    (tree / 'ImageSets' / 'Main').mkdir(parents=True, exist_ok=True)
    (tree / 'ImageSets' / 'Main' / f'{split}.txt').write_text(''.join(f'{i}\n' for i in image_ids))


def write_world(tree: Path, seed=0, **images_of_split):
    """
    Write a VOC tree of shapes.

    Args:
        tree: folder to make.
        seed: of everything drawn.
        **images_of_split: number of images of each split, e.g. train=8, val=4.

    Returns:
        The folder.
    """
    rng = np.random.default_rng(seed)
    for split, count in images_of_split.items():
        ids = [f'{split}{number:04}' for number in range(count)]
        for image_id in ids:
            add_image(tree, image_id, *draw_scene(rng))
        add_list(tree, split, ids)
    return tree


def draw_scene(rng):
    """Draw one to three shapes that do not overlap; return pixels (BGR) and VOC objects."""
    height, width = SIZE_HW
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = rng.integers(60, 200)
    pixels += rng.integers(0, 30, pixels.shape, dtype=np.uint8)
    objects, taken = [], np.zeros((height, width), bool)
    for _ in range(rng.integers(1, 4)):
        name, side = SHAPES[rng.integers(3)], int(rng.integers(24, 48))
        left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        if taken[top:top + side, left:left + side].any():
            continue
        taken[top:top + side, left:left + side] = True
        colour = np.clip(np.array(_COLOURS_BGR[name]) + rng.integers(-30, 31, 3), 0, 255).tolist()
        _draw(pixels, name, left, top, side, colour)
        objects.append((name, (left + 1, top + 1, left + side, top + side), 0))
    return pixels, objects


def _draw(pixels, name, left, top, side, colour):
    right, bottom = left + side - 1, top + side - 1  # the last pixels that are painted
    if name == 'square':
        cv2.rectangle(pixels, (left, top), (right, bottom), colour, cv2.FILLED)
    elif name == 'disc':
        ys, xs = np.mgrid[:side, :side] - (side - 1) / 2
        pixels[top:bottom + 1, left:right + 1][ys ** 2 + xs ** 2 <= (side / 2) ** 2] = colour
    else:
        corners = np.array([[left + side // 2, top], [left, bottom], [right, bottom]], np.int32)
        cv2.fillPoly(pixels, [corners], colour)
