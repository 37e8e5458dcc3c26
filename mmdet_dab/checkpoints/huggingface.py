"""The layout of Hugging Face's ``DabDetrForObjectDetection``, both ways.

Checked against: the model of ``transformers``, built with random weights: converted, ours computes
the same, and the other way round (``tests/checkpoints/test_huggingface.py``).
"""

from __future__ import annotations

from mmdet_dab.checkpoints.layout import Pairs, TwoWayLayout

BODY = 'model.backbone.conv_encoder.model'
#: The ResNet of transformers: stages from 0, blocks called layers, convolutions numbered.
OWN_RESNET: Pairs = (
    (f'{BODY}.embedder.embedder.convolution', 'backbone.conv1'),
    (f'{BODY}.embedder.embedder.normalization', 'backbone.bn1'),
    *(
        (f'{BODY}.encoder.stages.{stage}.layers.#.{theirs}', f'backbone.layer{stage + 1}.#.{ours}')
        for stage in range(4)
        for theirs, ours in (
            ('shortcut.convolution', 'downsample.0'),
            ('shortcut.normalization', 'downsample.1'),
            ('layer.0.convolution', 'conv1'),
            ('layer.0.normalization', 'bn1'),
            ('layer.1.convolution', 'conv2'),
            ('layer.1.normalization', 'bn2'),
            ('layer.2.convolution', 'conv3'),
            ('layer.2.normalization', 'bn3'),
        )
    ),
)
#: A ResNet of timm, which has torchvision's names, as mmdet's has.
TIMM_RESNET: Pairs = ((f'{BODY}._backbone', 'backbone'),)

TRANSFORMER: Pairs = (
    ('model.input_projection', 'neck.convs.0.conv'),
    ('model.encoder.query_scale', 'encoder.position_scale'),
    ('model.encoder.layers.#.self_attn.q_proj', 'encoder.layers.#.self_attention.query'),
    ('model.encoder.layers.#.self_attn.k_proj', 'encoder.layers.#.self_attention.key'),
    ('model.encoder.layers.#.self_attn.v_proj', 'encoder.layers.#.self_attention.value'),
    ('model.encoder.layers.#.self_attn.out_proj', 'encoder.layers.#.self_attention.out'),
    ('model.encoder.layers.#.self_attn_layer_norm', 'encoder.layers.#.attention_norm'),
    ('model.encoder.layers.#.fc1', 'encoder.layers.#.feed_forward.expand'),
    ('model.encoder.layers.#.activation_fn', 'encoder.layers.#.feed_forward.activation'),
    ('model.encoder.layers.#.fc2', 'encoder.layers.#.feed_forward.shrink'),
    ('model.encoder.layers.#.final_layer_norm', 'encoder.layers.#.feed_forward_norm'),
    *(
        (f'model.decoder.layers.#.{kind}_attn.{kind}_attn{theirs}', f'decoder.layers.#.{kind}_attention{ours}')
        for kind in ('self', 'cross')
        for theirs, ours in (
            ('_query_content_proj', '.query_content'),
            ('_query_pos_proj', '.query_position'),
            ('_query_pos_sine_proj', '.query_sine'),
            ('_key_content_proj', '.key_content'),
            ('_key_pos_proj', '.key_position'),
            ('_value_proj', '.value'),
            ('.output_proj', '.out'),
            ('_layer_norm', '_norm'),
        )
    ),
    ('model.decoder.layers.#.mlp.fc1', 'decoder.layers.#.feed_forward.expand'),
    ('model.decoder.layers.#.mlp.activation_fn', 'decoder.layers.#.feed_forward.activation'),
    ('model.decoder.layers.#.mlp.fc2', 'decoder.layers.#.feed_forward.shrink'),
    ('model.decoder.layers.#.mlp.final_layer_norm', 'decoder.layers.#.feed_forward_norm'),
    ('model.decoder.layernorm', 'decoder.norm'),
    ('model.decoder.ref_point_head', 'decoder.positional_query.learned'),
    ('model.decoder.query_scale', 'decoder.positional_query.position_scale'),
    ('model.decoder.ref_anchor_head', 'decoder.positional_query.size_modulation.reference_size'),
    ('model.patterns.weight', 'query_generator.patterns'),
    ('class_embed', 'bbox_head.class_branch'),
    ('bbox_predictor', 'bbox_head.box_branches.0'),
)


def _layout(source: str, mark: str, resnet: Pairs) -> TwoWayLayout:
    return TwoWayLayout(
        name='huggingface',
        source=f"Hugging Face's DabDetrForObjectDetection with {source}",
        marks=('model.query_refpoint_embeddings.weight', f'{BODY}.{mark}'),
        pairs=(*resnet, *TRANSFORMER),
        anchors='model.query_refpoint_embeddings.weight',
        copies=(('model.decoder.bbox_embed', 'bbox_predictor'),),
        remarks=(
            'a DC5 model and one with fixed x, y have the same tensors as the plain one: if config.json says '
            '"dilation": true or "random_refpoints_xy": true, name the config with --config',
        ),
    )


HUGGINGFACE = _layout('its own ResNet', 'embedder.embedder.convolution.weight', OWN_RESNET)
HUGGINGFACE_TIMM = _layout('a ResNet of timm', '_backbone.conv1.weight', TIMM_RESNET)
