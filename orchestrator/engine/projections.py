"""The rows that the ledger keeps beside its events, for those who only look."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.core.report import plan_view, task_view, touched_tasks
from orchestrator.model.run import State
from orchestrator.ports import Row
from orchestrator.wire import dump


def changed_rows(before: State, after: State) -> Iterator[Row]:
    """The rows that differ between two states; all of them when `before` is empty."""
    for plan_id, run in after.plans.items():
        old = before.plans.get(plan_id)
        turned = plan_id in {before.current, after.current} and before.current != after.current
        seen = before.drain is after.drain and before.items is after.items and before.holds is after.holds
        if turned or old is not run or not seen:
            view = plan_view(after, run)
            yield Row(table="plan", key=plan_id, plan=plan_id, state=view.state.value, data=dump(view))
        if old is not None:
            for gone in old.tasks.keys() - run.tasks.keys():
                yield Row(table="task", key=f"{plan_id}/{gone}", plan=plan_id, state="", data=None)
        order = {task_id: place for place, task_id in enumerate(run.tasks)}
        for task_id in touched_tasks(old, run, before, after):
            task = task_view(after, run, run.tasks[task_id], order[task_id])
            yield Row(table="task", key=f"{plan_id}/{task_id}", plan=plan_id, state=task.state.value, data=dump(task))
    for item_id, item in after.items.items():
        if before.items.get(item_id) is not item:
            state = "open" if item.is_open else "closed"
            yield Row(table="item", key=item_id, plan=item.plan_id, state=state, data=dump(item))
