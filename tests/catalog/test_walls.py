"""The taxonomy of walls and the resolvers agree, both ways."""

import pytest

import mlsysim
from mlsysim import solvers
from mlsysim.catalog.walls import ALL_WALLS, DOMAINS, walls_for_resolver
from mlsysim.errors import UnknownEntryError


def test_there_are_22_walls_in_order_and_every_one_is_resolved():
    assert [wall.number for wall in ALL_WALLS] == list(range(1, 23))
    for wall in ALL_WALLS:
        assert wall.domain in DOMAINS
        assert wall.sources
        assert set(wall.resolvers) <= set(solvers.RESOLVERS), wall


@pytest.mark.parametrize("name", [name for name in solvers.RESOLVERS if name != "Engine"])
def test_a_resolver_names_the_walls_that_name_it(name):
    resolver = getattr(solvers, name)
    told = [(wall["number"], wall["name"], wall["domain"]) for wall in resolver.schema()["walls"]]
    known = [(wall.number, wall.name, wall.domain) for wall in walls_for_resolver(name)]
    assert sorted(known) == sorted(told)


def test_an_unknown_wall_is_an_error_that_names_the_nearest():
    with pytest.raises(UnknownEntryError, match="Memory"):
        mlsysim.walls.wall("Memry")
