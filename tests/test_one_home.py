"""What several rooms must agree on is written down once."""

import ast
from pathlib import Path

import unseen


def test_the_ignored_id_of_labels_is_written_once():
    """Nobody assigns it again, compares with the bare number, or has it as the default of an argument."""
    found = []
    for path in sorted(Path(unseen.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and any(getattr(name, "id", "") == "IGNORE" for name in node.targets):
                found.append(path.name)
            compared = (
                node.comparators
                if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq)
                else []
            )
            defaults = node.defaults if isinstance(node, ast.arguments) else []
            bare = [one for one in (*compared, *defaults) if isinstance(one, ast.Constant) and one.value == 255]
            assert not bare, f"{path}:{bare[0].lineno}"
    assert found == ["cameras.py"]
