"""Every key of a configuration is looked at by some run: none is there for show."""

import pytest

from helpers.model_settings import SMALL, small_run
from helpers.synthetic import write_world
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.config.section import Section
from mbv2ssd_train.deploy.contract import build_network
from mbv2ssd_train.engine import Trainer

# handed over whole: to the selector of the run time, and to experiment.json
WHOLE = {('EvaluationConfig', name) for name in (
    'score_threshold', 'nms_iou', 'max_detections', 'max_candidates')} | {
    ('ExperimentConfig', name) for name in ('description', 'author', 'created', 'tags')}
RUNS = (
    {},
    {'match': {'method': 'atss'}, 'loss': {'classification': 'focal', 'box': 'giou'},
     'schedule': {'name': 'step'}, 'data': {'sampling': 'class_balanced'}},
    {'match': {'method': 'task_aligned'}, 'schedule': {'name': 'multistep'}})


def every_key(section=TrainConfig):
    """List section and name of all keys."""
    for name, field in section.model_fields.items():
        if hasattr(field.annotation, 'model_fields'):
            yield from every_key(field.annotation)
        else:
            yield section.__name__, name


@pytest.fixture
def looked_at(monkeypatch):
    """Give a set of sections and keys that fills while they are read; clear it to begin."""
    found = set()

    def look(section, name):
        found.add((type(section).__name__, name))
        return object.__getattribute__(section, name)

    monkeypatch.setattr(Section, '__getattribute__', look, raising=False)
    return found


def test_every_key_is_looked_at(tmp_path, looked_at):
    world, used = write_world(tmp_path / 'world', train=4, val=1), set()
    teacher = Trainer(small_run(world), tmp_path / 'teacher')
    teacher.save()
    for number, sections in enumerate(RUNS):
        # no warm-up: it would hide the schedule in so short a run
        sections = {'training': {'epochs': 2, 'eval_every': 1, 'batch_size': 2, 'threads': 1},
                    'distill': {'teacher': str(teacher.folder.last)} if number == 2 else {},
                    **sections, 'schedule': {'warmup_fraction': 0, **sections.get('schedule', {})}}
        config = small_run(world, **sections)
        looked_at.clear()  # a configuration looks at itself when it is made
        Trainer(config, tmp_path / str(number)).run()
        used |= looked_at
    config = small_run(world, model={**SMALL, 'backbone': 'mobilenet_v3_large',
                                     'neck': 'fpn_lite'})
    looked_at.clear()
    build_network(config)
    assert sorted(set(every_key()) - used - looked_at - WHOLE) == []
