"""
Draw the pictures of docs/training_explained.md with the code that trains.

    python docs/figures/make.py [FOLDER]

Writes them beside this file, or into FOLDER.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import augmentation
import box_losses
import class_losses
import matching
from matplotlib.figure import Figure
import mining
from PIL import Image
import priors

HERE = Path(__file__).resolve().parent
FIGURES = {
    'priors': priors.draw,
    'matching': matching.draw,
    'mining': mining.draw,
    'augmentation': augmentation.draw,
    'class_losses': class_losses.draw,
    'box_losses': box_losses.draw,
}
_DPI = 100
_COLOURS = 256  # a palette makes files a third as large


def save(figure: Figure, path: Path) -> None:
    """
    Write a picture as a PNG with a palette, the same bytes every time.

    Args:
        figure: to write.
        path: of the file.
    """
    rendered = io.BytesIO()
    figure.savefig(rendered, format='png', dpi=_DPI, metadata={'Software': None})
    with Image.open(rendered) as image:
        small = image.convert('RGB').quantize(_COLOURS, kmeans=3)
    small.save(path, optimize=True)


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path, nargs='?', default=HERE, help='default: %(default)s')
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        path = folder / f'{name}.png'
        save(draw(), path)
        print(f'{path}: {path.stat().st_size / 1024:.0f} KB')


if __name__ == '__main__':
    main()
