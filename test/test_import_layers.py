"""No import runs in a circle or back up within a folder, and folders are small enough to read."""

import graphlib
from pathlib import Path

import pytest
from test_imports import imported_names, modules_of

from helpers.paths import ROOT

PACKAGES = ('mbv2ssd_ros', 'mbv2ssd_train')
# Files and folders that a folder may show; __init__.py and __pycache__ do not count.
MOST_ENTRIES = {'mbv2ssd_ros/evaluation': 16, 'mbv2ssd_ros/tools': 16, 'mbv2ssd_train/data': 7}


def imports_of_modules(root=ROOT):
    """Return {module: modules of the two packages that its code imports, at any depth}."""
    modules = {name: path for package in PACKAGES
               for name, path in modules_of(package, root).items()}
    return {name: {found for target in imported_names(name, path)
                   if (found := module_of(target, modules)) and found != name}
            for name, path in modules.items()}


def module_of(target, modules):
    """Return the module that has an imported name, or None where it is of neither package."""
    while target and target not in modules:
        target = target.rpartition('.')[0]
    return target or None


def circle(graph):
    """Return names that import each other in a ring, the first one twice; empty: there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as err:
        return err.args[1][::-1]
    return []


def folders(graph):
    """Return every package, '' for the one above the two, that has modules."""
    found = {''}
    for name in graph:
        while name := name.rpartition('.')[0]:
            found.add(name)
    return sorted(found)


def entries_graph(graph, folder):
    """
    Look at a folder as its listing does: files and folders that import each other.

    Returns:
        {entry: entries it imports}, and {(entry, entry): an import of one module by another}.
    """
    entries, examples = {}, {}
    for name, targets in graph.items():
        upper = entry_of(name, folder)
        for target in sorted(targets):
            lower = entry_of(target, folder)
            if upper and lower and upper != lower:
                entries.setdefault(upper, set()).add(lower)
                examples.setdefault((upper, lower), f'{name} imports {target}')
    return entries, examples


def entry_of(name, folder):
    """Return the file or folder below a folder that a module belongs to; None: to none."""
    if name == folder:
        return '__init__'
    start = f'{folder}.' if folder else ''
    return name.removeprefix(start).partition('.')[0] if name.startswith(start) else None


def imports_back_up(graph):
    """Return the imports that keep the entries of some folder from having an order."""
    for folder in folders(graph):
        entries, examples = entries_graph(graph, folder)
        ring = circle(entries)
        if ring:
            return [examples[pair] for pair in zip(ring, ring[1:])]
    return []


def listing(folder):
    """Return the names that a folder shows."""
    return sorted(path.name for path in folder.iterdir()
                  if path.name not in ('__init__.py', '__pycache__'))


def test_no_files_import_each_other_in_a_circle():
    assert circle(imports_of_modules()) == []


def test_the_entries_of_every_folder_have_an_order():
    assert imports_back_up(imports_of_modules()) == []


@pytest.mark.parametrize(('folder', 'most'), MOST_ENTRIES.items())
def test_a_folder_shows_no_more_than_one_reads_at_a_glance(folder, most):
    found = listing(ROOT / folder)
    assert len(found) <= most, found


def test_no_module_is_named_after_nothing():
    vague = {'utils', 'util', 'helpers', 'helper', 'common', 'misc'}
    found = [name for name in imports_of_modules() if vague & set(name.split('.'))]
    assert found == []


def planted(root, **sources):
    """Write modules of mbv2ssd_ros below a folder; `core__nms` is core/nms.py."""
    for name, source in sources.items():
        path = root / 'mbv2ssd_ros' / Path(*name.split('__')).with_suffix('.py')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding='utf-8')
    return imports_of_modules(root)


def test_a_planted_circle_is_found_though_it_is_imported_late(tmp_path):
    graph = planted(tmp_path, core__a='from mbv2ssd_ros.core import b',
                    core__b='def later():\n    from .a import name')
    ring = circle(graph)
    assert len(ring) == 3 and set(ring) == {'mbv2ssd_ros.core.a', 'mbv2ssd_ros.core.b'}


def test_a_planted_import_back_up_is_found_though_no_file_is_in_a_circle(tmp_path):
    graph = planted(tmp_path, upper__a='from mbv2ssd_ros.lower.b import name', lower__b='',
                    lower__c='from mbv2ssd_ros.upper.d import name', upper__d='')
    assert circle(graph) == []
    assert set(imports_back_up(graph)) == {
        'mbv2ssd_ros.upper.a imports mbv2ssd_ros.lower.b',
        'mbv2ssd_ros.lower.c imports mbv2ssd_ros.upper.d'}


def test_imports_that_only_go_down_are_no_circle(tmp_path):
    graph = planted(tmp_path, upper__a='from mbv2ssd_ros.lower.b import name\nimport numpy',
                    upper__e='from mbv2ssd_ros.upper import a', lower__b='')
    assert (circle(graph), imports_back_up(graph)) == ([], [])


def test_init_and_bytecode_are_not_counted(tmp_path):
    for name in ('a.py', '__init__.py', 'folder/__init__.py', '__pycache__/a.pyc'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert listing(tmp_path) == ['a.py', 'folder']
