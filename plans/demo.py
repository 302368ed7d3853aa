"""`make demo`: the main job on a small repository made for it, with the commands that a person would type."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ORCHESTRATOR = Path(sys.executable).with_name("orchestrator")


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run(*command: str | Path, cwd: Path, quiet: bool = False) -> str:
    if not quiet:
        shown = " ".join("orchestrator" if part == ORCHESTRATOR else str(part) for part in command)
        print(f"$ {shown}", flush=True)
    result = subprocess.run([str(c) for c in command], cwd=cwd, text=True, stdout=subprocess.PIPE if quiet else None)
    if result.returncode:
        sys.exit(f"`{' '.join(map(str, command))}` ended with {result.returncode}")
    return result.stdout or ""


def make_shop(folder: Path) -> Path:
    """A small repository with one commit, as anybody's would be."""
    shop = folder / "shop"
    (shop / "shop").mkdir(parents=True)
    (shop / "tests").mkdir()
    (shop / "shop" / "__init__.py").touch()
    (shop / "tests" / "__init__.py").touch()
    (shop / "README.md").write_text("# Shop\n\n")
    (shop / ".gitignore").write_text("__pycache__/\n")
    (shop / "plans").mkdir()
    shutil.copy(HERE / "demo.yaml", shop / "plans" / "demo.yaml")
    git = ["git", "-c", "init.defaultBranch=main"]
    run(*git, "init", "--quiet", cwd=shop, quiet=True)
    for key, value in {"user.name": "Demo Person", "user.email": "demo@example.com"}.items():
        run("git", "config", key, value, cwd=shop, quiet=True)
    run("git", "add", ".", cwd=shop, quiet=True)
    run("git", "commit", "--quiet", "-m", "An empty shop", cwd=shop, quiet=True)
    return shop


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-demo-"))
    os.environ["GIT_CONFIG_GLOBAL"] = os.devnull  # the demo looks the same on every machine
    shop = make_shop(folder)
    say(f"A small repository: {shop}")
    checked = json.loads(run(ORCHESTRATOR, "plan", "check", "plans/demo.yaml", "--json", cwd=shop, quiet=True))
    digest = checked["data"]["digest"]
    say("The plan, and the yes to exactly this plan. In your repository `orchestrator start PLAN` asks you.")
    try:
        run(ORCHESTRATOR, "start", "plans/demo.yaml", "--confirm", digest, cwd=shop)
        say("What came of it")
        run(ORCHESTRATOR, "report", cwd=shop)
        say("main, one commit for each task, each tested as exactly that tree")
        run("git", "log", "--first-parent", "--oneline", "main", cwd=shop)
    finally:
        subprocess.run([str(ORCHESTRATOR), "stop", "--now"], cwd=shop, stdout=subprocess.DEVNULL, check=False)
    print(f"\nLook around:  cd {shop}\n              git log --graph\n              {ORCHESTRATOR} events")
    print("Remove the folder when you are done.")


if __name__ == "__main__":
    main()
