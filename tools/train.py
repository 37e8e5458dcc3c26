"""``mmdet-dab train`` with the package of this checkout, installed or not."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmdet_dab import cli

if __name__ == '__main__':
    cli.end(cli.tool('train'))
