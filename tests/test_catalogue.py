"""README's table of what there is, is what there is."""

from docs import catalogue


def test_the_table_of_the_readme_is_made_of_the_code():
    readme = catalogue.README.read_text()
    assert readme == catalogue.written(readme, catalogue.catalogue()), "run: python -m docs.catalogue"


def test_every_room_and_recipe_has_its_row():
    table = catalogue.catalogue()
    for name in ("Patches", "Random", "Pixels", "Momentum", "| `mae` |", "| `ijepa` |"):
        assert name in table
    assert "Fixed" not in table.split("| recipe |")[0], "a normaliser is no unit"
