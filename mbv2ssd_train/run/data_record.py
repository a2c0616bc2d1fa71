"""The data of a run, as its checkpoints store them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.identity import Learnt

_SOURCE = 'the checkpoint'


@dataclass(frozen=True)
class DataRecord:
    """What a run learns from and is measured on."""

    train: Learnt
    validation: Learnt
    inherited: Learnt  # of the weights that it began with
    annotations: str  # hash of both

    @property
    def learnt(self) -> Learnt:
        """All that the weights learnt from."""
        return self.train | self.inherited

    def to_dict(self) -> dict[str, str]:
        """Return the texts that a checkpoint stores."""
        return {'train': self.train.to_text(), 'validation': self.validation.to_text(),
                'inherited': self.inherited.to_text(), 'annotations': self.annotations}

    @classmethod
    def from_dict(cls, found: Mapping[str, str]) -> DataRecord:
        """Read to_dict; DataError for anything else."""
        try:
            train, validation, inherited = (Learnt.from_text(found[name], _SOURCE) for name in
                                            ('train', 'validation', 'inherited'))
            return cls(train, validation, inherited, found['annotations'])
        except KeyError as err:
            raise DataError(f'{_SOURCE}: its record of the data lacks {err}') from err

    def refuse_changes(self, now: DataRecord) -> None:
        """Raise DataError where the data are not those of this record: a run would mix them."""
        changes = [
            f'{name}: {len(new)} images are new, {len(gone)} are gone'
            for name, before, after in (('training', self.train, now.train),
                                        ('validation', self.validation, now.validation))
            if len(new := after.without(before)) + len(gone := before.without(after))]
        if not changes and self.annotations != now.annotations:
            changes = ['boxes, labels or the order of the images differ']
        if changes:
            raise DataError(
                f'the data changed since this run was saved: {"; ".join(changes)}. Restore them, '
                'or start another run (change name) with model.weights set to its best.pt')
