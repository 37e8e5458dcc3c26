import json
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import mmdet_dab  # noqa: F401  (registers the dataset)
from mmdet_dab.datasets import SyntheticShapes

META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction', 'instances')
LOAD = [dict(type='mmdet.LoadImageFromNDArray'), dict(type='mmdet.LoadAnnotations', with_bbox=True)]
PACK = [dict(type='mmdet.PackDetInputs', meta_keys=META_KEYS)]
CLASSES = SyntheticShapes.METAINFO['classes']


def boxes_of(info):
    return np.array([instance['bbox'] for instance in info['instances']]).reshape(-1, 4)


def labels_of(info):
    return [instance['bbox_label'] for instance in info['instances']]


def covered(outline, image_size, per_pixel=2):
    """Even-odd rule at per_pixel² points of every pixel: an oracle without OpenCV."""
    height, width = image_size
    x = (np.arange(width * per_pixel) + 0.5) / per_pixel
    y = ((np.arange(height * per_pixel) + 0.5) / per_pixel)[:, None]
    inside = np.zeros((height * per_pixel, width * per_pixel), bool)
    for contour in outline / 16:
        for (x1, y1), (x2, y2) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
            if y1 != y2:
                inside ^= ((y1 <= y) != (y2 <= y)) & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return inside


def extent(mask, per_pixel=1):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / per_pixel


def visible_fractions(dataset, img_id):
    masks = [covered(shape.outline, dataset.image_size) for shape in dataset.layout(img_id)]
    in_front = np.zeros_like(masks[0])
    fractions = []
    for mask in reversed(masks):
        fractions.append((mask & ~in_front).sum() / mask.sum())
        in_front |= mask
    return fractions


class TestDeterminism:
    def test_seed_and_index_alone_determine_an_image(self):
        few, many = SyntheticShapes(3, seed=5), SyntheticShapes(300, seed=5, serialize_data=False)
        many.get_data_info(7)  # what was drawn before leaves no trace
        for idx in range(3):
            one, other = few.get_data_info(idx), many.get_data_info(idx)
            assert one['img'].tobytes() == other['img'].tobytes()
            assert one['instances'] == other['instances']

    def test_another_seed_or_index_is_another_image(self):
        images = [SyntheticShapes(2, seed=seed).get_data_info(idx) for seed in (0, 1) for idx in (0, 1)]
        assert len({info['img'].tobytes() for info in images}) == 4
        assert len({str(info['instances']) for info in images}) == 4

    def test_backgrounds_differ_as_well(self):
        bare = [SyntheticShapes(2, seed=seed, num_objects=(0, 0)) for seed in (0, 1)]
        assert len({dataset.get_data_info(idx)['img'].tobytes() for dataset in bare for idx in (0, 1)}) == 4

    def test_published_results_refer_to_these_boxes(self):
        """Written down once: a change of the drawing that moves them makes old results incomparable."""
        shapes = SyntheticShapes(1, seed=0).layout(0)
        assert [(CLASSES[shape.label], shape.box) for shape in shapes] == [
            ('rectangle', [61.25, 34.6875, 90.125, 73.5]),
            ('cross', [0.1875, 59.5, 39.0625, 86.125]),
            ('ellipse', [29.75, 19.9375, 70.8125, 49.5]),
            ('triangle', [46.6875, 38.8125, 70.5625, 71.75]),
            ('ring', [22.375, 39.5625, 48.875, 69.0]),
            ('triangle', [47.4375, 6.4375, 67.3125, 25.875]),
        ]

    def test_clutter_and_noise_leave_the_boxes(self):
        plain, busy = SyntheticShapes(20, clutter=0, noise=0), SyntheticShapes(20, clutter=9, noise=20)
        for idx in range(20):
            assert plain.get_data_info(idx)['instances'] == busy.get_data_info(idx)['instances']


