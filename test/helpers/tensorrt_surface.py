"""
Names and parameters of NVIDIA's Python bindings, as a snapshot that needs no binding.

`python test/helpers/tensorrt_surface.py WHEELS` writes tensorrt_surface.json anew. WHEELS is a
folder with the wheels of VERSIONS, fetched with `pip download --no-deps <name>==<version>`. They
import without a GPU and without libnvinfer: their undefined symbols are a handful of C
functions, and a library that defines them as returning null satisfies the loader. Only names and
parameter names are kept; no file of NVIDIA's is.
"""

from __future__ import annotations

import json
from pathlib import Path
import re
import subprocess
import sys
import tempfile
import zipfile

SNAPSHOT = Path(__file__).with_name('tensorrt_surface.json')
VERSIONS = {  # name of the version here: (distribution, its version, soname number)
    '8.6': ('tensorrt_bindings', '8.6.1', '8'),
    '10.3': ('tensorrt_cu12_bindings', '10.3.0', '10'),
    '10.16': ('tensorrt_cu12_bindings', '10.16.1.11', '10'),
    '11.4': ('tensorrt_cu12_bindings', '11.4.0.106', '11'),
}
CLASSES = (
    'Builder', 'BuilderFlag', 'DataType', 'ErrorCode', 'IBuilderConfig', 'ICudaEngine',
    'IExecutionContext', 'IHostMemory', 'ILayer', 'ILogger', 'INetworkDefinition',
    'IOptimizationProfile', 'IProgressMonitor', 'ITensor', 'ITimingCache', 'LayerType', 'Logger',
    'MemoryPoolType', 'NetworkDefinitionCreationFlag', 'OnnxParser', 'ParserError', 'Runtime',
    'TensorIOMode', 'TensorLocation')

# Runs where one version is unpacked: prints {class: {name: parameters}}. Parameters are null for
# what is no function, and a list of names for each overload otherwise.
DUMP = r'''
import ctypes, importlib, json, re, sys
folder, package, classes, libraries = json.loads(sys.argv[1])
for library in libraries:
    ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
sys.path.insert(0, folder)
trt = importlib.import_module(package)

def overloads(doc):
    found = []
    for line in (doc or '').splitlines():
        match = re.match(r'(?:\d+\. )?\w+\((.*)\) -> ', line)
        if match:
            depth, part, parts = 0, '', []
            for character in match[1] + ',':
                depth += character in '[('
                depth -= character in '])'
                if character == ',' and not depth:
                    parts.append(part)
                    part = ''
                else:
                    part += character
            found.append([name for name in (p.split(':')[0].strip() for p in parts)
                          if name and name != 'self'])
    return found or None

def surface(kind):
    found = {}
    for name in dir(kind):
        if name.startswith('_') and name != '__init__':
            continue
        member = getattr(kind, name)
        found[name] = overloads(member.__doc__) if callable(member) else None
    return found

print(json.dumps({
    'module': sorted(name for name in dir(trt) if not name.startswith('_')),
    'classes': {name: surface(getattr(trt, name)) for name in classes if hasattr(trt, name)}}))
'''


def undefined_symbols(binding: Path) -> list[str]:
    """List the C functions that a binding expects of NVIDIA's libraries."""
    listed = subprocess.run(['nm', '-D', '--undefined-only', str(binding)], check=True,
                            capture_output=True, text=True).stdout
    names = [line.split()[-1].partition('@')[0] for line in listed.splitlines()]
    return [name for name in names if re.search(
        r'nvinfer|nvonnx|nvcaffe|nvuff|_INTERNAL$|PluginRegistry$|NvOnnxParser|NvInferPlugins',
        name)]


def dump(wheel: Path, soname_number: str) -> dict[str, object]:
    """Import the binding of a wheel in a process of its own and list its names."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        zipfile.ZipFile(wheel).extractall(folder)
        binding = next(folder.glob('tensorrt*/tensorrt*.so'))
        source = folder / 'null.c'
        source.write_text(''.join(
            f'void *{name}(void) {{ return 0; }}\n' for name in undefined_symbols(binding)))
        libraries = []
        for name in ('nvinfer', 'nvonnxparser', 'nvinfer_plugin', 'nvparsers'):
            soname = f'lib{name}.so.{soname_number}'
            libraries.append(str(folder / soname))
            subprocess.run(
                ['gcc', '-shared', '-fPIC', f'-Wl,-soname,{soname}', '-o', libraries[-1],
                 str(source)], check=True)
        arguments = json.dumps([str(folder), binding.parent.name, CLASSES, libraries])
        printed = subprocess.run([sys.executable, '-c', DUMP, arguments], check=True,
                                 capture_output=True, text=True).stdout
    found = json.loads(printed)
    assert isinstance(found, dict)
    return found


def take_snapshot(wheels: Path) -> dict[str, object]:
    """List the names of every version whose wheel is in a folder or below it."""
    found = {}
    for version, (distribution, number, soname_number) in VERSIONS.items():
        wheel = next(wheels.rglob(f'{distribution}-{number}-*.whl'), None)
        if wheel is None:
            raise FileNotFoundError(
                f'{wheels} has no wheel of {distribution} {number}; fetch it with '
                f'`pip download --no-deps {distribution}=={number}`')
        found[version] = dump(wheel, soname_number)
    return found


def as_text(snapshot: dict[str, object]) -> str:
    """Write a snapshot the way it is kept: a class a line, so that a change can be read."""
    lines = []
    for version, found in snapshot.items():
        assert isinstance(found, dict)
        entries = [f'  "module": {json.dumps(found["module"])}']
        entries += [f'  {json.dumps(name)}: {json.dumps(members, sort_keys=True)}'
                    for name, members in sorted(found['classes'].items())]
        lines.append(f'{json.dumps(version)}: {{\n' + ',\n'.join(entries) + '\n}')
    return '{\n' + ',\n'.join(lines) + '\n}\n'


if __name__ == '__main__':
    SNAPSHOT.write_text(as_text(take_snapshot(Path(sys.argv[1]))), encoding='utf-8')
