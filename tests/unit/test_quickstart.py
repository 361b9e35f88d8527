"""The quickstart works as it stands: its column map reads such a table, its commands take their options, its Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from fraudloop.cli.main import build
from fraudloop.pipelines.data import validate
from fraudloop.settings import Settings

PAGES = {name: (Path(__file__).resolve().parents[2] / name).read_text("utf-8") for name in ("README.md", "docs/quickstart.md")}

CSV = """trx_no;booked_at;value;account;shop;cb_flag
1;05.01.2025 09:15;12.50;ann;bakery;0
2;05.01.2025 22:40;412.00;ann;watches;1
3;06.01.2025 08:05;3.20;bob;bakery;0
"""


def commands(page: str) -> list[str]:
    lines = re.findall(r"^ {4}(fraudloop .+)$", PAGES[page], re.MULTILINE)
    return [line.partition("  #")[0].strip() for line in lines]


def test_its_column_map_reads_such_a_table(tmp_path: Path) -> None:
    [text] = re.findall(r"```toml\n(.*?)```", PAGES["docs/quickstart.md"], re.DOTALL)
    (tmp_path / "map.toml").write_text(text, "utf-8")
    (tmp_path / "payments.csv").write_text(CSV, "utf-8")
    done = validate(tmp_path / "payments.csv", tmp_path / "map.toml", Settings())
    assert not done.failures
    table = done.ingested.transactions
    assert table["amount_base"].to_list() == [1_250, 41_200, 320]
    assert table["timestamp"].dt.hour().to_list() == [8, 21, 7]
    assert done.ingested.labels["is_fraud"].sum() == 1


@pytest.mark.parametrize(("page", "line"), [(page, line) for page in PAGES for line in commands(page)])
def test_every_command_line_that_a_page_shows_is_one(page: str, line: str) -> None:
    name, *words = shlex.split(line)[1:]
    command = typer.main.get_command(build(name)).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, words)


def test_pages_show_the_commands_of_the_whole_way() -> None:
    for page in PAGES:
        shown = {line.split()[1] for line in commands(page)}
        assert {"profile", "validate", "features", "train", "score", "evaluate"} <= shown, page


def test_its_python_names_what_there_is() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGES["docs/quickstart.md"], re.DOTALL)
    compile(code, "docs/quickstart.md", "exec")
    imports = [line for line in code.splitlines() if line.startswith(("from", "import"))]
    assert imports
    exec("\n".join(imports), {})