class TestObjects:
    @pytest.mark.parametrize('name', CLASSES)
    def test_box_is_the_extent_of_what_was_painted(self, name):
        """Painted is where an image with one object differs from the same image without it."""
        settings = dict(num_images=8, image_size=(80, 112), clutter=0, noise=0, metainfo=dict(classes=(name,)))
        bare = SyntheticShapes(num_objects=(0, 0), **settings)
        single = SyntheticShapes(num_objects=(1, 1), **settings)
        for idx in range(8):
            info = single.get_data_info(idx)
            difference = np.abs(info['img'].astype(int) - bare.get_data_info(idx)['img']).sum(axis=2)
            painted = difference > np.median(difference[difference > 0]) / 2
            assert np.abs(extent(painted) - boxes_of(info)[0]).max() <= 1
            shape = single.layout(idx)[0]
            geometric = covered(shape.outline, (80, 112), per_pixel=8)
            assert np.abs(extent(geometric, per_pixel=8) - shape.box).max() <= 0.75  # a thin tip has few points
            # The painted area is that of the outline less its hole, up to half a pixel along the edge.
            edges = shape.outline - np.roll(shape.outline, 1, axis=1)
            perimeter = np.linalg.norm(edges / 16, axis=2).sum()
            assert painted.sum() == pytest.approx(geometric.sum() / 64, abs=perimeter / 2)

    def test_boxes_lie_in_the_image_and_have_the_sizes_asked_for(self):
        dataset = SyntheticShapes(200, image_size=(64, 128), object_size=(0.2, 0.6))
        boxes = np.concatenate([boxes_of(dataset.get_data_info(idx)) for idx in range(200)])
        assert boxes.min() >= 0
        assert (boxes[:, 2] <= 128).all()
        assert (boxes[:, 3] <= 64).all()
        longer_sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        assert 0.2 * 64 - 0.1 <= longer_sides.min() < 14
        assert 36 < longer_sides.max() <= 0.6 * 64 + 0.1

    def test_every_class_occurs_about_as_often(self):
        dataset = SyntheticShapes(300)
        counts = Counter(label for idx in range(300) for label in dataset.get_cat_ids(idx))
        assert sorted(counts) == list(range(len(CLASSES)))
        assert min(counts.values()) > 0.7 * max(counts.values())

    def test_numbers_of_objects(self):
        dataset = SyntheticShapes(300, num_objects=(2, 5))
        counts = Counter(len(dataset.layout(idx)) for idx in range(300))
        assert sorted(counts) == [2, 3, 4, 5]

    def test_no_object_is_hidden(self):
        crowd = dict(num_images=25, num_objects=(6, 8), object_size=(0.3, 0.6))
        dataset = SyntheticShapes(min_visible=0.8, **crowd)
        fractions = [fraction for idx in range(25) for fraction in visible_fractions(dataset, idx)]
        assert min(fractions) > 0.75  # drawn pixels are half as large as the image's: areas are rough
        assert np.mean(np.array(fractions) < 1) > 0.2
        unruled = SyntheticShapes(min_visible=0, **crowd)
        assert min(fraction for idx in range(25) for fraction in visible_fractions(unruled, idx)) < 0.3

    def test_noise_has_the_stated_deviation(self):
        settings = dict(num_images=1, num_objects=(0, 0), clutter=0)
        smooth = SyntheticShapes(noise=0, **settings).get_data_info(0)['img'].astype(float)
        noisy = SyntheticShapes(noise=6, **settings).get_data_info(0)['img']
        unsaturated = (smooth > 20) & (smooth < 235)
        assert (noisy - smooth)[unsaturated].std() == pytest.approx(6, rel=0.05)

    def test_clutter_changes_the_image(self):
        plain, busy = SyntheticShapes(5, clutter=0), SyntheticShapes(5, clutter=6)
        assert any((plain.get_data_info(idx)['img'] != busy.get_data_info(idx)['img']).any() for idx in range(5))


