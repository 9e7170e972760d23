"""What a run will take: pure functions of recipe and hardware, no torch.

Only the batch equation is imported here, which every run needs; the rest has its file:
``families`` (shape_of) · ``configs`` (known_config) · ``headers`` (with_files) · ``hardware`` (parse_hardware) ·
``trainable`` (trainable_of) · ``memory`` (memory_of) · ``fit`` (auto_micro_batch, changes) · ``timing`` (pace_of) ·
``overview`` (plan_run) · ``report`` (report_lines) · ``launch`` (launch_words, slurm_script).
"""

from lft.plan.batch import BatchPlan, batch_plan

__all__ = ["BatchPlan", "batch_plan"]
