"""What lies in a repository -> checks, preparation, protected files, agents; each guess a row of a table."""

from __future__ import annotations

import json

import pytest

from orchestrator.core.detection import LAST_RESORT, PROGRAMS, Signs, detect, protected_for, remarks_for
from orchestrator.core.knownagents import KNOWN_AGENTS


def signs(*names: str, ignored: str = "", programs: str = "", leads_back: str = "", **texts: str) -> Signs:
    """A repository with these files; a keyword such as `package_json` gives the text of one."""
    spelled = {"package_json": "package.json", "pyproject": "pyproject.toml", "setup_cfg": "setup.cfg"}
    contents = {spelled.get(key, key): text for key, text in texts.items()}
    return Signs(
        files=frozenset([*names, *contents]),
        texts=contents,
        ignored=frozenset(ignored.split()),
        programs=frozenset(programs.split()),
        leads_back=frozenset(leads_back.split()),
    )


def package(test: str) -> str:
    return json.dumps({"name": "x", "scripts": {"build": "tsc", "test": test}})


JEST = package("jest")
PYTEST = "[tool.pytest.ini_options]\naddopts = '-q'\n"


@pytest.mark.parametrize(
    ("seen", "commands"),
    [
        # the project's own word
        pytest.param(signs(Makefile="test:\n\tpytest\n"), ["make test"], id="make test"),
        pytest.param(signs(Makefile="check: lint\n\ttrue\n"), ["make check"], id="make check"),
        pytest.param(signs(Makefile="check: test\ntest:\n\ttrue\n"), ["make test"], id="test before check"),
        pytest.param(signs(Makefile="lint test: x\n\ttrue\n"), ["make test"], id="one of several targets of a rule"),
        pytest.param(signs(Makefile="test::\n\ttrue\n"), ["make test"], id="a double colon"),
        pytest.param(signs(GNUmakefile="tests: \n", Makefile="x:\n"), ["make tests"], id="make's own order of names"),
        pytest.param(signs(Makefile="test := yes\ntest = no\n"), [], id="a variable is no target"),
        pytest.param(signs(Makefile="all:\n\techo test: ok\n# test:\n"), [], id="recipes and comments are no targets"),
        pytest.param(signs(Makefile=".PHONY: test\nall:\n"), [], id="phony alone is no target"),
        pytest.param(signs(justfile="default:\n  x\ntest *args: build\n  x\n"), ["just test"], id="just"),
        pytest.param(signs(justfile="test := 'x'\n"), [], id="a variable of just"),
        pytest.param(signs(Makefile="test:\n", package_json=JEST), ["make test"], id="make goes before a language"),
        pytest.param(signs(Makefile="build:\n", package_json=JEST), ["npm test"], id="a Makefile without tests"),
        # node
        pytest.param(signs(package_json=JEST), ["npm test"], id="npm"),
        pytest.param(signs("yarn.lock", package_json=JEST), ["yarn test"], id="yarn"),
        pytest.param(signs("pnpm-lock.yaml", package_json=JEST), ["pnpm test"], id="pnpm"),
        pytest.param(signs("bun.lock", package_json=JEST), ["bun run test"], id="bun, whose own test is another thing"),
        pytest.param(
            signs(package_json=package("react-scripts test")),
            ["env CI=true npm test"],
            id="one that would watch for ever",
        ),
        pytest.param(
            signs(package_json=package('echo "Error: no test specified" && exit 1')), [], id="npm's own placeholder"
        ),
        pytest.param(signs(package_json="{not json"), [], id="a package.json that is none"),
        pytest.param(signs(package_json="[]"), [], id="a package.json that is a list"),
        pytest.param(signs(package_json='{"scripts": ["test"]}'), [], id="scripts that are a list"),
        pytest.param(signs(package_json='{"scripts": {"test": 1}}'), [], id="a script that is a number"),
        pytest.param(signs("packages/a/package.json"), [], id="only below the top"),
        # python
        pytest.param(signs(pyproject=PYTEST), ["python3 -m pytest -q"], id="pytest in pyproject"),
        pytest.param(signs("conftest.py"), ["python3 -m pytest -q"], id="conftest"),
        pytest.param(signs(setup_cfg="[tool:pytest]\n"), ["python3 -m pytest -q"], id="pytest in setup.cfg"),
        pytest.param(signs("uv.lock", pyproject=PYTEST), ["uv run python -m pytest -q"], id="uv"),
        pytest.param(signs("poetry.lock", pyproject=PYTEST), ["poetry run python -m pytest -q"], id="poetry"),
        pytest.param(signs(pyproject=PYTEST, ignored=".venv"), [".venv/bin/python -m pytest -q"], id="an environment"),
        pytest.param(
            signs(pyproject=PYTEST, ignored=".venv", leads_back=".venv"),
            ["python3 -m pytest -q"],
            id="an environment that finds the checkout itself",
        ),
        pytest.param(signs("tox.ini"), ["tox"], id="tox"),
        pytest.param(signs("tox.ini", "conftest.py", programs="tox"), ["tox"], id="tox that is installed"),
        pytest.param(signs("tox.ini", "conftest.py"), ["python3 -m pytest -q"], id="tox that is not installed"),
        pytest.param(signs("noxfile.py"), ["nox"], id="nox"),
        pytest.param(signs("manage.py"), ["python3 manage.py test"], id="django"),
        pytest.param(signs("tests/test_a.py"), ["python3 -m unittest discover -s tests"], id="unittest"),
        pytest.param(signs("tests/data.py"), [], id="a folder without tests"),
        # others
        pytest.param(signs("Cargo.toml"), ["cargo test --workspace"], id="cargo"),
        pytest.param(signs("Cargo.toml", "Cargo.lock"), ["cargo test --workspace --locked"], id="cargo with a lock"),
        pytest.param(signs("go.mod"), ["go test ./..."], id="go"),
        pytest.param(signs("Gemfile", "Rakefile"), ["bundle exec rake test"], id="rake"),
        pytest.param(signs("Rakefile"), ["rake test"], id="rake without bundler"),
        pytest.param(signs("Gemfile", "spec/a_spec.rb"), ["bundle exec rspec"], id="rspec"),
        pytest.param(signs("pom.xml"), ["mvn -q -B test"], id="maven"),
        pytest.param(signs("pom.xml", "mvnw"), ["./mvnw -q -B test"], id="maven's own script"),
        pytest.param(signs("build.gradle.kts"), ["gradle --no-daemon test"], id="gradle"),
        pytest.param(signs("build.gradle", "gradlew"), ["./gradlew --no-daemon test"], id="gradle's own script"),
        # several, or none
        pytest.param(
            signs("go.mod", package_json=JEST, pyproject=PYTEST),
            ["npm test", "python3 -m pytest -q", "go test ./..."],
            id="every language has its say",
        ),
        pytest.param(signs("README.md"), [], id="nothing to go by"),
        pytest.param(signs(), [], id="nothing at all"),
    ],
)
def test_checks(seen: Signs, commands: list[str]) -> None:
    found = detect(seen).checks
    assert [" ".join(check.run) for check in found] == (commands or [" ".join(LAST_RESORT.run)])
    assert len({check.name for check in found}) == len(found), "names are unique in a plan"
    assert all(check.because for check in found)


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        pytest.param(signs(), [], id="nothing"),
        pytest.param(signs(ignored=".env config/master.key"), ["copy .env", "copy config/master.key"], id="secrets"),
        pytest.param(signs(".env"), [], id="what git carries needs nothing"),
        pytest.param(
            signs("package-lock.json", package_json=JEST, ignored="node_modules"),
            ["run npm ci --prefer-offline --no-audit --no-fund"],
            id="a lock file is better than a shared folder",
        ),
        pytest.param(signs(package_json=JEST, ignored="node_modules"), ["link node_modules"], id="no lock file"),
        pytest.param(signs(package_json=JEST), [], id="no lock file and nothing installed"),
        pytest.param(signs(ignored="node_modules"), [], id="node_modules of something else"),
        pytest.param(signs("yarn.lock", package_json=JEST), ["run yarn install --frozen-lockfile"], id="yarn"),
        pytest.param(
            signs("yarn.lock", ".yarnrc.yml", package_json=JEST), ["run yarn install --immutable"], id="modern yarn"
        ),
        pytest.param(
            signs("pnpm-lock.yaml", package_json=JEST),
            ["run pnpm install --frozen-lockfile --prefer-offline"],
            id="pnpm",
        ),
        pytest.param(signs(pyproject=PYTEST, ignored=".venv"), ["link .venv"], id="an environment"),
        pytest.param(
            signs(pyproject=PYTEST, ignored=".venv venv", leads_back=".venv"), ["link venv"], id="the one that is safe"
        ),
        pytest.param(
            signs(pyproject=PYTEST, ignored=".venv", leads_back=".venv"), [], id="never one that finds the checkout"
        ),
        pytest.param(signs("uv.lock", pyproject=PYTEST, ignored=".venv"), [], id="uv makes its own"),
        pytest.param(signs("README.md", ignored=".venv"), [], id="an environment of something else"),
    ],
)
def test_preparation(seen: Signs, wanted: list[str]) -> None:
    found = detect(seen).prepare
    said = [
        f"copy {one.copy}" if one.copy else f"link {one.link}" if one.link else f"run {' '.join(one.run)}"
        for one in found
    ]
    assert said == wanted
    assert all(one.because for one in found)


