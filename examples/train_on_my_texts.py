"""Train an encoder on plain texts, without labels, and compare a search before and after.

    python examples/train_on_my_texts.py --texts python-stdlib --steps 60 --out runs/my-texts
    python examples/train_on_my_texts.py --texts my_sentences.txt        # one text a line

It prints the cost of the run before it starts, then, for a few texts, the text that each encoder
finds most similar: first the base in both directions, then the same base after SimCSE. About three
minutes on two CPU cores. A stopped run goes on if you start it again.
"""

import argparse

import bothways as bw
from bothways.data.text.readers import read_texts


def neighbors(encoder: bw.Encoder, texts: list[str]) -> list[int]:
    """The place of the most similar other text, for each text."""
    vectors = encoder.encode(texts, normalize_embeddings=True)
    cosines = vectors @ vectors.T
    for i in range(len(texts)):
        cosines[i, i] = -1.0  # a text is most similar to itself
    return cosines.argmax(axis=1).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m", help="a base: name, folder, hub id")
    parser.add_argument(
        "--texts", default="python-stdlib", help="file, folder, hub dataset, or python-stdlib"
    )
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument(
        "--size", type=int, default=48, help="texts of a batch: each is told from the others"
    )
    parser.add_argument("--out", default="runs/my-texts")
    given = parser.parse_args()

    recipe = bw.recipes.simcse(
        base=given.model,
        texts=given.texts,
        preset="laptop",
        stages__simcse__optim__steps=given.steps,
        stages__simcse__batch__size=given.size,
    )
    cost = bw.train(recipe, dry_run=True)
    print(
        f"{cost.stages[0].examples:,} texts, about {cost.seconds / 60:.1f} minutes on {cost.device}"
    )

    few = read_texts(given.texts, limit=6)
    before = neighbors(bw.convert(given.model), few)
    after = neighbors(bw.train(recipe, given.out, resume=True), few)
    for text, old, new in zip(few, before, after):
        print(f"{text[:60]!r}\n  before: {few[old][:60]!r}\n  after:  {few[new][:60]!r}")
    print(f"saved {given.out}; next: bothways search {given.out} {given.texts} 'a question'")


if __name__ == "__main__":
    main()
