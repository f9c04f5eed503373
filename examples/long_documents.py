"""Search the passages of long documents: each vector is read with its whole document in view.

    python examples/long_documents.py
    python examples/long_documents.py --model runs/mine --question "how do I clean it?" book.txt other.txt

Late chunking reads a document once, with full attention, and pools each passage of it. A passage
that says "it" then knows of what. Prints the best passages with their file, place and cosine, for
late chunking and for passages that were encoded alone. An untrained base ranks poorly: give the
folder of an encoder that you trained.
"""

import argparse
from pathlib import Path

import numpy as np

import bothways as bw
from bothways.encoder.load import is_encoder

DATA = Path(__file__).parent / "data" / "handbook.txt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, default=[DATA])
    parser.add_argument("--model", default="smollm2-135m", help="an encoder folder or a base LLM")
    parser.add_argument("--question", default="what happens if I do not rinse the milk hose?")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of a passage")
    parser.add_argument("--top", type=int, default=3)
    given = parser.parse_args()

    encoder = (
        bw.load(given.model)
        if is_encoder(given.model)
        else bw.convert(given.model, max_length=2048)
    )
    question = encoder.encode_query(given.question, normalize_embeddings=True)
    documents = [file.read_text(encoding="utf-8") for file in given.files]

    late, passages = [], []
    for file, text, chunks in zip(
        given.files,
        documents,
        encoder.encode_chunks(documents, given.tokens, normalize_embeddings=True),
    ):
        late.append(chunks.vectors)
        passages += [(file.name, start, text[start:end]) for start, end in chunks.spans]
    alone = encoder.encode([text for _, _, text in passages], normalize_embeddings=True)

    for name, vectors in (("late chunking", np.concatenate(late)), ("each passage alone", alone)):
        cosines = vectors @ question
        print(name)
        for place in cosines.argsort()[::-1][: given.top]:
            file, start, text = passages[place]
            print(
                f"  {cosines[place]:.3f}  {file}, character {start}: {' '.join(text.split())[:90]!r}"
            )


if __name__ == "__main__":
    main()
