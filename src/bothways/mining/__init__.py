"""Hard negatives for training: searched in a corpus, checked against true answers, and counted."""

from bothways.mining.mine import Mined, mine
from bothways.mining.options import MiningOptions
from bothways.mining.refresher import Refresher

__all__ = ["Mined", "MiningOptions", "Refresher", "mine"]
