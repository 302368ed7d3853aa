"""What lies in a repository -> how its work is probably checked and prepared, each guess with its reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.core.knownagents import KNOWN_AGENTS, KnownAgent
from orchestrator.core.terminal import printable

#: Files at the top whose contents are looked at.
TELLING = (
    "Makefile",
    "makefile",
    "GNUmakefile",
    "justfile",
    "package.json",
    "pyproject.toml",
    "setup.cfg",
    "tox.ini",
    "requirements.txt",
    "requirements-dev.txt",
    "Gemfile",
    "Rakefile",
)
#: What a checkout has and git does not carry: copied into fresh trees when git ignores it.
COPIED = (".env", ".env.local", ".env.test", "local.properties", "config/master.key")
#: Installed dependencies, linked where nothing better is known.
LINKED = ("node_modules", ".venv", "venv")
#: Lock files: what changes in them changes what everybody runs.
LOCK_FILES = (
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "bun.lock",
    "bun.lockb",
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    "Cargo.lock",
    "go.sum",
    "Gemfile.lock",
    "composer.lock",
)
_CI_FILES = (".gitlab-ci.yml", ".circleci/config.yml", "azure-pipelines.yml", "Jenkinsfile")
#: Every program whose presence changes what is proposed.
PROGRAMS = (*(agent.program for agent in KNOWN_AGENTS), "tox")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What somebody saw who looked at a repository."""

    files: frozenset[str] = frozenset()  #: every path that git has
    texts: Mapping[str, str] = field(default_factory=dict)  #: contents of those of `TELLING` that there are
    ignored: frozenset[str] = frozenset()  #: those of `COPIED` and `LINKED` that are there and that git ignores
    programs: frozenset[str] = frozenset()  #: those of `PROGRAMS` that can be started
    leads_back: frozenset[str] = frozenset()  #: environments of Python in which this checkout itself is installed
    worktrees: str = ""  #: where worktrees go
    trouble: str = ""  #: why they cannot; empty when they can
    has_commit: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckGuess:
    name: str
    run: tuple[str, ...]
    because: str
    is_last_resort: bool = False  #: it is right everywhere and says little


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareGuess:
    """One thing that fresh trees need. Exactly one of `copy`, `link` and `run`."""

    copy: str = ""
    link: str = ""
    run: tuple[str, ...] = ()
    because: str
    instead: tuple[str, ...] = ()  #: remarks on what else could be done


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    checks: tuple[CheckGuess, ...]
    prepare: tuple[PrepareGuess, ...]
    protected: tuple[str, ...]
    agents: tuple[KnownAgent, ...]


def detect(signs: Signs) -> Detected:
    """Everything that can be told from the signs."""
    return Detected(
        checks=checks_for(signs),
        prepare=prepare_for(signs),
        protected=protected_for(signs),
        agents=tuple(agent for agent in KNOWN_AGENTS if agent.program in signs.programs),
    )


# ---- checks ----


def checks_for(signs: Signs) -> tuple[CheckGuess, ...]:
    """The project's own word for its tests when it has one, else those of every language in it; never nothing."""
    for own in (_make, _just):
        if found := own(signs):
            return (found,)
    each = (_node, _python, _cargo, _go, _ruby, _maven, _gradle)
    guesses = [guess for language in each if (guess := language(signs)) is not None]
    if len({guess.name for guess in guesses}) < len(guesses):
        guesses = [_named_apart(guess) for guess in guesses]
    return tuple(guesses) or (LAST_RESORT,)


LAST_RESORT = CheckGuess(
    name="no-conflict-markers",
    run=(
        "git",
        "-c",
        "core.whitespace=-blank-at-eol,-blank-at-eof,-space-before-tab",
        "diff",
        "--check",
        "HEAD~1",
    ),
    because="no tests were recognised; put your own command here, since what lands is what this passes",
    is_last_resort=True,
)


def _named_apart(guess: CheckGuess) -> CheckGuess:
    return CheckGuess(name=f"{guess.name}-{guess.run[0].rpartition('/')[2]}", run=guess.run, because=guess.because)


def _tests(run: tuple[str, ...], because: str) -> CheckGuess:
    return CheckGuess(name="tests", run=run, because=because)


def _make(signs: Signs) -> CheckGuess | None:
    # the order in which make itself looks
    name = next((one for one in ("GNUmakefile", "makefile", "Makefile") if one in signs.files), None)
    if name is None:
        return None
    targets = _make_targets(signs.texts.get(name, ""))
    for target in ("test", "tests", "check"):
        if target in targets:
            return _tests(("make", target), f"{name} has the target '{target}'")
    return None


