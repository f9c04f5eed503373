"""Hard negatives for training: searched for in a corpus, kept away from true answers, accounted for."""

from bothways.mining.mine import Mined, mine
from bothways.mining.options import MiningOptions
from bothways.mining.refresher import Refresher

__all__ = ["Mined", "MiningOptions", "Refresher", "mine"]
