"""What a run will take: pure functions of recipe and hardware, no torch."""

from lft.plan.batch import BatchPlan, batch_plan

__all__ = ["BatchPlan", "batch_plan"]
