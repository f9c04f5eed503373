"""Small random models of every family, the same each time."""

from bothways.backbone.family import zoo


def test_zoo_is_small_and_deterministic():
    one, other = zoo.build("mixtral"), zoo.build("mixtral")
    assert sum(p.numel() for p in one.parameters()) < zoo.LARGEST
    assert all((a == b).all() for a, b in zip(one.parameters(), other.parameters()))
    assert len(zoo.families()) > 100
