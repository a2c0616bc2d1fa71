"""Initial weights of a network: ImageNet weights for the backbone, or a model of this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn, Tensor

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config import ModelConfig, parse_config, parse_model_section, TrainConfig
from mbv2ssd_train.model.backbone import Backbone
from mbv2ssd_train.model.fake_quantise import RANGE
from mbv2ssd_train.model.fold import fold_batch_norm, unfold_batch_norm
from mbv2ssd_train.model.heads import predictor
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.run.checkpoint import load_checkpoint
from mbv2ssd_train.weights.files import (
    find_weights,
    read_exported,
    read_exported_float32,
    read_state_dict,
    short_hash,
)
from mbv2ssd_train.weights.head_transfer import HeadLayout, Scores, translate_heads

_BACKBONE = 'backbone.'
_COUNTER = 'num_batches_tracked'  # of BatchNorm; files of other frameworks lack it
# settings that weights were trained for and that their shapes do not show
_CIRCUMSTANCES = ('mean', 'std', 'stride2_padding')


def load_start(network: SSD, config: TrainConfig) -> str:
    """
    Load the weights that a configuration starts with into a network, in place.

    Returns:
        What was loaded and what starts at random, for the log; '' where no file is named.

    Raises:
        DataError: a file is missing, or is for another backbone.
        ContractError: the metadata of an exported model cannot be read.
    """
    model = config.model
    if model.weights:
        scores = Scores(config.data.classes, config.sigmoid_scores)
        if config.has_fake_quantization:
            return _load_fake_quantized(network, config, model.weights, scores)
        found = load_network(network, model.weights, scores, model)
        if Path(model.weights).suffix == '.onnx' and not config.training.freeze_bn:
            found += ('; an exported model has no BatchNorm statistics to continue from: set '
                      'training.freeze_bn, or start from its checkpoint')
        return found
    if model.backbone_weights:
        left = load_backbone(network.backbone, model.backbone_weights)
        found = short_hash(Path(model.backbone_weights))
        return (f'{model.backbone_weights} (sha256 {found}): backbone taken; '
                f'{", ".join([*left, "extras and heads"])} begin at random')
    return ''


def _load_fake_quantized(network: SSD, config: TrainConfig, weights: str, scores: Scores) -> str:
    """Load weights into a fake-quantized network, whose BatchNorms are folded."""
    plain = SSD(config.model, config.score_columns, config.sigmoid_scores)
    found = load_network(plain, weights, scores, config.model)
    missing, unknown = network.load_state_dict(fold_batch_norm(plain).state_dict(), strict=False)
    assert not unknown and all(name.endswith(RANGE) for name in missing)
    ranges = config.quantize.ranges_from
    if ranges is None:
        return found
    from mbv2ssd_train.onnx_files.ranges import load_ranges  # here: it needs onnx
    return f'{found}; {load_ranges(network, ranges)} ranges taken from {ranges}'


def load_network(network: SSD, path: str | Path, scores: Scores,
                 model: ModelConfig | None = None) -> str:
    """
    Load all weights of a model that fit; the others stay unchanged.

    Heads for other prior boxes or classes are translated where the model's configuration is known.

    Args:
        path: a checkpoint of this package (.pt), or an .onnx file that it exported.
        scores: of the network.
        model: of the network, to compare with that of the weights; None: nothing to compare,
            heads are loaded untranslated or not at all.

    Returns:
        How many tensors were loaded, which were not and why, and how the training differed.

    Raises:
        DataError: no such file, or its backbone is not that of the network.
        ContractError: the metadata of an exported model cannot be read.
    """
    source = find_weights(path)
    if not source.is_file():
        raise DataError(f'{source.absolute()}: no such weights; set model.weights to a '
                        'checkpoint (.pt), an exported model (.onnx) or the name of a model of '
                        'the package, or to null to start otherwise')
    found, found_scores, learnt = (
        _exported if source.suffix == '.onnx' else _checkpoint)(network, source)
    changes: list[str] = []
    if learnt is not None and model is not None:
        source_heads, heads = HeadLayout(learnt, found_scores), HeadLayout(model, scores)
        if changes := source_heads.differences(heads):
            found = translate_heads(found, source_heads, heads)
            if found_scores.knows_one_of(scores.classes):
                found_scores = scores
    wanted = {name: value for name, value in network.state_dict().items()
              if not name.endswith(_COUNTER)}
    refused = {name: why for name, value in wanted.items()
               if (why := _misfit(found.get(name), value))}
    _require_backbone(source, wanted, found, refused)
    if reason := found_scores.difference(scores):
        refused.update(dict.fromkeys(_class_predictors(network), _Refusal(reason)))
    network.load_state_dict({name: found[name] for name in wanted if name not in refused},
                            strict=False)
    taken = (f'{source} (sha256 {short_hash(source)}): {len(wanted) - len(refused)} of '
             f'{len(wanted)} tensors taken')
    translated = [f'heads translated: {"; ".join(changes)}'] if changes else []
    return '; '.join([taken, *translated, *_explain(refused), *_compare(learnt, model)])


_Found = tuple[Mapping[str, Tensor], Scores, ModelConfig | None]  # None where it is unknown


def _checkpoint(network: SSD, source: Path) -> _Found:
    checkpoint = load_checkpoint(source)
    config = parse_config(checkpoint.config, f'{source}: its configuration')
    weights = checkpoint.averaged
    if config.has_fake_quantization:  # without BatchNorm; its ranges are not loaded
        weights = unfold_batch_norm(network, {name: value for name, value in weights.items()
                                              if not name.endswith(RANGE)})
    return weights, Scores(config.data.classes, config.sigmoid_scores), config.model


def _exported(network: SSD, source: Path) -> _Found:
    weights, contract = read_exported_float32(
        source, 'only a float32 file that `mbv2ssd_train export` wrote can be trained further')
    try:
        learnt = parse_model_section(contract.provenance.config, str(source))
    except ConfigError:  # of another version of this package
        learnt = None
    return (unfold_batch_norm(network, weights),
            Scores(contract.object_names, contract.background_index is None), learnt)


def _compare(learnt: ModelConfig | None, model: ModelConfig | None) -> list[str]:
    if model is None:
        return []
    if learnt is None:
        return ['its configuration cannot be read, heads are not translated; is it of another '
                'version of this package?']
    changes = [f'{key} {getattr(learnt, key)} -> {getattr(model, key)}' for key in _CIRCUMSTANCES
               if getattr(learnt, key) != getattr(model, key)]
    return [f'learnt with another {change}' for change in changes]


@dataclass(frozen=True)
class _Refusal:
    """Why a tensor of a file is not loaded."""

    reason: str
    detail: str = ''


def _misfit(found: Tensor | None, wanted: Tensor) -> _Refusal | None:
    if found is None:
        return _Refusal('not in the file')
    if found.shape != wanted.shape:
        return _Refusal('other shapes', f' {tuple(found.shape)} -> {tuple(wanted.shape)}')
    return None


def _require_backbone(source: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor],
                      refused: Mapping[str, _Refusal]) -> None:
    faults = [f'{name}: {why.reason}{why.detail}' for name, why in refused.items()
              if name.startswith(_BACKBONE)]
    faults += [f'{name}: not in this network' for name in found
               if name.startswith(_BACKBONE) and name not in wanted
               and not name.endswith(_COUNTER)]
    if faults:
        raise DataError(
            f'{source}: its backbone is another one, {len(faults)} of its tensors differ: '
            f'{faults[0]}. Set model.backbone, width_mult, min_depth and reduced_tail to those of '
            'the file')


def _class_predictors(network: SSD) -> list[str]:
    layers = {predictor(head) for head in network.conf_heads}
    return [f'{name}.{parameter}' for name, module in network.named_modules() if module in layers
            for parameter, _ in module.named_parameters()]


def _explain(refused: Mapping[str, _Refusal]) -> list[str]:
    """Report the tensors of one part with one reason in one line."""
    lines: dict[tuple[str, str], list[str]] = {}
    for name, why in refused.items():
        part, _, rest = name.partition('.')
        lines.setdefault((part, why.reason), []).append(f'{rest}{why.detail}')
    return [f'{part}: {reason}: {len(names)} tensors begin at random ({", ".join(names)})'
            for (part, reason), names in lines.items()]


def load_backbone(backbone: Backbone, path: str | Path) -> list[str]:
    """
    Load weights into the backbone, in place; return the layers that the file cannot have.

    Those are VGG16's layers after `features`, which the classifier has in another form: they stay
    random. path is a state dict with the key names of torchvision's classifier (.safetensors, or
    saved by torch), or an .onnx file exported by this package. DataError: no such file, or other
    keys or shapes than this backbone's.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f'{source.absolute()}: no such weights; set model.backbone_weights to a '
                        'torchvision state dict of this backbone, or to null to start from random '
                        'weights')
    features = (_exported_features if source.suffix == '.onnx' else _saved_features)(
        backbone, source)
    wanted = [name for name in backbone.state_dict()
              if source.suffix == '.onnx' or name.startswith('features.')]
    try:
        _, unexpected = backbone.load_state_dict(features, strict=False)
    except RuntimeError as err:
        raise DataError(f'{source}: its layers have other sizes than this backbone; are '
                        'model.backbone, model.width_mult and model.reduced_tail those of the '
                        f'file? {_first_fault(err)}') from err
    missing = [name for name in wanted if name not in features and not name.endswith(_COUNTER)]
    if missing or unexpected:
        raise DataError(f'{source}: not the weights of this backbone: missing {missing[:5]}, '
                        f'unexpected {unexpected[:5]}')
    return sorted({name.partition('.')[0] for name in backbone.state_dict()
                   if name not in wanted})


def _exported_features(backbone: Backbone, source: Path) -> dict[str, Tensor]:
    weights, _ = read_exported(source)
    folded = {name.removeprefix(_BACKBONE): value for name, value in weights.items()
              if name.startswith(_BACKBONE)}
    if not folded:
        first = next(iter(backbone.state_dict()))
        raise DataError(f'{source}: has no backbone layer {first!r}; was it exported by '
                        '`mbv2ssd_train export` in float32?')
    return unfold_batch_norm(backbone, folded)


def _saved_features(_: nn.Module, source: Path) -> dict[str, Tensor]:
    return {name: value.float() if value.is_floating_point() else value
            for name, value in read_state_dict(source).items() if name.startswith('features.')}


def _first_fault(err: RuntimeError) -> str:
    """Return the first of load_state_dict's lines that names a layer."""
    _, *layers = str(err).splitlines()
    return layers[0].strip() if layers else str(err)
