"""Small CoNLL files and encoders for the tests of the word level."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import bothways as bw
from bothways.encoder.encoder import Encoder
from tiny import tiny_llama

# The tags of a word follow from the word alone. Words have one character: no state before a word's
# last sub-token tells which it is.
LEXICON = {
    "c": ("NNS", "I-NP", "O"),
    "d": ("NNS", "I-NP", "O"),
    "B": ("NNP", "I-NP", "I-LOC"),
    "A": ("NNP", "I-NP", "I-PER"),
    "r": ("VBP", "I-VP", "O"),
    "s": ("VBP", "I-VP", "O"),
    "1": ("CD", "I-NP", "O"),
    "i": ("IN", "I-PP", "O"),
    ".": (".", "O", "O"),
}


def write_conll(folder: Path, *, sentences: int = 60, zipped: bool = False) -> Path:
    """train, dev and test of random words, with a document mark at the top."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, split in enumerate(("train", "dev", "test")):
        chosen = random.Random(seed)
        lines = ["-DOCSTART- -X- O O", ""]
        for _ in range(sentences):
            words = chosen.choices(list(LEXICON), k=chosen.randint(2, 8))
            lines += [" ".join((word, *LEXICON[word])) for word in words] + [""]
        text = "\n".join(lines).encode()
        name = f"{split}.txt.gz" if zipped else f"{split}.txt"
        (folder / name).write_bytes(gzip.compress(text) if zipped else text)
    return folder


def encoder(folder: Path, *, direction: str = "bidirectional", add_bos: bool = True, seed: int = 0, **config) -> Encoder:
    """A random Llama in float32."""
    place = tiny_llama(folder / f"llama-{add_bos}-{seed}", tokenizer={"add_bos": add_bos}, seed=seed, **config)
    return bw.convert(place, direction=direction, dtype="float32", device="cpu")
