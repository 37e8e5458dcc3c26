"""Our weights -> a folder that ``DabDetrForObjectDetection.from_pretrained`` reads.

Their code is one detector, up to the settings in ``config.json``. :func:`detector` builds the same
one from our parts (``configs/_base_/models/dab_detr_r50.py``). A detector that differs from it in
anything that changes a prediction is refused; the message names the key that differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.models.backbones import ResNet
from mmengine.config import Config, ConfigDict
from torch import Tensor, nn

from mmdet_dab.checkpoints.huggingface import HUGGINGFACE, HUGGINGFACE_TIMM
from mmdet_dab.config_files import CONFIGS
from mmdet_dab.errors import CheckpointError
from mmdet_dab.registry import MODELS

#: Attributes that change a training or freeze a part, but not a prediction.
FREE = {
    'frozen_stages',
    'momentum',
    'norm_eval',
    'training',
    'with_cp',
    'zero_init_residual',
    'init_cfg',
    # Theirs is 1e-5, see REMARK.
    'decoder.anchor_update.eps',
    'bbox_head.eps',
}
REMARK = (
    "Hugging Face's code clamps σ⁻¹ at 1e-5, ours as the authors' at 1e-3: boxes may differ where an anchor is within "
    '1e-3 of the border'
)
#: Parts that do not change boxes and scores, or are not part of the detector there.
SKIPPED = ('data_preprocessor', 'bbox_head.loss_', 'bbox_head.matcher', 'bbox_head.selection')
#: mmdet's depth of a ResNet by its kind of block and the number of blocks in a stage.
DEPTHS = {
    ('bottleneck' if block.expansion == 4 else 'basic', blocks): depth
    for depth, (block, blocks) in ResNet.arch_settings.items()
}
ACTIVATIONS = {'PReLU': 'prelu', 'ReLU': 'relu'}


def export(
    folder: Path, model: Any, state: Mapping[str, Tensor], classes: Sequence[str] | None, pipeline: Sequence[dict]
) -> None:
    """Write ``model.safetensors``, ``config.json`` and ``preprocessor_config.json``.

    Args:
        folder: is created if need be.
        model: the detector of the weights; only its structure is used.
        state: our weights.
        classes: names of the class rows, or None.
        pipeline: transforms of the config's test dataset, for the size of its images.

    Raises:
        CheckpointError: safetensors is not installed, or the detector has no equal there.
    """
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise CheckpointError(
            'writing for Hugging Face needs the package safetensors: pip install safetensors'
        ) from error
    settings = config(model, classes)
    layout = HUGGINGFACE_TIMM if settings['use_timm_backbone'] else HUGGINGFACE
    # Their frozen norms do not count batches.
    weights = layout.from_ours({name: w for name, w in state.items() if not name.endswith('num_batches_tracked')})
    folder.mkdir(parents=True, exist_ok=True)
    # One by one: in a file of ours several may lie in one another, as views of one storage.
    apart = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()}
    save_file(apart, folder / 'model.safetensors', {'format': 'pt'})
    images = preprocessing(model.data_preprocessor, pipeline)
    for name, content in (('config', settings), ('preprocessor_config', images)):
        (folder / f'{name}.json').write_text(json.dumps(content, indent=2) + '\n')


def config(model: Any, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """``config.json`` of a detector of ours.

    Raises:
        CheckpointError: the detector computes something that theirs cannot; names the key and both
            values.
    """
    try:
        settings = _settings(model)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"Hugging Face's DabDetrForObjectDetection has no equal of this detector: {error}"
        ) from error
    theirs = facts(MODELS.build(detector(settings)))
    ours = facts(model)
    for key in [*ours, *theirs]:
        if ours.get(key) != theirs.get(key):
            raise CheckpointError(
                f"Hugging Face's DabDetrForObjectDetection has no equal of this detector: model.{key} is "
                f'{ours.get(key)!r}, and would have to be {theirs.get(key)!r}'
            )
    names = classes or [f'class {index}' for index in range(model.bbox_head.num_classes)]
    labels = {'id2label': dict(enumerate(names)), 'label2id': {name: index for index, name in enumerate(names)}}
    return {'architectures': ['DabDetrForObjectDetection'], 'model_type': 'dab-detr', **settings, **labels}


def _settings(model: Any) -> dict[str, Any]:
    """The structure for ``config.json``, from the first layers."""
    queries, encoder, decoder = model.query_generator, model.encoder.layers[0], model.decoder.layers[0]
    return {
        **_backbone(model.backbone),
        'use_pretrained_backbone': False,
        'hidden_size': queries.embed_dims,
        'num_queries': len(queries.centers),
        'num_patterns': 0 if queries.patterns is None else len(queries.patterns),
        'random_refpoints_xy': not isinstance(queries.centers, nn.Parameter),
        'num_labels': model.bbox_head.num_classes,
        'temperature_height': model.positional_encoder.temperature,
        'temperature_width': model.positional_encoder.temperature,
        'encoder_layers': len(model.encoder.layers),
        'encoder_attention_heads': encoder.self_attention.num_heads,
        'encoder_ffn_dim': encoder.feed_forward.expand.out_features,
        'decoder_layers': len(model.decoder.layers),
        'decoder_attention_heads': decoder.self_attention.num_heads,
        'decoder_ffn_dim': decoder.feed_forward.expand.out_features,
        'activation_function': ACTIVATIONS[type(decoder.feed_forward.activation).__name__],
        'keep_query_pos': model.decoder.layers[-1].cross_attention.query_position is not None,
        'dropout': decoder.dropout.p,
        'attention_dropout': decoder.self_attention.dropout,
        'activation_dropout': decoder.feed_forward.dropout.p,
    }


def _backbone(resnet: Any) -> dict[str, Any]:
    """Their own ResNet, or timm's for a dilated one, which theirs cannot be."""
    if type(resnet).__name__ == 'DilatedResNet':
        return {
            'use_timm_backbone': True,
            'backbone': f'resnet{resnet.depth}',
            'backbone_config': None,
            'dilation': True,
        }
    if resnet.num_stages != 4:
        raise CheckpointError(
            f"model.backbone.num_stages is {resnet.num_stages}: Hugging Face's DAB-DETR uses the fourth"
        )
    widths = [resnet.base_channels * resnet.block.expansion * 2**stage for stage in range(4)]
    own = {
        'model_type': 'resnet',
        'embedding_size': resnet.stem_channels,
        'hidden_sizes': widths,
        'depths': list(resnet.stage_blocks),
        'layer_type': 'basic' if resnet.block.expansion == 1 else 'bottleneck',
        'out_features': ['stage4'],
    }
    return {'use_timm_backbone': False, 'backbone': None, 'backbone_config': own}