def _make_targets(text: str) -> set[str]:
    """Names in front of a single or double colon; not those of variables, recipes and comments."""
    rules = re.findall(r"^([^\s#:=][^#:=\n]*?)\s*::?(?![:=])", text, re.MULTILINE)
    return {name for rule in rules for name in rule.split()}


def _just(signs: Signs) -> CheckGuess | None:
    if "justfile" in signs.files:
        for recipe in ("test", "check"):
            if re.search(rf"^@?{recipe}\b[^:=\n]*:(?!=)", signs.texts.get("justfile", ""), re.MULTILINE):
                return _tests(("just", recipe), f"justfile has the recipe '{recipe}'")
    return None


def _node(signs: Signs) -> CheckGuess | None:
    package = _object(signs, "package.json", json.loads)
    scripts = package.get("scripts")
    script = scripts.get("test") if isinstance(scripts, dict) else None
    if not isinstance(script, str) or not script.strip() or "no test specified" in script:
        return None
    run = (_node_manager(signs), *(("run",) if _node_manager(signs) == "bun" else ()), "test")
    if "react-scripts" in script:  # it watches files for ever unless it is told that nobody looks
        run = ("env", "CI=true", *run)
    return _tests(run, f"package.json has the script 'test': {_short(script)}")


def _node_manager(signs: Signs) -> str:
    locks = {"pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn", "bun.lock": "bun", "bun.lockb": "bun"}
    return next((manager for lock, manager in locks.items() if lock in signs.files), "npm")


def _python(signs: Signs) -> CheckGuess | None:
    if "noxfile.py" in signs.files and not _wants_pytest(signs):
        return _tests(("nox",), "there is a noxfile.py")
    runner, whose = _python_runner(signs)
    has_tox = "tox.ini" in signs.files or "[tool.tox" in signs.texts.get("pyproject.toml", "")
    if has_tox and not whose and "tox" in signs.programs:
        return _tests(("tox",), "tox is set up here, and is installed")
    if _wants_pytest(signs):
        return _tests((*runner, "-m", "pytest", "-q"), f"there are tests for pytest{whose}")
    if has_tox:
        return _tests(("tox",), "tox is set up here")
    if "manage.py" in signs.files:
        return _tests((*runner, "manage.py", "test"), f"there is Django's manage.py{whose}")
    folder = next((one for one in ("tests", "test") if _python_tests(signs, one)), None)
    if folder:
        return _tests((*runner, "-m", "unittest", "discover", "-s", folder), f"there are tests in {folder}/{whose}")
    return None


def _wants_pytest(signs: Signs) -> bool:
    if {"pytest.ini", ".pytest.ini", "conftest.py", "tests/conftest.py", "test/conftest.py"} & signs.files:
        return True
    named = ("pyproject.toml", "setup.cfg", "tox.ini", "requirements.txt", "requirements-dev.txt")
    return any(re.search(r"\bpytest\b", signs.texts.get(name, "")) for name in named if name in signs.files)


def _python_tests(signs: Signs, folder: str) -> bool:
    return any(re.fullmatch(rf"{folder}/(?:.*/)?(?:test_[^/]*|[^/]*_test)\.py", path) for path in signs.files)


def _python_runner(signs: Signs) -> tuple[tuple[str, ...], str]:
    """How Python is started in a fresh tree, and a word on why; the word is empty for the machine's own."""
    for lock, program in (
        ("uv.lock", "uv"),
        ("poetry.lock", "poetry"),
        ("pdm.lock", "pdm"),
        ("Pipfile.lock", "pipenv"),
    ):
        if lock in signs.files:
            return (program, "run", "python"), f", and {lock}"
    for name in (".venv", "venv"):
        if name in signs.ignored - signs.leads_back:
            return (f"{name}/bin/python",), f", and the environment {name}"
    return ("python3",), ""


def _cargo(signs: Signs) -> CheckGuess | None:
    if "Cargo.toml" not in signs.files:
        return None
    locked = ("--locked",) if "Cargo.lock" in signs.files else ()
    return _tests(("cargo", "test", "--workspace", *locked), "there is a Cargo.toml")


def _go(signs: Signs) -> CheckGuess | None:
    return _tests(("go", "test", "./..."), "there is a go.mod") if "go.mod" in signs.files else None


def _ruby(signs: Signs) -> CheckGuess | None:
    if not {"Gemfile", "Rakefile"} & signs.files:
        return None
    bundle = ("bundle", "exec") if "Gemfile" in signs.files else ()
    if ".rspec" in signs.files or any(path.startswith("spec/") and path.endswith("_spec.rb") for path in signs.files):
        return _tests((*bundle, "rspec"), "there are specs")
    if "Rakefile" in signs.files:
        return _tests((*bundle, "rake", "test"), "there is a Rakefile")
    return None


