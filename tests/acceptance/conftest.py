from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.person import Person
from tests.acceptance.scene import Scene, make_template


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """Somebody with a fresh repository; whatever they started is ended afterwards."""
    someone = Person.with_repository(tmp_path)
    yield someone
    someone.leave()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every `scene` is a copy of."""
    return make_template(tmp_path_factory.mktemp("template") / "made")


@pytest.fixture
def scene(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Scene]:
    """A small repository with a plan, to be spoiled; nothing runs there."""
    with ExitStack() as cleanup:
        yield Scene.copied(template, tmp_path / "scene", monkeypatch, capsys, cleanup)
