"""The ten images: those of the demo, and three in which there are several things."""

from pathlib import Path

import cv2

FOLDER = Path(__file__).parents[2] / 'config' / 'demo' / 'images'
ROWS = ([['dog', 'car']], [['astronaut', 'cameraman']],
        [['parrot', 'cat_face'], ['cameraman', 'dog']])


def sample_images(folder):
    """Write the ones that are put together to a folder; return the paths of all ten."""
    paths = sorted(FOLDER.glob('*.jpg'))
    for rows in ROWS:
        height_px, width_px = min(_beside(names).shape[:2] for names in rows)
        picture = cv2.vconcat([cv2.resize(_beside(names), (width_px, height_px))
                               for names in rows])
        paths.append(folder / ('-'.join(name for names in rows for name in names) + '.png'))
        cv2.imwrite(str(paths[-1]), picture)
    return paths


def _beside(names):
    pictures = [cv2.imread(str(FOLDER / f'{name}.jpg')) for name in names]
    height_px = min(len(picture) for picture in pictures)
    return cv2.hconcat([
        cv2.resize(picture, (round(picture.shape[1] * height_px / len(picture)), height_px))
        for picture in pictures])
