"""The rows that the ledger keeps beside its events, for those who only look."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.core.report import plan_view, task_view, touched_tasks
from orchestrator.model.run import State
from orchestrator.ports import Row
from orchestrator.wire import dump


def changed_rows(before: State, after: State) -> Iterator[Row]:
    """The rows that differ between two states; all of them when `before` is empty."""
    items = [(i, item) for i, item in after.items.items() if before.items.get(i) is not item]
    told = {item.plan_id for _, item in items}
    still = before.drain is after.drain and before.holds is after.holds
    for plan_id, run in after.plans.items():
        old = before.plans.get(plan_id)
        turned = plan_id in {before.current, after.current} and before.current != after.current
        if turned or old is not run or not still or before.items is not after.items:
            view = plan_view(after, run)
            yield Row(table="plan", key=plan_id, plan=plan_id, state=view.state.value, data=dump(view))
        if old is run and still and plan_id not in told:
            continue  # a plan of the past, most often
        if old is not None:
            for gone in old.tasks.keys() - run.tasks.keys():
                yield Row(table="task", key=f"{plan_id}/{gone}", plan=plan_id, state="", data=None)
        order = {task_id: place for place, task_id in enumerate(run.tasks)}
        for task_id in touched_tasks(old, run, before, after):
            task = task_view(after, run, run.tasks[task_id], order[task_id])
            yield Row(table="task", key=f"{plan_id}/{task_id}", plan=plan_id, state=task.state.value, data=dump(task))
    for item_id, item in items:
        state = "open" if item.is_open else "closed"
        yield Row(table="item", key=item_id, plan=item.plan_id, state=state, data=dump(item))
