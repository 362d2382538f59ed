"""Names mean one thing: classes over the whole package, shape letters over a file."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "speechx"
FILES = sorted(PACKAGE.rglob("*.py"))
SUFFIX = re.compile(r"[a-z0-9]_([A-Z0-9]{1,5})$")
LEGEND = re.compile(r"(?:^ {4,}|^(?![AI] )|· ?)([A-Z])(?: = | )(?=\w)", re.MULTILINE)


def test_no_public_class_is_defined_in_two_modules():
    homes = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def letters_used(tree: ast.Module) -> set[str]:
    """Capital letters that names and attributes of the module carry as suffixes: mask_BT."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    found = set()
    for name in names:
        if (suffix := SUFFIX.search(name)) and not name.isupper():
            found |= {letter for letter in suffix[1] if letter.isalpha()}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_shape_letter_stands_in_the_legend_of_its_file(path: Path):
    """In the docstring of the module, indented: `    B utterances · T frames`, each letter once."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = letters_used(tree)
    text = ast.get_docstring(tree, clean=False) or ""
    stated = LEGEND.findall(text)
    assert used <= set(stated), f"not in the legend: {sorted(used - set(stated))}"
    twice = {letter for letter in used if stated.count(letter) > 1}
    assert not twice, f"stated twice: {sorted(twice)}"