def _maven(signs: Signs) -> CheckGuess | None:
    if "pom.xml" not in signs.files:
        return None
    return _tests(("./mvnw" if "mvnw" in signs.files else "mvn", "-q", "-B", "test"), "there is a pom.xml")


def _gradle(signs: Signs) -> CheckGuess | None:
    script = next((one for one in ("build.gradle", "build.gradle.kts") if one in signs.files), None)
    if script is None:
        return None
    # a Gradle daemon would outlive the check and hold on to a tree that is gone
    return _tests(("./gradlew" if "gradlew" in signs.files else "gradle", "--no-daemon", "test"), f"there is {script}")


# ---- prepare ----

_NODE_INSTALLS = {
    "npm": ("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"),
    "pnpm": ("pnpm", "install", "--frozen-lockfile", "--prefer-offline"),
    "bun": ("bun", "install", "--frozen-lockfile"),
}


def prepare_for(signs: Signs) -> tuple[PrepareGuess, ...]:
    """What fresh trees need and git does not carry."""
    guesses = [
        PrepareGuess(copy=path, because=f"{path} is here and git ignores it; agents and checks can read the copy")
        for path in COPIED
        if path in signs.ignored
    ]
    if "package.json" in signs.files and (node := _node_modules(signs)):
        guesses.append(node)
    if python := _python_environment(signs):
        guesses.append(python)
    return tuple(guesses)


def _node_modules(signs: Signs) -> PrepareGuess | None:
    locks = [one for one in LOCK_FILES[:6] if one in signs.files]
    is_there = "node_modules" in signs.ignored
    if locks:
        manager = _node_manager(signs)
        modern = ".yarnrc.yml" in signs.files
        yarn = ("yarn", "install", "--immutable" if modern else "--frozen-lockfile")
        return PrepareGuess(
            run=_NODE_INSTALLS.get(manager, yarn),
            because=f"there is {locks[0]}: every tree gets exactly those packages",
            instead=(
                (
                    'quicker, and all trees share one folder: link = ["node_modules"]. An install by one agent then',
                    "changes it for all, and a task that changes package.json is tested with the old packages.",
                )
                if is_there
                else ()
            ),
        )
    if is_there:
        return PrepareGuess(
            link="node_modules",
            because="node_modules is here, git ignores it, and no lock file says how to make it anew",
            instead=("All trees share this folder: an install by one agent changes it for all.",),
        )
    return None


def _python_environment(signs: Signs) -> PrepareGuess | None:
    runner, _ = _python_runner(signs)
    if not runner[0].endswith("/bin/python"):
        return None  # uv and the like make one by themselves; the machine's own needs nothing
    name = runner[0].split("/")[0]
    if checks_for(signs)[0].run[0] != runner[0] and not _is_python(signs):
        return None
    return PrepareGuess(
        link=name,
        because=f"{name} is here, git ignores it, and checks need what is installed in it",
        instead=("All trees share it: an install by one agent changes it for all.",),
    )


def _is_python(signs: Signs) -> bool:
    return bool({"pyproject.toml", "setup.py", "setup.cfg", "requirements.txt"} & signs.files)


def remarks_for(signs: Signs) -> tuple[str, ...]:
    """What a person should know because something was left out on purpose."""
    remarks = []
    for name in sorted(signs.leads_back):
        if _python_runner(signs)[0] == ("python3",):
            remarks += [
                f"{name} is not linked: your checkout itself is installed in it (an editable install), so checks would",
                "test your files instead of the candidate's. An environment of its own for every tree:",
                'run = [["python3", "-m", "venv", ".venv"], [".venv/bin/pip", "install", "-q", "-e", "."]]',
                'and then a check such as run = [".venv/bin/python", "-m", "pytest", "-q"].',
            ]
    return tuple(remarks)


# ---- protected ----


def protected_for(signs: Signs) -> tuple[str, ...]:
    """What no agent should change without a person's yes."""
    there = [name for name in (*_CI_FILES, *LOCK_FILES) if name in signs.files]
    return (".github/**", *there, "orchestrator.toml")


def _object(signs: Signs, name: str, load: Callable[[str], object]) -> Mapping[str, object]:
    if name not in signs.files:
        return {}
    try:
        found = load(signs.texts.get(name, ""))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _short(text: str) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= 60 else f"{text[:57]}..."
