import pytest

from speechx.decoding.mapping import map_inventory
from speechx.diagnostics.inventory_chart import cells_of, draw_inventory
from speechx.errors import UserError
from speechx.text.inventory import Inventory

PHONES = "p t tʰ t̪ d k ɡ m n s z ʃ tʃ l w i iː y u e ø o a aː ã aɪ ˥ ǃ ɓ ja"


@pytest.fixture
def inventory() -> Inventory:
    return Inventory.of(PHONES.split(), "xx", "a test")


def test_cells_say_what_becomes_of_each_phone(inventory):
    mapping = map_inventory(("p", "b", "t", "i", "a"), inventory.phones, threshold=0.3)
    cells = {cell.phone: cell for cell in cells_of(inventory, mapping)}
    assert set(cells) == set(inventory.phones)
    assert cells["p"].state == "known"
    assert cells["p"].sources == ("b",)
    assert (cells["d"].state, cells["d"].sources) == ("second", ("t",))
    assert cells["˥"].state == "never"
    assert {cell.state for cell in cells_of(inventory)} == {"plain"}
    other = map_inventory(("b", "t"), ("p", "t"))
    assert [c.state for c in cells_of(Inventory.of(["p", "t"], "xx", "x"), other)] == [
        *("mapped", "known"),
    ]


def test_a_phone_that_many_become_shows_some_of_them(inventory):
    mapping = map_inventory(tuple("ptkbdɡfsʃx"), ("t", "a"))
    (cell,) = [c for c in cells_of(Inventory.of(["t", "a"], "x", "x"), mapping) if c.phone == "t"]
    assert cell.below == " ".join(cell.sources[:3]) + " +6"


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_has_every_phone_and_is_the_same_again(inventory, tmp_path, suffix):
    mapping = map_inventory(("p", "b", "t", "i", "a"), inventory.phones)
    one, two = (tmp_path / f"{name}.{suffix}" for name in ("one", "two"))
    draw_inventory(inventory, one, mapping)
    draw_inventory(inventory, two, mapping)
    assert one.read_bytes() == two.read_bytes()
    if suffix == "svg":
        text = one.read_text(encoding="utf-8")
        assert all(f"<!-- {phone} -->" in text for phone in inventory.phones)
    else:
        assert one.read_bytes().startswith(b"\x89PNG")


def test_an_inventory_of_one_kind_is_drawn_and_symbols_without_a_glyph_are_named(tmp_path, capsys):
    draw_inventory(Inventory.of(["˥", "˩"], "xx", "tones"), tmp_path / "tones.png")
    draw_inventory(Inventory.of(["a", "\U0001df11"], "xx", "rare"), tmp_path / "rare.png")
    assert "rare.png: the font lacks 1 symbols" in capsys.readouterr().err
    assert (tmp_path / "rare.png").stat().st_size > 1000


def test_other_names_are_refused(inventory, tmp_path):
    for name in ("chart.pdf", "chart"):
        with pytest.raises(UserError, match=r"\.png or \.svg"):
            draw_inventory(inventory, tmp_path / name)
