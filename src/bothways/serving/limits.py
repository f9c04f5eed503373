"""The default limits of a server, see `ServeSettings`.

They are separate because the options of `bothways serve` show them, and `bothways --help` must not
import pydantic for them.
"""

from __future__ import annotations

MAX_BYTES = 8 * 2**20
MAX_ROWS = 2048
MAX_TOKENS = 300_000
MAX_REQUESTS = 512
QUEUE_ROWS = 16_384
QUEUE_TOKENS = 600_000
TIMEOUT = 600.0
BODY_TIMEOUT = 30.0
DRAIN = 30.0
