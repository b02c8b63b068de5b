"""Tests of the README and the pages of docs/: their code runs, their links and commands exist.

Conventions in the pages:

* every ```python block is run, in the order of its page and in one namespace, unless the line
  before it is `<!-- not run -->`; where that line is `<!-- slow -->`, in the slow test only;
* every line of a ```sh block that starts with `rlkit` is parsed by the command line itself;
* a link whose text is a name in code, to a Python file, means that name in that file.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import pkgutil
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import rlkit
from experiments.architecture import arrows
from rlkit.agents import AGENTS, find_agent
from rlkit.cli.agents.runs import PlotOptions
from rlkit.cli.agents.train import TrainOptions
from rlkit.cli.forms import Output, known_flags
from tests.pages import FENCE, ROOT, blocks_of, links_of, rows_of
from tests.rlhf import claims
from tests.test_layers import ROOMS

PAGES = [path for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))) if path.exists()]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_NAME = re.compile(r"`[A-Za-z_][\w.]*`")


def relative_links(path: Path) -> list[tuple[str, Path, str]]:
    """Return the (text, file, anchor) of the links within the repository."""
    links = []
    for text, target in links_of(path.read_text()):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            links.append((text, (path.parent / file).resolve() if file else path, anchor))
    return links


def anchors_of(page: str) -> set[str]:
    """Return the names under which GitHub links to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


# --- code -----------------------------------------------------------------------------------------


def run_blocks(page: Path, folder: Path, *, slow: bool) -> None:
    blocks = [block for block in blocks_of(page.read_text()) if block.language == "python"]
    chosen = [b for b in blocks if b.marker != "not run" and (slow or b.marker != "slow")]
    if not chosen:
        pytest.skip("no code to run")
    text = ""
    for block in chosen:
        # At its own line, so that a traceback leads to the page.
        text += "\n" * (block.line - 1 - text.count("\n")) + block.text
    file = folder / f"{page.stem.replace('-', '_')}_page.py"
    file.write_text(text)
    runpy.run_path(str(file), run_name="__main__")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        # Its code waits for environments that hang.
        pytest.param(name, marks=pytest.mark.torture if name == "docs/environments.md" else [])
        for name in NAMES
    ],
)
def test_the_code_of_a_page_runs(name: str, folder: Path) -> None:
    run_blocks(ROOT / name, folder, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [name for name, p in zip(NAMES, PAGES, strict=True) if "<!-- slow -->" in p.read_text()],
)
def test_the_slow_code_of_a_page_runs(name: str, folder: Path) -> None:
    run_blocks(ROOT / name, folder, slow=True)


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_leads_to_a_file_and_a_heading(name: str) -> None:
    wrong = []
    for _, file, anchor in relative_links(ROOT / name):
        if not file.exists() or not file.is_relative_to(ROOT):
            wrong.append(f"{file}: no such file here")
        elif anchor and anchor not in anchors_of(file.read_text()):
            wrong.append(f"{file.name}#{anchor}: no such heading")
    assert not wrong


def resolve(file: Path, name: str) -> Any:
    """Return the meaning of a dotted name in a Python file, or the definition of a test there."""
    if file.is_relative_to(ROOT / "tests"):
        # A function, or a method of a class of tests.
        return re.search(rf"^(?: {{4}})?def {re.escape(name)}\(", file.read_text(), re.MULTILINE)
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    value: Any = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


def missing_names(path: Path) -> list[str]:
    missing = []
    for text, file, _ in relative_links(path):
        if file.suffix == ".py" and _NAME.fullmatch(text) and not text.endswith(".py`"):
            try:
                meaning = resolve(file, text.strip("`"))
            except AttributeError:
                meaning = None
            if meaning is None:
                missing.append(f"{text} in {file.relative_to(ROOT)}")
    return missing


@pytest.mark.parametrize("name", [name for name in NAMES if name != "README.md"])
def test_every_linked_name_is_in_its_file(name: str) -> None:
    assert missing_names(ROOT / name) == []


def test_a_name_that_is_not_in_its_file_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    returns, tests = ROOT / "rlkit/maths/returns.py", ROOT / "tests/maths/test_returns.py"
    page.write_text(f"[`gae`]({returns}) [`gea`]({returns}) [`test_gae`]({tests})")
    assert missing_names(page) == [
        "`gea` in rlkit/maths/returns.py",
        "`test_gae` in tests/maths/test_returns.py",
    ]


def assert_tests(row: dict[str, str]) -> None:
    tests = links_of(row["test"])
    assert tests, row
    assert all(target.startswith("../tests/") for _, target in tests), row


def test_every_formula_names_a_function_and_a_test() -> None:
    rows = rows_of("formulas.md")
    assert len(rows) > 25
    for row in rows:
        if row["used by"] == "not yet":
            assert not row["function"] + row["test"], row
            continue
        assert_tests(row)
        functions = links_of(row["function"])
        assert functions or "`torch." in row["function"], row
        assert all(target.startswith(("../rlkit/", "../envs/")) for _, target in functions), row


