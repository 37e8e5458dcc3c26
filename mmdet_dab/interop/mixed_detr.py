"""mmdet's DETRs with parts of ours: mmdet's config goes in as it is, and any part of it may name a
type.

A part that names none is mmdet's own class, as in mmdet's detector (``mmdet_stacks.py``,
``mmdet_queries.py``, ``mmdet_heads.py``).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from mmdet.models.dense_heads import DETRHead

from mmdet_dab.models.compatibility import require
from mmdet_dab.models.detector import ComposedDETR
from mmdet_dab.models.layers import RenamedTensors
from mmdet_dab.models.shared_values import default_of
from mmdet_dab.registry import MODELS


def sine_encoder(num_feats: int, temperature: float = 10000, normalize: bool = False, **kwargs: Any) -> dict:
    """The config of our positional encoder for the arguments of mmdet's ``SinePositionalEncoding``.

    Raises:
        ValueError: positions that are not normalised, which anchors in 0..1 cannot share.
    """
    if not normalize:
        raise ValueError('positional_encoding: normalize=False must be True, or name a type of your own')
    offset = -kwargs.pop('offset', 0.0)
    return dict(
        type='mmdet_dab.SinePositionalEncoder',
        embed_dims=2 * num_feats,
        temperature=temperature,
        offset=offset,
        **kwargs,
    )


def is_mmdets_head(config: dict) -> bool:
    """Whether a head's config names one of mmdet's DETR heads, or a class derived from one."""
    kind = config['type']
    if isinstance(kind, str):
        with MODELS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    return isinstance(kind, type) and issubclass(kind, DETRHead)


def width_of(neck: dict) -> int:
    """The width of the neck's feature maps.

    Raises:
        ValueError: its config does not say.
    """
    width: Any = neck.get('out_channels')
    require('neck', 'out_channels', width, isinstance(width, int), "the width of its maps: mmdet's queries are as wide")
    return width


@MODELS.register_module()
class MixedDETR(RenamedTensors, ComposedDETR):
    """mmdet's ``DETR``, in which every part can be exchanged by config.

    Without any exchange it computes what mmdet's detector computes, and it reads mmdet's
    checkpoints.

    Args:
        backbone: config, as in mmdet.
        neck: config, as in mmdet; its ``out_channels`` are the width of mmdet's queries and of the
            tokenizer.
        encoder: arguments of mmdet's encoder, or the config of a part with ``type``.
        decoder: arguments of mmdet's decoder, or the config of a part with ``type``.
        bbox_head: config of a head of mmdet's DETRs, or of a part such as
            ``mmdet_dab.SetPredictionHead``.
        positional_encoding: arguments of mmdet's ``SinePositionalEncoding``, or the config of a
            part with ``type``.
        num_queries: of mmdet's own queries; a ``query_generator`` states its own.
        query_generator: config of a part in the place of mmdet's queries, or None.
        tokenizer: config of a part in the place of the ordinary one, or None.
        train_cfg: of mmdet's head: the assigner.
        test_cfg: of mmdet's head.
        data_preprocessor: config, as in mmdet.
        init_cfg: see mmengine's BaseModule.
        shared: values for our parts, as in :class:`ComposedDETR`; the width is the neck's.

    Raises:
        ValueError: when parts contradict one another.
    """

    encoder_type = 'mmdet_dab.MMDetEncoder'
    decoder_type = 'mmdet_dab.MMDetDecoder'
    queries_type = 'mmdet_dab.LearnedQueryGenerator'
    # Tensors that mmdet's detector holds itself.
    renamed_tensors = MappingProxyType({'query_embedding.weight': 'query_generator.position'})

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        encoder: dict,
        decoder: dict,
        bbox_head: dict,
        positional_encoding: dict,
        num_queries: int = 100,
        query_generator: dict | None = None,
        tokenizer: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        **shared: Any,
    ) -> None:
        width = width_of(neck)
        if is_mmdets_head(bbox_head):
            head = dict(bbox_head, train_cfg=train_cfg, test_cfg=test_cfg, **self.head_arguments(decoder))
            bbox_head = dict(type='mmdet_dab.MMDetHead', head=head)
            shared |= {'num_classes': head['num_classes']} if 'num_classes' in head else {}
        if 'type' not in positional_encoding:
            positional_encoding = sine_encoder(**positional_encoding)
        super().__init__(
            backbone=backbone,
            neck=neck,
            positional_encoder=positional_encoding,
            tokenizer=tokenizer or dict(type='mmdet_dab.ImageTokenizer', **self.tokenizer_arguments()),
            encoder=dict(dict(type=self.encoder_type), **encoder),
            query_generator=query_generator
            or dict(type=self.queries_type, num_queries=num_queries, **self.query_arguments(decoder)),
            decoder=dict(dict(type=self.decoder_type), **decoder),
            bbox_head=bbox_head,
            embed_dims=width,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
            **shared,
        )

    def head_arguments(self, decoder: dict) -> dict:
        """What mmdet's detector adds to the config of its head."""
        return {}

    def tokenizer_arguments(self) -> dict:
        """What the ordinary tokenizer has to know of the feature maps."""
        return {}

    def query_arguments(self, decoder: dict) -> dict:
        """What mmdet's own queries have to know beside their number and width."""
        return {}


