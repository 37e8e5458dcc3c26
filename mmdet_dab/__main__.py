"""``python -m mmdet_dab`` is ``mmdet-dab``."""

import sys

from mmdet_dab.cli import main

if __name__ == '__main__':
    sys.exit(main())