@pytest.mark.slow
def test_every_claim_about_rlhf_has_a_test_and_the_page_is_made_from_the_marks() -> None:
    assert sorted(claims.CLAIMS) == list(range(1, 54))
    assert sorted(claims.marked_tests()) == sorted(claims.CLAIMS)
    assert claims.PAGE.read_text() == claims.page(), "run `python -m tests.rlhf.claims`"


def test_every_public_function_of_the_maths_is_in_the_page_of_formulas() -> None:
    helpers = {"fill_masked", "masked_mean", "categorical_mode"}
    page = (ROOT / "docs" / "formulas.md").read_text()
    for module in ("returns", "losses", "distributions", "divergences", "diffusion", "masking"):
        for function in importlib.import_module(f"rlkit.maths.{module}").__all__:
            assert function in helpers or f"[`{function}`]" in page, function


def test_the_map_lists_the_rooms_in_the_order_of_dependence() -> None:
    section = (ROOT / "docs" / "architecture.md").read_text().partition("| room |")[2]
    assert re.findall(r"^\| `(rlkit[\w.]*)` \|", section, re.MULTILINE) == list(ROOMS)


def test_the_arrows_of_the_map_are_the_imports() -> None:
    """`python -m experiments.architecture` draws it anew."""
    drawn = re.findall(r'id="arrow:([^"]+)"', (ROOT / "docs" / "architecture.svg").read_text())
    assert set(drawn) == {f"{a}:{b}".replace("/", ".") for a, b in arrows()}


# --- commands -------------------------------------------------------------------------------------


class Parsed(Exception):
    """Raised where a command that was understood would begin."""


def commands(path: Path) -> list[str]:
    """Return the lines of the sh blocks, continued ones joined, without pipes and redirections."""
    lines = []
    for block in blocks_of(path.read_text()):
        if block.language in ("sh", "bash", "console"):
            text = block.text.replace("\\\n", " ")
            lines += [line.strip().removeprefix("$ ") for line in text.splitlines()]
    return [re.split(r"\s(?:\||&&|>|2>)\s?", line)[0] for line in lines if line]


@functools.cache
def import_everything() -> None:
    """Import all of rlkit: a module imported while functions are replaced would keep those."""
    for module in pkgutil.walk_packages(rlkit.__path__, "rlkit."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlkit.environments.resolve import find_environment

    import_everything()

    def begins(*args: Any, **kwargs: Any) -> Any:
        names = [arg for arg in args if isinstance(arg, str)]
        if names and ":" not in names[-1]:  # ids must exist; files and modules are the reader's
            find_environment(names[-1], kwargs.get("env_args"))
        raise Parsed

    for target in (
        *(
            "rlkit.training.train.train",
            "rlkit.training.comparing.compare.compare",
            "rlkit.training.tuning.tune.tune",
            "rlkit.solving.solve",
        ),
        *("rlkit.training.run.load", "rlkit.diagnosis.doctor.doctor"),
    ):
        monkeypatch.setattr(target, begins)

    def stage_begins(*args: Any, **kwargs: Any) -> Any:
        raise Parsed

    for target in (
        *(f"rlkit.rlhf.stages.api.{stage}" for stage in ("fine_tune", "reward", "dpo")),
        *("rlkit.rlhf.stages.api.policy_gradient", "rlkit.rlhf.demo.run_demo"),
        "rlkit.rlhf.exporting.export.export",
        *("rlkit.training.exporting.export.export", "rlkit.upkeep.reproducing.reproduce"),
        "rlkit.reporting.report.report",
        # Of the commands that look at runs:
        *(
            "rlkit.rlhf.stages.stage_run.StageRun.__init__",
            "rlkit.rlhf.stages.stage_run.named_folder",
        ),
    ):
        monkeypatch.setattr(target, stage_begins)


def understood(command: str) -> bool:
    from rlkit.cli import main

    try:
        code = main(shlex.split(command, comments=True)[1:])
    except Parsed:
        return True
    except SystemExit as error:
        code = error.code
    return code == 0  # `rlkit list` and `--help` do all they have to


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("name", NAMES)
def test_every_rlkit_command_of_a_page_is_understood(name: str) -> None:
    lines = [line for line in commands(ROOT / name) if line.split()[0] == "rlkit"]
    assert [line for line in lines if not understood(line)] == []


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("rlkit train ppo CartPole-v1 --seeds 3  # a comment", True),
        ("rlkit train ppo CartPole-v1 --sedes 3", False),
        ("rlkit train ppo CartPole-v1 --clip-epsilon 2", False),
        ("rlkit train q-learning CartPole-v1 --clip-epsilon 0.1", False),
        ("rlkit train pppo CartPole-v1", False),
        ("rlkit compare ppo random --env CartPole-v1", True),
        ("rlkit compare ppo random --evn CartPole-v1", False),
        ("rlkit train q-learning FrozenLake-v1 --env-arg is_slippery=False", False),
        ("rlkit solve FrozenLake-v7", False),
        ("rlkit watch runs/some --gif a.gif", True),
        ("rlkit list", True),
        ("rlkit rlhf ppo runs/some --kl-coef 0.3", True),
        ("rlkit rlhf ppo runs/some --kl-coeff 0.3", False),
        ("rlkit rlhf rloo runs/some --group-size 3", False),
        ("rlkit rlhf pop runs/some", False),
    ],
)
def test_commands_with_a_slip_are_noticed(command: str, expected: bool) -> None:
    assert understood(command) is expected