@MODELS.register_module()
class MixedConditionalDETR(MixedDETR):
    """mmdet's ``ConditionalDETR``, in which every part can be exchanged by config; see
    :class:`MixedDETR`."""

    decoder_type = 'mmdet_dab.MMDetConditionalDecoder'


@MODELS.register_module()
class MixedDeformableDETR(MixedDETR):
    """mmdet's ``DeformableDETR``, in which every part can be exchanged by config.

    Args:
        num_feature_levels: feature maps of the neck.
        with_box_refine: give mmdet's head a box branch for every layer, as a decoder that moves its
            anchors wants. mmdet's own decoder with refinement makes boxes of points on its way,
            which no part of ours does.
        as_two_stage: must be False; ``EncoderQueryGenerator`` in ``ComposedDETR`` has two stages.
        dn_cfg: of mmdet's DINO; must be None. Here denoising is a ``query_generator``.
        kwargs: see :class:`MixedDETR`.

    Raises:
        ValueError: two stages, DINO's denoising, or refinement by mmdet's own decoder; or parts
            contradict one another.
    """

    encoder_type = 'mmdet_dab.MMDetDeformableEncoder'
    decoder_type = 'mmdet_dab.MMDetDeformableDecoder'
    queries_type = 'mmdet_dab.MMDetPointQueryGenerator'
    renamed_tensors = MappingProxyType(
        {
            'query_embedding.': 'query_generator.query_embedding.',
            'reference_points_fc.': 'query_generator.reference_points_fc.',
            'level_embed': 'tokenizer.level_embedding',
        }
    )

    def __init__(
        self,
        *,
        decoder: dict,
        num_feature_levels: int = 4,
        with_box_refine: bool = False,
        as_two_stage: bool = False,
        dn_cfg: None = None,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        require(
            name, 'as_two_stage', as_two_stage, not as_two_stage, 'False: ComposedDETR can, with EncoderQueryGenerator'
        )
        fix = "None: take query_generator=dict(type='mmdet_dab.DenoisingQueryGenerator', …)"
        require(name, 'dn_cfg', dn_cfg, dn_cfg is None, fix)
        if with_box_refine and 'type' not in decoder:
            raise ValueError(
                f"{name}: with_box_refine=True needs a decoder with 'type' that moves its anchors, such as "
                "mmdet_dab.AnchorDecoder; mmdet's own serves with False only"
            )
        self.num_feature_levels, self.with_box_refine = num_feature_levels, with_box_refine
        super().__init__(decoder=decoder, **kwargs)

    def head_arguments(self, decoder: dict) -> dict:
        """Branches for every layer of the decoder, the same one without refinement."""
        layers = default_of(dict(dict(type=self.decoder_type), **decoder), 'num_layers')
        return dict(share_pred_layer=not self.with_box_refine, num_pred_layer=layers, as_two_stage=False)

    def tokenizer_arguments(self) -> dict:
        """As many feature maps as the config says."""
        return dict(num_levels=self.num_feature_levels)


@MODELS.register_module()
class MixedDABDETR(MixedDETR):
    """mmdet's ``DABDETR``, in which every part can be exchanged by config.

    Args:
        decoder: arguments of mmdet's decoder, or the config of a part with ``type``.
        num_patterns: learned contents of mmdet's own queries, each combined with every anchor.
        with_random_refpoints: start mmdet's own queries with centres uniform over the image.
        kwargs: see :class:`MixedDETR`.
    """

    encoder_type = 'mmdet_dab.MMDetDABEncoder'
    decoder_type = 'mmdet_dab.MMDetDABDecoder'
    queries_type = 'mmdet_dab.MMDetAnchorQueryGenerator'
    renamed_tensors = MappingProxyType(
        {'query_embedding.': 'query_generator.query_embedding.', 'patterns.': 'query_generator.patterns.'}
    )

    def __init__(
        self, *, decoder: dict, num_patterns: int = 0, with_random_refpoints: bool = False, **kwargs: Any
    ) -> None:
        self.num_patterns, self.with_random_refpoints = num_patterns, with_random_refpoints
        super().__init__(decoder=decoder, **kwargs)

    def query_arguments(self, decoder: dict) -> dict:
        """Anchors as the decoder wants them."""
        return dict(
            query_dim=decoder.get('query_dim', 4),
            num_patterns=self.num_patterns,
            with_random_refpoints=self.with_random_refpoints,
        )