def detector(settings: Mapping[str, Any]) -> ConfigDict:
    """Our config of the detector that their code builds from ``settings``, a part of
    ``config.json``.
    """
    config = Config.fromfile(CONFIGS / '_base_' / 'models' / 'dab_detr_r50.py', import_custom_modules=False)
    encoder, decoder = (_layer(settings, stack) for stack in ('encoder', 'decoder'))
    # They drop out hidden units of the encoder at the rate of its residual branches.
    encoder['feed_forward']['dropout'] = settings['dropout']
    decoder['cross_attention'] = {
        **decoder['self_attention'],
        'position_in_content': settings['keep_query_pos'],
    }
    changes = dict(
        **_features(settings),
        embed_dims=settings['hidden_size'],
        num_classes=settings['num_labels'],
        positional_encoder=dict(temperature=settings['temperature_height']),
        encoder=dict(num_layers=settings['encoder_layers'], layer=encoder),
        query_generator=dict(num_queries=settings['num_queries'], num_patterns=settings['num_patterns']),
        decoder=dict(num_layers=settings['decoder_layers'], layer=decoder),
    )
    config.merge_from_dict({'model': changes})
    return config.model


def _layer(settings: Mapping[str, Any], stack: str) -> dict[str, Any]:
    """What ``settings`` say of a layer of the ``'encoder'`` or ``'decoder'``."""
    activation = {theirs: ours for ours, theirs in ACTIVATIONS.items()}[settings['activation_function']]
    return dict(
        dropout=settings['dropout'],
        self_attention=dict(
            num_heads=settings[f'{stack}_attention_heads'],
            dropout=settings['attention_dropout'],
        ),
        feed_forward=dict(
            hidden_dims=settings[f'{stack}_ffn_dim'],
            act_cfg=dict(type=activation),
            dropout=settings['activation_dropout'],
        ),
    )


def _features(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Backbone and neck."""
    norms = dict(norm_cfg=dict(_delete_=True, type='BN'))
    own = settings['backbone_config']
    if own is None:
        depth = int(settings['backbone'].removeprefix('resnet'))
        dilated = dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))
        return dict(backbone=dict(type='DilatedResNet', depth=depth, **dilated, **norms))
    depth = DEPTHS[own['layer_type'], tuple(own['depths'])]
    base = own['hidden_sizes'][0] // (1 if own['layer_type'] == 'basic' else 4)
    widths = dict(stem_channels=own['embedding_size'], base_channels=base)
    return dict(backbone=dict(depth=depth, **widths, **norms), neck=dict(in_channels=own['hidden_sizes'][-1:]))


def facts(model: nn.Module) -> dict[str, Any]:
    """What decides a prediction besides weights: types and plain attributes of all parts, by dotted
    key.
    """
    return dict(_facts(model))


def _facts(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for path, part in model.named_modules():
        if path.startswith(SKIPPED):
            continue
        # Frozen or not, batch norm predicts the same.
        kind = nn.BatchNorm2d if isinstance(part, nn.BatchNorm2d) else type(part)
        yield f'{path}.type'.lstrip('.'), kind.__name__
        for name, value in vars(part).items():
            key = f'{path}.{name}'.lstrip('.')
            plain = value is None or isinstance(value, (bool, int, float, str, tuple, list))
            if plain and not name.startswith('_') and name not in FREE and key not in FREE:
                yield key, tuple(value) if isinstance(value, list) else value


def preprocessing(preprocessor: Any, pipeline: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``preprocessor_config.json``: resize as in the test, scale to 0..1, normalise, pad with a
    mask.
    """
    sizes = [step['scale'] for step in pipeline if step['type'] == 'Resize' and step.get('keep_ratio')]
    settings: dict[str, Any] = {
        'image_processor_type': 'ConditionalDetrImageProcessor',
        'do_resize': bool(sizes),
        'do_rescale': True,
        'rescale_factor': 1 / 255,
        'do_normalize': True,
        'image_mean': [mean / 255 for mean in preprocessor.mean.flatten().tolist()],
        'image_std': [std / 255 for std in preprocessor.std.flatten().tolist()],
        'do_pad': True,
    }
    if sizes:
        settings['size'] = {'shortest_edge': min(sizes[0]), 'longest_edge': max(sizes[0])}
    return settings
