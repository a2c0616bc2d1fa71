"""The base of every section of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=32, le=8192)]  # of a network input, pixels


class Section(BaseModel):
    """
    Typed keys; unknown keys, and keys without effect, are errors.

    `only_with = {'focal_gamma': ('classification', ('focal',))}` refuses a focal_gamma other than
    the default unless classification is focal. Defaults pass, so that a complete file can be read.
    """

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)
    only_with: ClassVar[Mapping[str, tuple[str, tuple[Any, ...]]]] = {}
    local_keys: ClassVar[frozenset[str]] = frozenset()  # no result depends on them
    path_keys: ClassVar[frozenset[str]] = frozenset()  # files; only their names count

    @model_validator(mode='after')
    def _every_key_has_an_effect(self) -> Self:
        for key, (other, values) in self.only_with.items():
            default = type(self).model_fields[key].get_default(call_default_factory=True)
            if getattr(self, key) != default and getattr(self, other) not in values:
                raise ValueError(
                    f'{key} has no effect with {other}: {getattr(self, other)}; leave it out, or '
                    f'set {other} to {" or ".join(map(str, values))}')
        return self