class TestInMMDet:
    def test_pipeline(self):
        flip = [dict(type='mmdet.RandomFlip', prob=1.0)]
        config = dict(type='mmdet_dab.SyntheticShapes', num_images=4, image_size=(64, 96), pipeline=LOAD + flip + PACK)
        dataset = DATASETS.build(ConfigDict(config))
        packed, info = dataset[2], dataset.get_data_info(2)
        sample = packed['data_samples']
        assert isinstance(sample, DetDataSample)
        assert packed['inputs'].dtype == torch.uint8
        assert packed['inputs'].shape == (3, 64, 96)
        assert torch.equal(packed['inputs'], torch.from_numpy(info['img'][:, ::-1].copy()).permute(2, 0, 1))
        expected = boxes_of(info)[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [96, 0, 96, 0]
        np.testing.assert_allclose(sample.gt_instances.bboxes.tensor.numpy(), expected)
        assert sample.gt_instances.labels.tolist() == labels_of(info)
        assert (sample.img_id, sample.ori_shape) == (2, (64, 96))

    @pytest.mark.parametrize(('shift', 'low', 'high'), [(0.0, 1.0, 1.0), (3.0, 0.05, 0.8)])
    def test_coco_metric(self, shift, low, high):
        dataset = SyntheticShapes(30, test_mode=True, pipeline=LOAD + PACK)
        metric = CocoMetric(metric='bbox')
        metric.dataset_meta = dataset.metainfo
        for packed in dataset:
            sample = packed['data_samples']
            truth = sample.gt_instances
            scores = torch.ones(len(truth.labels))
            sample.pred_instances = InstanceData(bboxes=truth.bboxes.tensor + shift, labels=truth.labels, scores=scores)
            metric.process({}, [sample.to_dict()])
        assert low <= metric.evaluate(size=30)['coco/bbox_mAP'] <= high

    def test_pickling(self):
        dataset = SyntheticShapes(5, seed=2, pipeline=LOAD + PACK)
        copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301  (our own bytes)
        assert torch.equal(copy[3]['inputs'], dataset[3]['inputs'])

    def test_indices_keep_the_images(self):
        whole, part = SyntheticShapes(6), SyntheticShapes(6, indices=[4, 1])
        assert len(part) == 2
        assert part.get_data_info(0)['img_id'] == 4
        assert (part.get_data_info(0)['img'] == whole.get_data_info(4)['img']).all()

    def test_lazy_init(self):
        dataset = SyntheticShapes(6, lazy_init=True)
        assert dataset.metainfo['classes'] == CLASSES
        dataset.full_init()
        assert len(dataset) == 6

    def test_filter_drops_empty_images_in_training_only(self):
        settings = dict(num_images=40, num_objects=(0, 2), filter_cfg=dict(filter_empty_gt=True, min_size=32))
        train, test = SyntheticShapes(**settings), SyntheticShapes(test_mode=True, **settings)
        assert len(test) == 40
        assert 0 < len(train) < 40
        assert all(train.get_cat_ids(idx) for idx in range(len(train)))

    def test_chosen_classes_keep_their_colours(self):
        dataset = SyntheticShapes(40, metainfo=dict(classes=['ring', 'star']))
        assert dataset.metainfo['classes'] == ('ring', 'star')
        palette = SyntheticShapes.METAINFO['palette']
        assert dataset.metainfo['palette'] == [palette[CLASSES.index('ring')], palette[CLASSES.index('star')]]
        assert {label for idx in range(40) for label in dataset.get_cat_ids(idx)} == {0, 1}
        assert all(len(shape.outline) == 2 for shape in dataset.layout(0) if shape.label == 0)  # a ring has a hole

    def test_palette_names_every_class(self):
        palette = SyntheticShapes.METAINFO['palette']
        assert len(set(palette)) == len(palette) == len(CLASSES) == len(set(CLASSES))


class TestExport:
    def test_round_trip(self, tmp_path):
        dataset = SyntheticShapes(6, seed=3, num_objects=(0, 4), indices=[0, 2, 5])
        path = dataset.export_coco(tmp_path / 'shapes')
        assert path == tmp_path / 'shapes' / 'annotations.json'
        load = [dict(type='LoadImageFromFile'), dict(type='mmdet.LoadAnnotations', with_bbox=True)]
        read = CocoDataset(
            ann_file=str(path),
            data_prefix=dict(img=str(path.parent / 'images')),
            metainfo=dict(classes=CLASSES),
            pipeline=load + PACK,
            test_mode=True,
        )
        assert len(read) == 3
        for idx in range(3):
            info, packed = dataset.get_data_info(idx), read[idx]
            assert packed['data_samples'].img_id == info['img_id']
            assert torch.equal(packed['inputs'], torch.from_numpy(info['img']).permute(2, 0, 1))
            truth = packed['data_samples'].gt_instances
            assert truth.labels.tolist() == labels_of(info)
            np.testing.assert_array_equal(truth.bboxes.tensor.numpy(), boxes_of(info))

    def test_json_holds_coco_boxes(self, tmp_path):
        dataset = SyntheticShapes(1, num_objects=(1, 1))
        content = json.loads(dataset.export_coco(tmp_path).read_text())
        x1, y1, x2, y2 = boxes_of(dataset.get_data_info(0))[0]
        annotation = content['annotations'][0]
        assert annotation['bbox'] == [x1, y1, x2 - x1, y2 - y1]
        assert annotation['area'] == (x2 - x1) * (y2 - y1)
        assert content['categories'][0] == dict(id=1, name='ellipse')

    def test_nothing_is_overwritten(self, tmp_path):
        (tmp_path / 'mine.txt').write_text('precious')
        with pytest.raises(FileExistsError, match='is not empty'):
            SyntheticShapes(1).export_coco(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ['mine.txt']


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(num_images=0), 'num_images must be at least 1, but is 0'),
        (dict(seed=-1), 'seed must be at least 0, but is -1'),
        (dict(clutter=-1), 'clutter must be at least 0, but is -1'),
        (dict(noise=-0.5), 'noise must be at least 0, but is -0.5'),
        (dict(noise=float('nan')), 'noise must be at least 0, but is nan'),
        (dict(min_visible=1.1), 'min_visible must be a fraction from 0 to 1, but is 1.1'),
        (dict(image_size=96), 'image_size must be a height and a width of at least 32 pixels, but is 96'),
        (dict(image_size=(96, 31)), r'image_size must be .* at least 32 pixels, but is \(96, 31\)'),
        (dict(num_objects=(3, 2)), r'num_objects must be the fewest and the most objects.* but is \(3, 2\)'),
        (dict(num_objects=(1, 256)), r'num_objects must be .* from 0 to 255, but is \(1, 256\)'),
        (dict(object_size=(0.5, 0.2)), r'object_size must be .* but is \(0.5, 0.2\)'),
        (dict(object_size=(0.2, 1.2)), r'object_size must be .* but is \(0.2, 1.2\)'),
        (dict(object_size=(0.05, 0.5)), r'object_size starts at 0.05, which is 4.8 of 96 pixels.* at least 8'),
        (dict(metainfo=dict(classes=('ring', 'cat'))), r"classes'\] must be some of .*but is \('ring', 'cat'\)"),
        (dict(metainfo=dict(classes=('ring', 'ring'))), 'each once'),
        (dict(metainfo=dict(classes=())), 'must be some of'),
        (dict(filter_cfg=dict(min_size=100)), r"filter_cfg=\{'min_size': 100\} leaves none of the 4 images"),
    ],
)
def test_bad_parameters_are_refused_in_a_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        SyntheticShapes(**dict(num_images=4) | settings)
