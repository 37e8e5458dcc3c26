"""``python -m mmdet_dab`` is ``mmdet-dab``."""

from mmdet_dab.cli import program

if __name__ == '__main__':
    program()