def test_a_shared_environment_of_an_editable_install_is_explained() -> None:
    said = " ".join(remarks_for(signs(pyproject=PYTEST, ignored=".venv", leads_back=".venv")))
    assert "your files instead of the candidate's" in said
    assert remarks_for(signs(pyproject=PYTEST, ignored=".venv")) == ()
    assert remarks_for(signs("uv.lock", pyproject=PYTEST, ignored=".venv", leads_back=".venv")) == ()


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        pytest.param(signs(), (".github/**", "orchestrator.toml"), id="always"),
        pytest.param(
            signs("package-lock.json", "Cargo.lock", ".gitlab-ci.yml", "sub/yarn.lock"),
            (".github/**", ".gitlab-ci.yml", "package-lock.json", "Cargo.lock", "orchestrator.toml"),
            id="lock files and pipelines at the top",
        ),
    ],
)
def test_protected_files(seen: Signs, wanted: tuple[str, ...]) -> None:
    assert protected_for(seen) == wanted


def test_agents_are_those_on_path_in_the_order_of_the_list() -> None:
    assert [agent.name for agent in detect(signs(programs="codex claude vim")).agents] == ["claude", "codex"]
    assert detect(signs()).agents == ()
    assert {agent.program for agent in KNOWN_AGENTS} <= set(PROGRAMS)


@pytest.mark.parametrize("agent", KNOWN_AGENTS, ids=lambda agent: agent.name)
def test_every_known_agent_hears_its_task_exactly_once(agent: object) -> None:
    words = " ".join(agent.run)  # type: ignore[attr-defined]
    ways = [agent.stdin != "none", "{prompt}" in words, "{briefing}" in words]  # type: ignore[attr-defined]
    assert ways.count(True) == 1