def test_no_module_keeps_a_function_that_was_replaced() -> None:
    kept = [
        f"{module}.{name}"
        for module, content in sys.modules.items()
        if module.startswith("rlkit") and content is not None
        for name, value in vars(content).items()
        if getattr(value, "__module__", "") == __name__
    ]
    assert kept == []


@pytest.mark.parametrize("name", NAMES)
def test_other_commands_name_what_exists(name: str) -> None:
    targets = re.findall(r"^([\w/.]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in commands(ROOT / name):
        words = line.split("#")[0].split()
        if words[:1] == ["make"]:
            assert set(w for w in words[1:] if "=" not in w) <= set(targets), line
        if words[:2] == ["python", "-m"] and words[2].startswith("experiments"):
            assert (ROOT / Path(*words[2].split("."))).with_suffix(".py").exists(), line


# --- the pages of the agents ----------------------------------------------------------------------


def agent_page(agent: str) -> str:
    return (ROOT / "docs" / "agents" / f"{agent}.md").read_text()


def table_rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading, without its first two lines."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def same(text: str, value: Any) -> bool:
    if isinstance(value, bool):
        return text == ("on" if value else "off")
    if isinstance(value, tuple):
        return text.split() == [str(one) for one in value]
    if isinstance(value, (int, float)):
        return float(text.replace(",", "")) == value
    return text == str(value)


@pytest.mark.parametrize("agent", AGENTS)
def test_the_options_of_an_agents_page_exist_and_have_these_defaults(agent: str) -> None:
    agent_class = find_agent(agent)
    config = agent_class.Config()
    known = {f"--{field.name}".replace("_", "-") for field in dataclasses.fields(config)}
    documented = set()
    for cells in table_rows(agent_page(agent), "Options"):
        flags = [f for f in re.findall(r"`(--[\w-]+)`", cells[0]) if not f.startswith("--no-")]
        values = cells[1].split(", ")
        documented |= set(flags)
        for flag, text in zip(flags, values * (len(flags) // len(values)), strict=True):
            if flag == "--envs":
                assert same(text, agent_class.default_num_envs), flag
            else:
                assert same(text, getattr(config, flag[2:].replace("-", "_"))), flag
    assert documented <= known | {"--envs"}
    page = re.sub(r"^python -m .*$", "", agent_page(agent), flags=re.MULTILINE)  # other programs
    mentioned = {f.replace("--no-", "--") for f in re.findall(r"--[a-z][\w-]+", page)}
    of_commands = [
        flag for form in (TrainOptions, PlotOptions, Output) for flag in known_flags(form)
    ]
    shared = {flag.replace("--no-", "--") for flag in of_commands}
    assert mentioned <= known | shared | {"--env"}  # the last is of compare


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agents_page_explains_every_metric_and_has_its_parts(agent: str) -> None:
    page = agent_page(agent)
    explained = {name for row in table_rows(page, "Metrics") for name in row[:1]}
    assert {f"`{name}`" for name in find_agent(agent).metrics} <= explained
    assert "<!-- table: results/" in page
    assert "$$" in page
    assert "```sh" in page


@pytest.mark.parametrize("agent", [name for name in AGENTS if name not in ("random",)])
def test_an_agents_page_has_every_option(agent: str) -> None:
    for field in dataclasses.fields(find_agent(agent).Config):
        assert f"--{field.name}".replace("_", "-") in agent_page(agent), field.name


def _tables() -> list[tuple[Path, str, str]]:
    """Return each page, results file and the table that follows its marker."""
    tables = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        pieces = re.split(r"<!-- table: (\S+) -->\n", page.read_text())
        for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
            rows = itertools.takewhile(lambda line: line.startswith("|"), text.strip().split("\n"))
            tables.append((page, name, "\n".join(rows)))
    return tables


@pytest.mark.parametrize(("page", "name", "table"), _tables(), ids=lambda x: str(x)[-40:])
def test_the_tables_of_a_page_are_what_the_experiments_wrote(
    page: Path, name: str, table: str
) -> None:
    assert table
    assert table == (ROOT / name).read_text().strip()
